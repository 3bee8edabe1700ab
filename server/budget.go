package server

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// errStalled: the connection held memory that others needed.
var errStalled = errors.New("cut off to make room: its peer kept memory in use and hardly sent or took anything")

const (
	// stallMax is how long a peer may make no progress while it keeps memory that others
	// need.
	stallMax = time.Second
	// stallRate is the rate that counts as progress, in bytes per second.
	stallRate = 64 << 10
	// waitStep is how often a connection that waits for memory looks again.
	waitStep = 10 * time.Millisecond
)

// budget bounds the memory that connections hold for as long as their peers like: partly
// received lines, and output that a peer does not take; and what the log has read for replays
// that wait. Small amounts are not counted: few connections ever hold more.
//
// When the budget is used up, the connections with the slowest peers are cut. A peer that
// sends or takes data at stallRate is as quick as any; each second without progress makes
// it a second slower. A peer that keeps up that rate is never cut for a line that waits for
// memory.
type budget struct {
	max int64

	mu     sync.Mutex
	used   int64
	shares map[*share]struct{} // those with bytes
	queue  []*share            // those that wait, in order
	over   *share              // the one that was given memory beyond max, or nil
}

// share is what one half of a connection holds of the budget.
type share struct {
	conn  *conn
	epoch time.Time // the server's start
	bytes int64     // guarded by the budget's mu

	// since is the time, in ns after epoch, since when the peer has kept the connection
	// waiting; 0 while it does not. Earlier delays are added to it.
	since atomic.Int64
	delay time.Duration // so far; owned by the goroutine that reads or writes
}

// await notes that the connection begins to wait for its peer.
func (s *share) await() { s.since.Store(int64(time.Since(s.epoch) - s.delay)) }

// moved notes that the wait is over: n bytes were received or sent.
func (s *share) moved(n int) {
	waited := time.Since(s.epoch) - time.Duration(s.since.Swap(0))
	s.delay = max(0, waited-time.Duration(n)*time.Second/stallRate)
}

// hold sets what s holds to n bytes, and cuts the slowest connections if that is an
// increase and exceeds the budget. Memory given to one share beyond the budget takes
// nothing from the others.
func (b *budget) hold(s *share, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	grows := n > s.bytes
	b.resize(s, n)
	var beyond int64
	if b.over != nil {
		beyond = b.over.bytes
	}
	if grows && b.used > b.max+beyond {
		b.cutSlowest(b.max*3/4+beyond, 0)
	}
}

// offer makes s hold n bytes if half of the budget is enough then, and reports whether it is: for what
// a connection can do without. The other half is left to those that cannot.
func (b *budget) offer(s *share, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n-s.bytes > b.max/2 {
		return false
	}
	b.resize(s, n)
	return true
}

// count adds n bytes that no connection holds for long.
func (b *budget) count(n int64) {
	b.mu.Lock()
	b.used += n
	b.mu.Unlock()
}

// wait waits until s may hold n bytes. The error says why the connection was cut.
func (b *budget) wait(ctx context.Context, s *share, n int64) error {
	n = min(n, b.max)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over == s || len(b.queue) == 0 && b.fits(s, n) {
		b.resize(s, n)
		return context.Cause(ctx)
	}
	b.queue = append(b.queue, s)
	defer func() { b.queue = slices.DeleteFunc(b.queue, func(q *share) bool { return q == s }) }()
	began := time.Now()
	tick := time.NewTicker(waitStep)
	defer tick.Stop()
	for ctx.Err() == nil {
		if b.queue[0] == s {
			if !b.fits(s, n) {
				b.cutSlowest(min(b.max*3/4, b.max-(n-s.bytes)), stallMax)
			}
			fits := b.fits(s, n)
			if !fits && b.over == nil && time.Since(began) > stallMax {
				// All others keep pace, or wait too. One at a time may exceed the budget,
				// so that connections that wait for each other cannot deadlock.
				b.over, fits = s, true
			}
			if fits {
				b.resize(s, n)
				return nil
			}
		}
		b.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		b.mu.Lock()
	}
	return context.Cause(ctx)
}

func (b *budget) fits(s *share, n int64) bool { return b.used+n-s.bytes <= b.max }

