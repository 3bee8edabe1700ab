package server

import (
	"crypto/tls"
	"time"

	"sync/atomic"

	"github.com/rs/zerolog"
)

// Config says how a server treats its connections. NewConfig fills in the defaults, which
// zero values stand for too.
type Config struct {
	// MaxEntry is the size of the largest entry that is stored, in bytes of canonical form;
	// 16 MiB by default, and less if the log takes less. A line may be 64 KiB longer; the rest is
	// discarded as it arrives.
	MaxEntry int
	// MaxConnections is how many connections are served at once; 16,384 by default.
	MaxConnections int
	// MaxInFlight is how many bytes of entries of all connections may wait for the disk at
	// once; 128 MiB by default. At the bound no more is read, so writers wait.
	MaxInFlight int64
	// MaxHeld is how many bytes all connections together may hold of lines that are
	// arriving and of output that peers do not take, beyond a little for each; 256 MiB by
	// default. At the bound long lines wait, and connections are cut whose peers are the
	// slowest to send or take what is held.
	MaxHeld int64
	// WriteTimeout is how long a peer may take nothing of what is sent to it before its
	// connection is closed; one minute by default.
	WriteTimeout time.Duration
	// TLS, if not nil, is used on every connection. A verified client certificate gives all
	// rights.
	TLS *tls.Config
	// Tokens, if not nil, returns the name and the rights of the token with the given
	// SHA-256; no rights mean that there is no such token. A peer that has no certificate
	// must then send {"token":"…"} before anything else. It is called from many goroutines,
	// and must take the same time for every hash.
	Tokens func(hash [32]byte) (name string, rights Rights)
	// Stat returns the answer to {"stat":true}, which is sent as JSON. It is called from
	// many goroutines. If it is nil, the answer has the head and Capabilities.
	Stat func() any
	// TailCache is how many bytes of the newest lines are kept for followers; 64 MiB by
	// default.
	TailCache int
	// OnAck, if not nil, is told how long writes that arrived together took from their
	// arrival until they were acknowledged, their replies sent or about to be. It is called
	// while others wait for the log, so it must not block.
	OnAck func(took time.Duration)
	// Logger gets the events of connections; the zero Logger drops them.
	Logger zerolog.Logger
}

// NewConfig returns a Config with the defaults.
func NewConfig() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	if c.MaxEntry == 0 {
		c.MaxEntry = 16 << 20
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 16384
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 128 << 20
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = 256 << 20
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = time.Minute
	}
	if c.TailCache == 0 {
		c.TailCache = 64 << 20
	}
	return c
}

// MemoryBound returns how many bytes the peers of so many connections can make a server hold:
// what MaxHeld, MaxInFlight and TailCache bound, replies that wait, and for each connection
// ConnectionBound. This is the only place where they are added up; docs/OPERATIONS.md explains
// them, and a test compares it.
func (c Config) MemoryBound(connections int) int64 {
	c = c.withDefaults()
	unsent := max(allUnsent, minUnsent*int64(connections))
	return c.MaxHeld + c.MaxInFlight + int64(c.TailCache) + unsent + ConnectionBound*int64(connections)
}

// ConnectionBound is how many bytes each connection may hold in addition to what MaxHeld bounds: the
// beginning of a line, output and a filter that are too small to count there.
const ConnectionBound = lineFree + heldMin + filterFree

// lineSlack is how much longer than the largest entry a line may be.
const lineSlack = 64 << 10

// Capabilities are what a server can do and how much it takes, as {"stat":true} tells it.
type Capabilities struct {
	// Features are Features().
	Features []string `json:"features"`
	// MaxEntry is the size of the largest entry, in bytes of canonical form; MaxBatch is
	// that of the entries of one message together, with a newline after each.
	MaxEntry int `json:"max_entry"`
	MaxBatch int `json:"max_batch"`
}

// Features returns, sorted, the members of messages that not every server knows. A server
// ignores members that it does not know, so a client must look for them here before it relies
// on one: {"id":"x","entry":{},"if":41} is stored by an old server whatever its head is.
func Features() []string {
	return []string{"digest", "entries", "hash", "if", "last", "once", "receipt", "replicate", "scan", "since", "through", "time", "where"}
}

// Capabilities returns what the server can do.
func (s *Server) Capabilities() Capabilities {
	return Capabilities{Features(), s.cfg.MaxEntry, s.maxBatch}
}

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
