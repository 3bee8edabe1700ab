// Package gather reads many connections on few goroutines.
//
// A connection that sends only small messages does not need its own goroutine to read
// them. The goroutine hands the connection off to a gatherer, which waits for many
// connections at once by epoll, reads what has arrived on each, and passes it to a
// function. For each message this saves a switch of goroutines and a read that would find
// nothing.
//
// A gatherer reads in sweeps. A sweep starts on the gatherer's own goroutine when input
// has arrived. A log that commits in rounds also causes a sweep on its committer, right
// before it takes the next batch: clients that have just been answered send their next
// messages at that moment, so such a sweep finds many at once, wakes no goroutine, and
// misses no batch. While a batch is being answered, the gatherer's goroutine therefore
// need not be told of input.
//
// While a connection is handed off its socket is parked: see Socket.
//
// No input may go unnoticed. The field watching says that the goroutine will be told of
// input, or is about to sweep and then to ask again. While it is false, the committer is
// sending replies, and says so when it is about to wait again.
//
// The package works on Linux. Elsewhere HandOff always fails, and each connection is
// read by its own goroutine.
package gather

import (
	"bytes"
	"context"
	"math"
	"sync"
	"sync/atomic"
	"syscall"

	"tcp-log-server/internal/nowait"
)

const (
	// SweepFrom is the number of connections from which on the committer makes sweeps.
	// With fewer it would find only the first few messages, and make small batches of
	// them.
	SweepFrom = 16
	// SweepMax is roughly how many bytes a sweep on the committer reads: a batch need not
	// be larger, and no client can occupy the committer by sending more and more.
	SweepMax = 256 << 10
	// ReadMax is how many bytes a gatherer reads at a time. A connection that fills them
	// is better read by its own goroutine.
	ReadMax = 64 << 10
	// AloneMax is the number of consecutive reads of one connection after which a
	// gatherer gives it back: its own goroutine is quicker.
	AloneMax = 64
	// readyMax is how many ready connections a gatherer learns of at a time.
	readyMax = 256
)

// SetHooks makes a log call beforeBatch before it takes what has been submitted into the
// next batch, including what is submitted during the call; beforeWait before it waits,
// for the disk or for something to commit; and beforeReplies before it runs the
// completions of a batch, after each of which it calls beforeWait. It calls them one at a
// time, until remove is called. They do not block.
type SetHooks func(beforeBatch, beforeWait, beforeReplies func()) (remove func())

// Pool is a set of gatherers. All methods may be called from any goroutine.
type Pool struct{ gatherers []*gatherer }

// New returns a pool of n gatherers. They start when the first connection is handed off.
// setHooks may be nil.
func New(n int, setHooks SetHooks) *Pool {
	p := &Pool{gatherers: make([]*gatherer, n)}
	for i := range p.gatherers {
		p.gatherers[i] = &gatherer{setHooks: setHooks, conns: make(map[uint64]*Conn)}
	}
	return p
}

// Close stops the gatherers; no connection may be handed off then or later.
func (p *Pool) Close() {
	for _, g := range p.gatherers {
		g.start.Do(func() {})
		if g.sockets != nil {
			g.removeHooks()
			g.sockets.close()
			g.running.Wait()
		}
	}
}

// Len returns how many connections are handed off.
func (p *Pool) Len() (n int) {
	for _, g := range p.gatherers {
		g.mu.Lock()
		n += len(g.conns)
		g.mu.Unlock()
	}
	return n
}

// Watching reports whether any gatherer's own goroutine, rather than the committer, will
// make its next sweep.
func (p *Pool) Watching() bool {
	for _, g := range p.gatherers {
		g.mu.Lock()
		watching := g.watching
		g.mu.Unlock()
		if watching {
			return true
		}
	}
	return false
}

// Conn is a connection that can be handed off. One goroutine calls HandOff.
type Conn struct {
	gatherer *gatherer
	socket   *Socket
	take     func(b []byte, full bool) bool

	mu     sync.Mutex      // held by the gatherer while it reads the connection
	raw    syscall.RawConn // of the socket as it is parked
	number uint64          // of this hand-off; 0 while the connection is not handed off
	back   chan Returned   // receives the result, once for each hand-off
	wanted chan struct{}   // holds a token when HandOff should return
}

// Returned is a gatherer's result when it gives a connection back: the bytes that it has
// read but not handled, and why.
type Returned struct {
	B     []byte
	Err   error
	Alone bool // no other connection needed the gatherer
}

// Conn returns a connection of the pool. number spreads the connections over the
// gatherers.
//
// A gatherer calls take with what it has read, which is valid during the call; full says
// that there may be more at once. take must not block. If it returns false, the
// connection is given back together with the bytes.
func (p *Pool) Conn(socket *Socket, number uint64, take func(b []byte, full bool) bool) *Conn {
	return &Conn{gatherer: p.gatherers[number%uint64(len(p.gatherers))], socket: socket, take: take,
		back: make(chan Returned, 1), wanted: make(chan struct{}, 1)}
}

// HandOff hands the connection off, and returns when it is given back, reclaimed, or ctx
// ends. The caller then continues to read: nothing that arrived is lost. ok is false if
// the connection could not be handed off. Meanwhile the socket is parked.
func (c *Conn) HandOff(ctx context.Context) (r Returned, ok bool) {
	g := c.gatherer
	g.start.Do(g.begin)
	if g.sockets == nil {
		return Returned{}, false
	}
	c.raw = c.socket.park()
	if ok = g.add(c); ok {
		r = c.wait(ctx)
	}
	if err := c.socket.unpark(); err != nil && r.Err == nil {
		r.Err = err
	}
	return r, ok
}

