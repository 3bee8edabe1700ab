package server

import (
	"sync"
	"sync/atomic"
)

// Stats says what a server is doing, and what it has done since it was made.
type Stats struct {
	Connections    int    // open ones
	MaxConnections int    // Config.MaxConnections
	Accepted       uint64 // connections ever let in
	Replays        int    // reads that go through history
	Followers      int    // reads that have sent {"current":true}
	// Behind is how many entries all of these together have yet to be sent, MostBehind the
	// same for the one that is furthest behind.
	Behind, MostBehind uint64
	// Replicas are those that are connected, and ReplicaBehind is how many entries the one that
	// is furthest behind does not have on disk.
	Replicas      int
	ReplicaBehind uint64
	// Hits and Misses count the blocks of lines that followers found in the tail cache, and
	// those that had to be read; CacheBytes is the size of the cache.
	Hits, Misses uint64
	CacheBytes   int64
	// Received and Sent are bytes on the sockets, including those of TLS.
	Received, Sent uint64
	Errors         Errors
}

// Errors counts what went wrong, by kind.
type Errors struct {
	Invalid      uint64 // lines that are not messages
	Refused      uint64 // writes whose entry is not acceptable
	Unstored     uint64 // entries that the log did not store, or whose outcome is unknown
	Damaged      uint64 // entries that could not be read
	Connections  uint64 // connections turned away because there were too many
	Unauthorized uint64 // peers and messages turned away for lack of rights
	Accepts      uint64 // failures to take a connection from the listener
}

// Stats returns the counts as of now. They include everything that a peer has a reply for.
// The call takes a little time for each running read, and waits for no disk and no peer.
func (s *Server) Stats() Stats {
	head, _ := s.log.Acked()
	stats := Stats{
		Connections:    s.Connections(),
		MaxConnections: s.cfg.MaxConnections,
		Accepted:       s.counts.accepted.Load(),
		Hits:           s.tail.hits.Load(),
		Misses:         s.tail.misses.Load(),
		CacheBytes:     s.tail.held.Load(),
		Received:       s.counts.received.Load(),
		Sent:           s.counts.sent.Load(),
		Errors: Errors{
			Invalid:      s.counts.invalid.Load(),
			Refused:      s.counts.refused.Load(),
			Unstored:     s.counts.unstored.Load(),
			Damaged:      s.counts.damaged.Load() + s.tail.damaged.Load(),
			Connections:  s.counts.turnedAway.Load(),
			Unauthorized: s.counts.unauthorized.Load(),
			Accepts:      s.counts.accepts.Load(),
		},
	}
	s.readers.stats(&stats, head)
	head, _ = s.local()
	for _, r := range s.Replicas() {
		stats.Replicas++
		stats.ReplicaBehind = max(stats.ReplicaBehind, head-min(head, r.Durable))
	}
	return stats
}

// counts are a server's counters. Errors are rare; the others change once for each system
// call.
type counts struct {
	accepted, received, sent atomic.Uint64

	invalid, refused, unstored, damaged, turnedAway, unauthorized, accepts atomic.Uint64
}

// readers are the reads that are running.
type readers struct {
	mu  sync.Mutex
	set map[*cursor]struct{}
}

// cursor is how far a read has come, as others may see it.
type cursor struct {
	through   uint64        // the last index to send; under mu of readers
	sent      atomic.Uint64 // every entry of the read up to here has been sent
	following atomic.Bool   // {"current":true} has been gathered
}

// join adds the read of c, from index next through index through.
func (r *readers) join(c *cursor, next, through uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set == nil {
		r.set = make(map[*cursor]struct{})
	}
	r.set[c] = struct{}{}
	c.through = through
	c.sent.Store(next - 1)
	c.following.Store(false)
}

// leave undoes join, if it was called.
func (r *readers) leave(c *cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.set, c)
}

// stats counts the reads and what they have yet to send up to head.
func (r *readers) stats(s *Stats, head uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.set {
		if c.following.Load() {
			s.Followers++
		} else {
			s.Replays++
		}
		if last, sent := min(head, c.through), c.sent.Load(); sent < last {
			s.Behind += last - sent
			s.MostBehind = max(s.MostBehind, last-sent)
		}
	}
}
