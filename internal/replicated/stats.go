package replicated

import (
	"cmp"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stats is how a log is doing, as this gateway knows it. Nobody is asked for it.
type Stats struct {
	Head     uint64
	Messages uint64 // of the stream, that this gateway has counted
	Last     uint64 // the last message that it knows of: what is between has yet to come
	Lane     string // the subject that it sends on
	Waiting  int    // appends that have not been completed
	Refusing error  // why appends are refused; nil if they are not
	// Stalled is how long the append that waited longest since the start had to.
	Stalled time.Duration
	Damaged uint64 // messages that came damaged from a node, since the start

	// What the stream's leader said when it was asked last, and when that was.
	Asked    time.Time
	Leader   string
	Replicas []Replica
	Bytes    uint64 // of the stream, on each node
}

// Replica is a copy of the stream, as the leader sees it.
type Replica struct {
	Name    string
	Leader  bool
	Current bool          // it has everything
	Lag     uint64        // how many operations it is behind
	Seen    time.Duration // since it was last in touch with the leader
	Offline bool
}

// stats is what a log counts.
type stats struct {
	mu      sync.Mutex
	longest time.Duration
	damaged uint64
	logged  time.Time // when something was last logged that may happen often
	asked   time.Time
	info    *jetstream.StreamInfo
}

// Stats returns how the log is doing.
func (l *Log) Stats() Stats {
	at := l.counted()
	n := &l.lane
	n.mu.Lock()
	s := Stats{Head: at.index, Messages: at.seq, Last: max(at.seq, l.last.Load()), Lane: n.subject, Waiting: len(n.order), Refusing: n.refuse}
	n.mu.Unlock()
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	s.Stalled, s.Damaged, s.Asked = l.stats.longest, l.stats.damaged, l.stats.asked
	if info := l.stats.info; info != nil {
		s.Bytes = info.State.Bytes
		if c := info.Cluster; c != nil {
			s.Leader = c.Leader
			s.Replicas = append(s.Replicas, Replica{Name: c.Leader, Leader: true, Current: true})
			for _, r := range c.Replicas {
				s.Replicas = append(s.Replicas, Replica{Name: r.Name, Current: r.Current, Lag: r.Lag, Seen: r.Active, Offline: r.Offline})
			}
		}
	}
	return s
}

// Refusing returns why appends are refused at present, nil if they are not.
func (l *Log) Refusing() error {
	l.lane.mu.Lock()
	defer l.lane.mu.Unlock()
	return l.lane.refuse
}

// noteStream keeps what the leader has said.
func (l *Log) noteStream(info *jetstream.StreamInfo) {
	l.stats.mu.Lock()
	l.stats.asked, l.stats.info = time.Now(), info
	l.stats.mu.Unlock()
	l.knowLast(info.State.LastSeq)
}

// stalled notes how long a message took to be stored.
func (s *stats) stalled(d time.Duration) {
	s.mu.Lock()
	s.longest = max(s.longest, d)
	s.mu.Unlock()
}

// mayLog reports whether something that may happen often is to be logged: once a second.
func (s *stats) mayLog() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.logged) < time.Second {
		return false
	}
	s.logged = time.Now()
	return true
}

// damaged notes that a message came damaged from a node.
func (l *Log) damaged(seq uint64, err error) {
	l.stats.mu.Lock()
	l.stats.damaged++
	l.stats.mu.Unlock()
	if l.stats.mayLog() {
		l.log.Error().Err(err).Str("event", "damaged").Uint64("message", seq).Msg("a node has a damaged copy of a message: it is asked of another; run `tcp-log-server cluster verify`")
	}
}

// lost notes that what the tail is missing cannot be fetched.
func (l *Log) lost(err error) {
	if l.stats.mayLog() {
		l.log.Error().Err(err).Str("event", "cluster").Msg("the end of the stream cannot be fetched; it is tried again")
	}
}

// troubled notes that an attempt to send has failed.
func (l *Log) troubled(try int, err error) {
	if l.stats.mayLog() {
		l.log.Warn().Err(err).Str("event", "cluster").Int("attempts", try+1).Msg("an append is not acknowledged yet; it is sent again")
	}
}

// messageBytes is about how long a message is.
func (l *Log) messageBytes() int {
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	if l.stats.info == nil || l.stats.info.State.Msgs == 0 {
		return fetchBytes
	}
	return int(cmp.Or(l.stats.info.State.Bytes/l.stats.info.State.Msgs, 1))
}
