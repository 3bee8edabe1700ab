package server

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// What a connection holds in memory for as long as its peer likes is bounded over
// all connections together: lines that have begun to arrive, and output that the
// peer does not take. A connection that holds little, which is nearly every one,
// has no part in it.
//
//   - Such bytes are counted. Where they pass Config.MaxHeld, those connections
//     are cut off that have held theirs the longest: it is the stuck ones that are
//     old.
//   - Of lines longer than longLine only so many arrive at once. The others wait,
//     and their peers with them; where they wait for a second, the line that comes
//     the slowest is given up for them.

// errCrowded: the connection was in the way of others.
var errCrowded = errors.New("cut off to make room: it was the one that held memory the longest")

// errTooSlow: the connection's line was in the way of others' lines.
var errTooSlow = errors.New("cut off to make room: its line came the slowest")

// held is what one half of a connection holds.
type held struct {
	bytes atomic.Int64
	since atomic.Int64 // when it came to hold anything, in ns since the server was made
}

// heldMin is how many bytes output may be that nobody counts.
const heldMin = 16 << 10

// hold notes that h, of this connection, is n bytes now.
func (c *conn) hold(h *held, n int64) {
	s := c.server
	was := h.bytes.Swap(n)
	if was == n {
		return
	}
	if was == 0 {
		h.since.Store(int64(time.Since(s.turns.began)))
	}
	if s.held.Add(n-was) > s.cfg.MaxHeld && n > was {
		s.relieve()
	}
}

// relieve cuts connections off while they hold more than MaxHeld together.
func (s *Server) relieve() {
	// Who finds somebody about it leaves it to him: he looks once more afterwards, for
	// what has been added when he had seen enough.
	for s.held.Load() > s.cfg.MaxHeld && s.relieving.TryLock() {
		s.cutOldest()
		s.relieving.Unlock()
	}
}

// cutOldest cuts connections off, those first that have held memory the longest,
// until a quarter of MaxHeld is free. The caller holds relieving.
func (s *Server) cutOldest() {
	type holder struct {
		c     *conn
		h     *held
		since int64
	}
	var holders []holder
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		for _, h := range []*held{&c.arriving, &c.stuck} {
			if h.bytes.Load() > 0 {
				holders = append(holders, holder{c, h, h.since.Load()})
			}
		}
	}
	slices.SortFunc(holders, func(a, b holder) int { return int(a.since - b.since) })
	for _, x := range holders {
		if s.held.Load() <= s.cfg.MaxHeld*3/4 {
			return
		}
		s.held.Add(-x.h.bytes.Swap(0))
		x.c.cut(errCrowded)
	}
}

const (
	// longLine is the length from which on a line that is arriving needs a place.
	longLine = 1 << 20
	// longMemory is about how much memory the lines with a place may take together,
	// in bytes: what has arrived, and the canonical form.
	longMemory = 128 << 20
	// longWait is how long one waits before another is given up.
	longWait = time.Second
	// longRate is how slow a line must be to be given up, in bytes a second, unless
	// it has had the place for as long as WriteTimeout.
	longRate = 64 << 10
)

// place is what a long line that is arriving holds.
type place struct {
	since atomic.Int64 // in ns since the server was made; 0 without a place
	got   atomic.Int64 // bytes that arrived since
}

// takePlace waits for a place for a long line. The error is why c was cut.
func (c *conn) takePlace() error {
	s := c.server
	for {
		wait := time.NewTimer(longWait)
		select {
		case s.places <- struct{}{}:
			wait.Stop()
			c.place.got.Store(0)
			c.place.since.Store(int64(time.Since(s.turns.began)))
			return nil
		case <-c.ctx.Done():
			wait.Stop()
			return context.Cause(c.ctx)
		case <-wait.C:
			s.giveUpSlowest()
		}
	}
}

// leavePlace gives the place back, if there is one.
func (c *conn) leavePlace() {
	if c.place.since.Swap(0) != 0 {
		<-c.server.places
	}
}

// giveUpSlowest cuts the connection off whose long line comes the slowest, if it
// is slow.
func (s *Server) giveUpSlowest() {
	now := time.Since(s.turns.began)
	var slowest *conn
	var least float64
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		since := time.Duration(c.place.since.Load())
		age := now - since
		if since == 0 || age < longWait || c.ctx.Err() != nil {
			continue
		}
		rate := float64(c.place.got.Load()) / age.Seconds()
		if rate > longRate && age < s.cfg.WriteTimeout {
			continue
		}
		if slowest == nil || rate < least {
			slowest, least = c, rate
		}
	}
	if slowest != nil {
		slowest.cut(errTooSlow)
	}
}

const (
	// maxUnsent is how many bytes of a connection's replies may wait, for the log or
	// for the peer, where there are few connections; minUnsent is that where there
	// are many. At the bound no more is read from it.
	maxUnsent, minUnsent = 4 << 20, 16 << 10
	// allUnsent is what the replies of all may come to, but for minUnsent each.
	allUnsent = 64 << 20
)

// unsentMax is the bound for each connection as of now.
func (s *Server) unsentMax() int64 {
	return min(max(allUnsent/max(s.open.Load(), 1), minUnsent), maxUnsent)
}