// wait waits for the end of a hand-off.
func (c *Conn) wait(ctx context.Context) Returned {
	select {
	case r := <-c.back:
		return r
	case <-c.wanted:
	case <-ctx.Done():
	}
	c.mu.Lock()
	number := c.number
	c.number = 0
	c.mu.Unlock()
	if number == 0 { // it has been given back meanwhile
		return <-c.back
	}
	c.gatherer.remove(c, number)
	return Returned{}
}

// Reclaim makes the current HandOff return, or else the next one.
func (c *Conn) Reclaim() {
	select {
	case c.wanted <- struct{}{}:
	default:
	}
}

// gatherer reads the connections that are handed off to it.
type gatherer struct {
	setHooks    SetHooks
	start       sync.Once
	sockets     *sockets // nil if epoll is not available
	removeHooks func()
	running     sync.WaitGroup

	mu       sync.Mutex
	conns    map[uint64]*Conn
	number   uint64 // of the last hand-off
	watching bool
	replying bool // the committer is sending replies, and will make a sweep

	// committing asks a sweep on the goroutine to end, so that the committer can make
	// one.
	committing atomic.Bool

	// work is held during a sweep; its holder owns the rest.
	work    sync.Mutex
	numbers []uint64
	buf     []byte
	reader  *nowait.Reader
	last    uint64 // the hand-off that was read last
	alone   int    // how many reads in a row were of that one
}

// begin starts the gatherer.
func (g *gatherer) begin() {
	sockets, err := newSockets()
	if err != nil {
		return
	}
	g.sockets = sockets
	g.watching = true
	g.numbers = make([]uint64, 0, readyMax)
	g.buf = make([]byte, ReadMax)
	g.reader = nowait.NewReader()
	g.removeHooks = func() {}
	if g.setHooks != nil {
		g.removeHooks = g.setHooks(g.beforeBatch, g.beforeWait, g.beforeReplies)
	}
	g.running.Go(g.run)
}

// add starts a hand-off. ok is false if the socket cannot be watched.
func (g *gatherer) add(c *Conn) (ok bool) {
	g.mu.Lock()
	g.number++
	number := g.number
	g.conns[number] = c
	g.mu.Unlock()
	c.mu.Lock()
	c.number = number
	c.mu.Unlock()
	if err := g.sockets.add(c.raw, number); err != nil {
		c.mu.Lock()
		c.number = 0
		c.mu.Unlock()
		g.remove(c, number)
		return false
	}
	return true
}

// remove ends a hand-off.
func (g *gatherer) remove(c *Conn, number uint64) {
	g.sockets.remove(c.raw) // fails if the socket has been closed, and is gone
	g.mu.Lock()
	delete(g.conns, number)
	g.mu.Unlock()
}

// run makes a sweep whenever input has arrived.
func (g *gatherer) run() {
	for g.sockets.wait() == nil {
		g.work.Lock()
		g.sweep(math.MaxInt)
		g.work.Unlock()
		g.mu.Lock()
		if g.watching = !g.replying; g.watching {
			g.sockets.watch()
		}
		g.mu.Unlock()
	}
}

// beforeBatch makes a sweep on the committer.
func (g *gatherer) beforeBatch() {
	g.mu.Lock()
	few := len(g.conns) < SweepFrom
	g.mu.Unlock()
	if few {
		return
	}
	g.committing.Store(true)
	g.work.Lock()
	g.committing.Store(false)
	g.sweep(SweepMax)
	g.work.Unlock()
}

// beforeWait lets the goroutine make the sweeps again.
func (g *gatherer) beforeWait() {
	g.mu.Lock()
	g.replying = false
	if !g.watching {
		g.watching = true
		g.sockets.watch()
	}
	g.mu.Unlock()
}

// beforeReplies leaves the next sweep to the committer, if the committer will make one.
func (g *gatherer) beforeReplies() {
	g.mu.Lock()
	g.replying = len(g.conns) >= SweepFrom
	g.mu.Unlock()
}

// sweep reads all connections that have input until none has, limit bytes have been read,
// or the committer wants to make a sweep. The caller holds work.
func (g *gatherer) sweep(limit int) {
	for {
		g.numbers = g.sockets.ready(g.numbers[:0])
		read := 0
		for _, number := range g.numbers {
			if read >= limit || g.committing.Load() {
				return
			}
			g.mu.Lock()
			c := g.conns[number]
			g.mu.Unlock()
			if c != nil {
				read += g.read(c, number)
			}
		}
		if read == 0 { // also if everything that is ready is being reclaimed
			return
		}
		limit -= read
	}
}

// read handles the input of a connection, or gives it back. It returns how many bytes it
// read.
func (g *gatherer) read(c *Conn, number uint64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.number != number {
		return 0
	}
	if g.alone++; g.last != number {
		g.last, g.alone = number, 0
	}
	n, err := g.reader.Try(c.raw, g.buf)
	b := g.buf[:n]
	switch {
	case err != nil:
	case n == 0:
		return 0
	case c.take(b, n == len(g.buf)):
		if g.alone < AloneMax {
			return n
		}
		b = nil
	}
	g.remove(c, number)
	c.number = 0
	c.back <- Returned{bytes.Clone(b), err, g.alone >= AloneMax}
	return n
}