// resize makes s hold n bytes. The caller holds mu.
func (b *budget) resize(s *share, n int64) {
	if s.bytes == 0 {
		s.delay = 0
	}
	b.used += n - s.bytes
	s.bytes = n
	if n > 0 {
		b.shares[s] = struct{}{}
		return
	}
	delete(b.shares, s)
	if b.over == s {
		b.over = nil
	}
}

// cutSlowest cuts connections that wait for their peers, slowest first and none that is
// delayed by less than delay, until at most target bytes are used. The caller holds mu.
func (b *budget) cutSlowest(target int64, delay time.Duration) {
	type waiting struct {
		*share
		since int64
	}
	var all []waiting
	for s := range b.shares {
		since := s.since.Load()
		if since != 0 && time.Since(s.epoch)-time.Duration(since) >= delay {
			all = append(all, waiting{s, since})
		}
	}
	slices.SortFunc(all, func(x, y waiting) int {
		switch {
		case x.since < y.since:
			return -1
		case x.since > y.since:
			return 1
		}
		return 0
	})
	for _, w := range all {
		if b.used <= target {
			return
		}
		b.used -= w.bytes
		w.bytes = 0
		delete(b.shares, w.share)
		if b.over == w.share {
			b.over = nil
		}
		w.conn.cut(errStalled)
	}
}

const (
	// maxUnsent is how many bytes of a connection's replies may wait, for the log or for
	// the peer, while there are few connections; minUnsent is the same while there are
	// many. At the bound the connection is not read.
	maxUnsent, minUnsent = 4 << 20, 16 << 10
	// allUnsent is how many bytes of replies all connections together may have waiting,
	// unless minUnsent for each is more.
	allUnsent = 64 << 20
)

// unsentMax returns the current bound for each connection.
func (s *Server) unsentMax() int64 {
	return min(max(allUnsent/max(s.open.Load(), 1), minUnsent), maxUnsent)
}

// isDeadline reports whether a read or write ended at its deadline.
func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// writePiece is how many bytes are written at a time, to see whether the peer takes any.
const writePiece = 128 << 10

// stallTimeoutConn is a connection whose writes time out only when the peer has taken
// nothing for the whole timeout. Under TLS it lies between the records and the socket,
// since a TLS connection cannot continue after a write that timed out. Only one goroutine
// writes at a time.
type stallTimeoutConn struct {
	net.Conn
	timeout time.Duration
	counts  *counts   // the server's, for the bytes
	stuck   *share    // is told how quickly the peer takes what is written
	set     time.Time // when the deadline was last set
	limit   time.Time // the deadline given to SetWriteDeadline, or zero
}

// Read reads what is available.
func (s *stallTimeoutConn) Read(b []byte) (n int, err error) {
	n, err = s.Conn.Read(b)
	s.counts.received.Add(uint64(n))
	return n, err
}

// Write writes all of b, or returns the error that ended it.
func (s *stallTimeoutConn) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if now := time.Now(); now.Sub(s.set) > s.timeout/8 {
			end := now.Add(s.timeout)
			if !s.limit.IsZero() && s.limit.Before(end) {
				end = s.limit
			}
			s.Conn.SetWriteDeadline(end)
			s.set = now
		}
		s.stuck.await()
		m, err := s.Conn.Write(b[n:min(len(b), n+writePiece)])
		s.stuck.moved(m)
		n += m
		s.counts.sent.Add(uint64(m))
		if err != nil {
			if !isDeadline(err) || m == 0 {
				return n, err
			}
			s.set = time.Time{}
		}
	}
	return n, nil
}

// SetWriteDeadline bounds all further writes by t: the TLS package sets a deadline for its
// last record.
func (s *stallTimeoutConn) SetWriteDeadline(t time.Time) error {
	s.limit, s.set = t, time.Time{}
	return s.Conn.SetWriteDeadline(t)
}

// CloseWrite closes the sending half, if the connection has halves.
func (s *stallTimeoutConn) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

// tryWrite writes as much of b as the socket takes without waiting, or nothing where such
// writes are not possible. The caller holds what keeps others from writing.
func (c *conn) tryWrite(b []byte) (n int, err error) {
	if c.direct == nil {
		return 0, nil
	}
	n, err = c.direct.TryWrite(b)
	c.server.counts.sent.Add(uint64(n))
	return n, err
}
