// Package server serves a log over connections by the protocol of
// docs/PROTOCOL.md. It owns sockets and the protocol, and sees the log only
// through the interface Log.
//
// A connection is let in first (entrance.go). Then it has two goroutines. One reads
// and parses the input and hands the writes to the log (input.go, message.go); the
// other owns everything that is sent (output.go): replies when the log has
// acknowledged, and the entries of a read, from a cursor (replay.go). What they
// share is in conn.go. Connections that only write are read by one goroutine for
// many of them (lend.go). Followers that are near the head share their lines through
// one cache (tail.go). What peers can make the server hold in memory is bounded
// over all of them (pressure.go, pause.go).
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"
)

// Config says how a server treats its connections. NewConfig fills in the
// defaults; zero values are taken for them too.
type Config struct {
	// MaxEntry is the largest entry that is stored, in bytes of canonical form. A
	// line may be 64 KiB longer; what is over that is discarded as it arrives.
	MaxEntry int
	// MaxConnections is how many connections are served at once.
	MaxConnections int
	// MaxInFlight is how many bytes of entries may wait for the disk at once, over
	// all connections. At the bound no more is read, so writers wait.
	MaxInFlight int64
	// MaxHeld is how many bytes of lines that are arriving, and of output that peers
	// do not take, connections may hold together, beyond a little for each. Past it
	// those are cut off that have held theirs the longest.
	MaxHeld int64
	// WriteTimeout is how long a peer may take nothing of what is sent to it
	// before its connection is closed.
	WriteTimeout time.Duration
	// TLS is spoken over every connection if it is not nil. A verified client
	// certificate gives all rights.
	TLS *tls.Config
	// Tokens, if not nil, tells the name and the rights of the token with a SHA-256;
	// one without rights is none. Then a peer that has no certificate must send
	// {"token":"…"} before anything else. It is called from many goroutines, and
	// must take the same time for every hash.
	Tokens func(hash [32]byte) (name string, rights Rights)
	// Stat, if not nil, tells what the answer to {"stat":true} is. It is called from
	// many goroutines.
	Stat func() any
	// TailCache is how many bytes of the newest lines are kept for followers.
	TailCache int
	// OnAck, if not nil, is told how long the writes that arrived together took from
	// their arrival until they were acknowledged, their replies sent or about to be.
	// It is called while others wait for the log, so it must not block.
	OnAck func(took time.Duration)
	// Logger gets the events of connections; the zero Logger drops them.
	Logger zerolog.Logger
}

// NewConfig is a Config with the defaults.
func NewConfig() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	if c.MaxEntry == 0 {
		c.MaxEntry = 16 << 20
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 16384
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 256 << 20
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

// lineSlack is how much longer than the largest entry a line may be.
const lineSlack = 64 << 10

// Server serves one log. All methods may be called from any goroutine.
type Server struct {
	cfg    Config
	log    Log
	tail   tail
	turns  *turns
	budget *semaphore.Weighted // MaxInFlight
	roomy  *semaphore.Weighted // connections with a large buffer for input
	places chan struct{}       // for long lines, see takePlace
	// reading and warm are for replays that hold what they read from, see pause.go.
	reading, warm chan struct{}

	open      atomic.Int64 // connections
	held      atomic.Int64 // bytes, see hold
	relieving sync.Mutex

	gatherers []*gatherer

	counts  counts
	readers readers

	mu        sync.Mutex
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	stopping  bool
	running   sync.WaitGroup // connections
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("server closed")

// New makes a server for the log.
func New(log Log, config Config) *Server {
	config = config.withDefaults()
	return &Server{
		cfg:       config,
		log:       log,
		tail:      tail{log: log, max: config.TailCache},
		turns:     newTurns(),
		budget:    semaphore.NewWeighted(config.MaxInFlight),
		roomy:     semaphore.NewWeighted(roomyMax),
		places:    make(chan struct{}, max(1, longMemory/(2*(config.MaxEntry+lineSlack)))),
		reading:   make(chan struct{}, readingMax),
		warm:      make(chan struct{}, warmMax),
		gatherers: newGatherers(),
		conns:     make(map[*conn]struct{}),
		listeners: make(map[net.Listener]struct{}),
	}
}

// Serve accepts connections from ln and serves each on goroutines of its own. It
// returns ErrServerClosed after Shutdown, else the listener's error. It closes
// ln.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		ln.Close()
		return ErrServerClosed
	}
	s.listeners[ln] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, ln)
		s.mu.Unlock()
		ln.Close()
	}()
	wait := time.Duration(0)
	for {
		nc, err := ln.Accept()
		if err != nil {
			if s.isStopping() {
				return ErrServerClosed
			}
			// Out of descriptors, for one: others may go on, and this passes.
			if !temporary(err) {
				return err
			}
			s.counts.accepts.Add(1)
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Error().Err(err).Str("event", "accept").Stringer("retry", wait).Send()
			time.Sleep(wait)
			continue
		}
		wait = 0
		if c := s.admit(nc); c != nil {
			go c.serve()
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// ServeConn serves one connection and returns when it has been closed. Server
// and caller both may close nc.
func (s *Server) ServeConn(nc net.Conn) {
	if c := s.admit(nc); c != nil {
		c.serve()
	}
}

// admit registers a connection, or turns it away.
func (s *Server) admit(nc net.Conn) *conn {
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.MaxConnections
	if s.stopping || full {
		s.mu.Unlock()
		if full {
			s.counts.turnedAway.Add(1)
			s.cfg.Logger.Warn().Str("event", "refused").Int("connections", s.cfg.MaxConnections).Msg("too many connections")
			// The line fits into any empty socket buffer; a peer for which it does
			// not is not waited for. Nor is one for a handshake.
			if s.cfg.TLS == nil {
				nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				nc.Write(errorLine("too many connections"))
			}
		}
		nc.Close()
		return nil
	}
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.open.Add(1)
	s.counts.accepted.Add(1)
	s.running.Add(1)
	s.mu.Unlock()
	return c
}

// leave ends what admit began.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.open.Add(-1)
	s.mu.Unlock()
	c.hold(&c.arriving, 0)
	c.hold(&c.stuck, 0)
	s.running.Done()
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// Shutdown stops accepting connections and reading from them. Writes that were
// accepted are acknowledged, then each connection is closed. Once ctx is done,
// connections that are still open are cut off and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for ln := range s.listeners {
		ln.Close()
	}
	for c := range s.conns {
		c.interrupt()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.endGatherers()
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.cut(ctx.Err())
	}
	s.mu.Unlock()
	<-done
	s.endGatherers()
	return ctx.Err()
}

// Connections is how many connections are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}
