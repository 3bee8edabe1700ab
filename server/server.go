// Package server serves a log over connections by the protocol of docs/PROTOCOL.md. It owns sockets
// and the protocol, and sees the log only through the interface Log, which engine.Log implements.
// New makes a Server, Serve accepts connections, and Shutdown ends them after acknowledging what
// they have sent.
package server

import (
	"container/list"
	"context"
	"errors"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"tcp-log-server/server/internal/gather"
)

// A connection (conn.go) is first admitted (admission.go). Then its reader (reader.go) splits the
// input into lines, parses them (package internal/message; large ones in turns), acts on them
// (act.go) and gives the writes to the log in groups (group.go). On a second goroutine its writer
// (writer.go) sends the replies once the log has acknowledged them, and the entries of a read
// (request.go), from a cursor (replay.go). If the log has to ask other machines where a read begins,
// a separate goroutine does so. The outbox (outbox.go) holds what the log and the reader leave to be
// sent. Followers near the head share their lines through one cache (tail.go). One budget bounds the
// memory that peers can make the server hold (budget.go). replicas.go handles the requests of
// replicas, and replicate.go sends them batches. Connections that only write are read together, by
// the package internal/gather: this is purely an optimization.

// Server serves one log. All methods may be called from any goroutine.
type Server struct {
	cfg      Config
	log      Log
	failures *failures
	tail     tail
	began    time.Time
	atAfter  time.Duration // how long a filter finds nothing before {"at":N} is sent; tests change it

	inFlight *semaphore.Weighted // MaxInFlight
	memory   *budget             // MaxHeld
	parsing  *parseTurns
	throttle *replayThrottle
	near     func() uint64 // of a nearLog, nil if the log is not one
	known    func() uint64 // of a distantLog, nil if the log is not one
	askMax   time.Duration // askMax; tests change it

	maxBatch  int // bytes of the entries of one message, each with a newline
	maxAppend int // bytes of the entries of one append, MaxInt if the log sets no limit

	gather *gather.Pool

	open    atomic.Int64 // connections
	counts  counts
	readers readers

	replicas replicas
	digests  chan struct{} // one for each digest being computed

	reauthorized atomic.Uint64 // rounds of Reauthorize; changes under mu

	mu        sync.Mutex
	conns     map[*conn]struct{}
	places    map[*Place]struct{}
	unknown   *list.List // those of conns that wait to be admitted, oldest first
	idle      *list.List // those of places on which no client is admitted, oldest first
	listeners map[net.Listener]struct{}
	stopping  bool
	running   sync.WaitGroup // connections, except for replication streams
	streaming sync.WaitGroup // replication streams
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("server closed")

// New returns a server for the log.
func New(log Log, config Config) *Server {
	config = config.withDefaults()
	maxBatch, maxAppend := config.MaxEntry, math.MaxInt
	if log, ok := log.(limitedLog); ok {
		maxAppend = log.MaxAppend()
		maxBatch = min(maxBatch, maxAppend)
		config.MaxEntry = min(config.MaxEntry, maxAppend-1)
	}
	var setHooks gather.SetHooks
	var near, known func() uint64
	if log, ok := log.(nearLog); ok {
		near = log.Near
	}
	if log, ok := log.(distantLog); ok {
		known = log.Known
	}
	if hooked, ok := log.(hookedLog); ok {
		setHooks = hooked.SetHooks
	}
	failed := &failures{logger: config.Logger}
	memory := &budget{max: config.MaxHeld, shares: make(map[*share]struct{})}
	return &Server{
		cfg:      config,
		log:      log,
		failures: failed,
		tail:     tail{log: log, failures: failed, max: config.TailCache},
		began:    time.Now(),
		atAfter:  time.Second,
		inFlight: semaphore.NewWeighted(config.MaxInFlight),
		memory:   memory,
		parsing:  newParseTurns(memory),
		throttle: newReplayThrottle(),
		near:     near,
		known:    known,
		askMax:   askMax,

		maxBatch:  maxBatch,
		maxAppend: maxAppend,
		// One gatherer for every two processors: it spends most of its time parsing, and the log and
		// the replies need processors too.
		gather:    gather.New(max(1, runtime.GOMAXPROCS(0)/2), setHooks),
		conns:     make(map[*conn]struct{}),
		places:    make(map[*Place]struct{}),
		unknown:   list.New(),
		idle:      list.New(),
		listeners: make(map[net.Listener]struct{}),
		replicas:  replicas{set: make(map[*replica]struct{})},
		digests:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
}

// Serve accepts connections from ln and serves each on its own goroutines. It returns
// ErrServerClosed after Shutdown, otherwise the listener's error. It closes ln.
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
			// For example out of descriptors: other connections continue, and this passes.
			if !temporary(err) {
				return err
			}
			s.counts.accepts.Add(1)
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Error().Err(err).Str("event", "accept").Stringer("retry", wait).Msg("cannot accept a connection; trying again")
			time.Sleep(wait)
			continue
		}
		wait = 0
		if c := s.register(nc); c != nil {
			go c.serve()
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// ServeConn serves one connection and returns when it has been closed. Both the server
// and the caller may close nc.
func (s *Server) ServeConn(nc net.Conn) {
	if c := s.register(nc); c != nil {
		c.serve()
	}
}

// register adds a connection, or turns it away and returns nil.
func (s *Server) register(nc net.Conn) *conn {
	c := newConn(s, nc)
	err := s.enter(c, false)
	if err == nil {
		return c
	}
	// The line fits into any empty socket buffer, so the write hardly waits. There is no handshake
	// either.
	if err == ErrTooManyConnections && s.cfg.TLS == nil {
		nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		nc.Write(appendFault(nil, nil, err.Error()))
	}
	nc.Close()
	return nil
}

// enter adds a connection to those that count, unless there are too many or the server is stopping.
// If its peer needs a token and has not been admitted, its wait for admission begins.
func (s *Server) enter(c *conn, admitted bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.claim(); err != nil {
		return err
	}
	s.conns[c] = struct{}{}
	if s.cfg.Tokens != nil && !admitted {
		c.waits = s.unknown.PushBack(c)
	}
	s.running.Add(1)
	return nil
}

// claim finds a place for one more connection and counts it. The caller holds mu.
func (s *Server) claim() error {
	s.makeRoom()
	switch {
	case s.stopping:
		return ErrServerClosed
	case s.taken() >= s.cfg.MaxConnections:
		s.counts.turnedAway.Add(1)
		s.cfg.Logger.Warn().Str("event", "refused").Int("connections", s.cfg.MaxConnections).Msg("too many connections")
		return ErrTooManyConnections
	}
	s.open.Add(1)
	s.counts.accepted.Add(1)
	return nil
}

// taken is how many places are taken. The caller holds mu.
func (s *Server) taken() int { return len(s.conns) + len(s.places) }

// errOutdone: a connection was not admitted before its place was needed.
var errOutdone = errors.New("cut off to make room: it was the oldest of too many connections that had not sent a token")

// makeRoom cuts the connection that has waited longest to be admitted if such connections take half
// of all places, or if there would be no place for the next connection. So peers that send no token
// cannot keep out those that do. Places are closed first: their clients reconnect by themselves. The
// caller holds mu.
func (s *Server) makeRoom() {
	n := s.unknown.Len() + s.idle.Len()
	if n == 0 || n < (s.cfg.MaxConnections+1)/2 && s.taken() < s.cfg.MaxConnections {
		return
	}
	s.counts.turnedAway.Add(1)
	if place := s.idle.Front(); place != nil {
		place.Value.(*Place).yield()
		return
	}
	c := s.unknown.Front().Value.(*conn)
	s.remove(c)
	c.cut(errOutdone)
}

// remove removes a connection from those that count, if it is still there. The caller holds mu.
func (s *Server) remove(c *conn) {
	if _, ok := s.conns[c]; ok {
		delete(s.conns, c)
		s.open.Add(-1)
	}
	s.admitted(c)
}

// admitted removes a connection from those that wait to be admitted. The caller holds mu.
func (s *Server) admitted(c *conn) {
	if c.waits != nil {
		s.unknown.Remove(c.waits)
		c.waits = nil
	}
}

// leave removes a connection that has ended.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	s.remove(c)
	streams := c.streams
	s.mu.Unlock()
	if streams {
		s.streaming.Done()
	} else {
		s.running.Done()
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// Shutdown stops accepting connections and reading from them. Writes that were accepted are
// acknowledged, then each connection is closed. Replicas are closed last, so that they get what
// these writes stored, and can confirm it if the acknowledgements wait for them. When ctx is done,
// connections that are still open are cut and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for ln := range s.listeners {
		ln.Close()
	}
	s.interrupt(false)
	for p := range s.places {
		if p.waits != nil {
			p.yield()
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		s.mu.Lock()
		s.interrupt(true)
		s.mu.Unlock()
		s.streaming.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.gather.Close()
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.cut(ctx.Err())
	}
	s.mu.Unlock()
	<-done
	s.gather.Close()
	return ctx.Err()
}

// Connections returns how many connections are open, including conversations and places.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken()
}
