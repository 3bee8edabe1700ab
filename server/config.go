package server

import (
	"crypto/tls"
	"time"

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
