package server

import (
	"crypto/tls"
	"time"

	"sync/atomic"

	"github.com/rs/zerolog"
)

// Config configures a server. Zero values stand for the defaults, which NewConfig fills in.
type Config struct {
	// MaxEntry is the size of the largest entry that is stored, in bytes of canonical form; 16
	// MiB by default, and less if the log takes less. A line may be 64 KiB longer; anything
	// beyond is discarded as it arrives.
	MaxEntry int
	// MaxConnections is how many connections are served at once; 16,384 by default.
	MaxConnections int
	// MaxInFlight is how many bytes of entries of all connections may wait for the disk at once;
	// 128 MiB by default. At the bound nothing more is read, so writers wait.
	MaxInFlight int64
	// MaxHeld is how many bytes all connections together may hold of arriving lines, of output
	// that peers do not take, and of what the log has read for replays that wait, beyond a small
	// allowance for each; 256 MiB by default. From half of it on, replays read again after each turn. At
	// the bound, long lines wait, and the connections whose peers are slowest to send or take what
	// is held are cut.
	MaxHeld int64
	// WriteTimeout is how long a peer may take none of its output before its connection is
	// closed; one minute by default.
	WriteTimeout time.Duration
	// TLS, if not nil, is used on every connection. A verified client certificate gives all
	// rights.
	TLS *tls.Config
	// Tokens, if not nil, returns the name and the rights of the token with the given
	// SHA-256; no rights mean that there is no such token. A peer that has no certificate
	// must then send {"token":"…"} before anything else. It is called from many goroutines,
	// and must take the same time for every hash.
	Tokens func(hash [32]byte) (name string, rights Rights)
	// Stat returns the answer to {"stat":true}, which is sent as JSON. It is called from many
	// goroutines. If Stat is nil, the answer has the head and Capabilities.
	Stat func() any
	// TailCache is how many bytes of the newest lines are kept for followers; 64 MiB by
	// default.
	TailCache int
	// OnAck, if not nil, is told how long writes that arrived together took from arrival to
	// acknowledgement, when their replies are sent or about to be. It is called while others wait
	// for the log, so it must not block.
	OnAck func(took time.Duration)
	// Logger receives connection events; the zero Logger drops them.
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

// MemoryBound returns how many bytes that many peers can make a server hold: MaxHeld,
// MaxInFlight, TailCache, waiting replies, and ConnectionBound for each connection. They are
// added up only here; docs/OPERATIONS.md explains them, and a test compares it.
func (c Config) MemoryBound(connections int) int64 {
	c = c.withDefaults()
	unsent := max(allUnsent, minUnsent*int64(connections))
	return c.MaxHeld + c.MaxInFlight + int64(c.TailCache) + unsent + ConnectionBound*int64(connections)
}

// ConnectionBound is how many bytes each connection may hold in addition to what MaxHeld bounds:
// the beginning of a line, and output and a filter that are too small to count there.
const ConnectionBound = lineFree + heldMin + filterFree

// lineSlack is how much longer than the largest entry a line may be.
const lineSlack = 64 << 10

// Capabilities are a server's features and limits, as {"stat":true} reports them.
type Capabilities struct {
	// Features is the result of Features.
	Features []string `json:"features"`
	// MaxEntry is the size of the largest entry, in bytes of canonical form; MaxBatch is the
	// total size of the entries of one message, with a newline after each.
	MaxEntry int `json:"max_entry"`
	MaxBatch int `json:"max_batch"`
}

// Features returns, sorted, the message members that not every server knows. A server ignores
// members that it does not know, so a client must look here before it relies on one: an old
// server stores {"id":"x","entry":{},"if":41} whatever its head is.
func Features() []string {
	return []string{"digest", "entries", "hash", "if", "last", "once", "receipt", "replicate", "scan", "since", "through", "time", "where"}
}

// Capabilities returns what the server can do.
func (s *Server) Capabilities() Capabilities {
	return Capabilities{Features(), s.cfg.MaxEntry, s.maxBatch}
}

// Stats describes what a server is doing, and what it has done since New.
type Stats struct {
	Connections    int    // open connections
	MaxConnections int    // Config.MaxConnections
	Accepted       uint64 // connections ever admitted
	Replays        int    // reads that go through history
	Followers      int    // reads that have sent {"current":true}
	// Behind is how many entries all these reads together have yet to send, MostBehind the same
	// for the one that is furthest behind.
	Behind, MostBehind uint64
	// Replicas is the number of connected replicas; ReplicaBehind is how many entries the one
	// that is furthest behind does not have on disk.
	Replicas      int
	ReplicaBehind uint64
	// Hits and Misses count the blocks of lines that followers found in the tail cache or that
	// had to be read; CacheBytes is the size of the cache.
	Hits, Misses uint64
	CacheBytes   int64
	// Received and Sent are bytes on the sockets, including TLS overhead.
	Received, Sent uint64
	Errors         Errors
}

// Errors counts errors by kind.
type Errors struct {
	Invalid      uint64 // lines that are not messages
	Refused      uint64 // writes whose entry is not acceptable
	Unstored     uint64 // entries that the log did not store, or whose outcome is unknown
	Damaged      uint64 // entries that could not be read
	Connections  uint64 // connections turned away because there were too many
	Unauthorized uint64 // peers and messages turned away for lack of rights
	Accepts      uint64 // failures to take a connection from the listener
}

// Stats returns the current counts. They include everything that a peer has a reply for. The call
// takes a little time for each running read, but waits for no disk and no peer.
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

// counts are a server's counters. Errors are rare; the other counts change once per system call.
type counts struct {
	accepted, received, sent atomic.Uint64

	invalid, refused, unstored, damaged, turnedAway, unauthorized, accepts atomic.Uint64
}
