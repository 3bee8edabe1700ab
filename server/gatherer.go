package server

import (
	"bytes"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"tcp-log-server/internal/nowait"
)

// A gatherer looks at its connections in sweeps. It begins one on a goroutine of its
// own when something has come. A log that commits in rounds has another made on its
// committer, right before it takes the next batch: those who have just been answered
// send their next entries in that moment, and a sweep that is made then finds many at
// once, wakes nobody, and misses no batch. So while a batch is being answered nobody
// else needs to be told of what comes.
//
// What must hold is that no input stays unnoticed. watching says that the goroutine
// will be told of input, or is about to sweep, and then to ask again. Where it is
// false the committer is answering, and says so when it is about to wait again.

const (
	// sweepFrom is from how many lent connections on the committer makes sweeps. Of a
	// few it finds the first pieces of what they send, and makes small batches of them.
	sweepFrom = 16
	// sweepMax is how many bytes such a sweep reads, about: a batch need not be larger,
	// and nobody can keep the committer by sending more and more.
	sweepMax = 256 << 10
)

// gatherer reads the connections that are lent to it. It starts with the first.
type gatherer struct {
	start   sync.Once
	sockets *sockets // nil where there is none
	leave   func()   // ends what the log tells it
	running sync.WaitGroup

	mu        sync.Mutex
	lent      map[uint64]*conn
	number    uint64
	watching  bool
	answering bool // the committer is, and will make a sweep

	// committing asks a sweep of the goroutine's to end, for the committer to make one.
	committing atomic.Bool

	// work is held for a sweep; the rest belongs to who holds it.
	work    sync.Mutex
	numbers []uint64
	buf     []byte
	reader  *nowait.Reader
	last    uint64 // the connection that was looked at last
	alone   int    // how many looks in a row were at that one
}

// newGatherers makes one for every two processors: parsing is most of their work,
// and the log and the replies want processors too.
func newGatherers() []*gatherer {
	gatherers := make([]*gatherer, max(1, runtime.GOMAXPROCS(0)/2))
	for i := range gatherers {
		gatherers[i] = &gatherer{lent: make(map[uint64]*conn)}
	}
	return gatherers
}

// gatherer is the one that the connection is lent to, each time.
func (c *conn) gatherer() *gatherer {
	return c.server.gatherers[c.number%uint64(len(c.server.gatherers))]
}

// begin is called by the first that lends a connection.
func (g *gatherer) begin(log Log) {
	sockets, err := newSockets()
	if err != nil {
		return // each connection is read by a goroutine of its own
	}
	g.sockets = sockets
	g.watching = true
	g.numbers = make([]uint64, 0, readyMax)
	g.buf = make([]byte, gatherMax)
	g.reader = nowait.NewReader()
	g.leave = func() {}
	if staged, ok := log.(stagedLog); ok {
		g.leave = staged.Attend(g.beforeTaking, g.beforeWaiting, g.beforeAnswering)
	}
	g.running.Go(g.run)
}

// endGatherers ends the gatherers, once no connection is lent and none will be.
func (s *Server) endGatherers() {
	for _, g := range s.gatherers {
		g.start.Do(func() {})
		if g.sockets != nil {
			g.leave()
			g.sockets.close()
			g.running.Wait()
		}
	}
}

// take takes a connection on, if it can be watched.
func (g *gatherer) take(c *conn) bool {
	g.mu.Lock()
	g.number++
	number := g.number
	g.lent[number] = c
	g.mu.Unlock()
	c.loan.mu.Lock()
	c.loan.number = number
	c.loan.mu.Unlock()
	if err := g.sockets.add(c.socket.raw, number); err != nil {
		c.loan.mu.Lock()
		c.loan.number = 0
		c.loan.mu.Unlock()
		g.forget(c, number)
		return false
	}
	return true
}

// forget ends a loan.
func (g *gatherer) forget(c *conn, number uint64) {
	g.sockets.remove(c.socket.raw) // fails where it has been closed, and is gone
	g.mu.Lock()
	delete(g.lent, number)
	g.mu.Unlock()
}

// run makes a sweep whenever something has come.
func (g *gatherer) run() {
	for g.sockets.wait() == nil {
		g.work.Lock()
		g.sweep(math.MaxInt)
		g.work.Unlock()
		g.mu.Lock()
		if g.watching = !g.answering; g.watching {
			g.sockets.watch()
		}
		g.mu.Unlock()
	}
}

// beforeTaking makes a sweep before a batch is taken.
func (g *gatherer) beforeTaking() {
	g.mu.Lock()
	few := len(g.lent) < sweepFrom
	g.mu.Unlock()
	if few {
		return
	}
	g.committing.Store(true)
	g.work.Lock()
	g.committing.Store(false)
	g.sweep(sweepMax)
	g.work.Unlock()
}

// beforeWaiting has the goroutine make the sweeps again.
func (g *gatherer) beforeWaiting() {
	g.mu.Lock()
	g.answering = false
	if !g.watching {
		g.watching = true
		g.sockets.watch()
	}
	g.mu.Unlock()
}

// beforeAnswering leaves the next sweep to the committer, where it makes one.
func (g *gatherer) beforeAnswering() {
	g.mu.Lock()
	g.answering = len(g.lent) >= sweepFrom
	g.mu.Unlock()
}

// sweep looks at all connections that have something to be read until none has,
// most bytes have been read, or the committer wants to make one. The caller holds work.
func (g *gatherer) sweep(most int) {
	for {
		g.numbers = g.sockets.ready(g.numbers[:0])
		read := 0
		for _, number := range g.numbers {
			if read >= most || g.committing.Load() {
				return
			}
			g.mu.Lock()
			c := g.lent[number]
			g.mu.Unlock()
			if c != nil {
				read += g.look(c, number)
			}
		}
		if read == 0 { // also where all that is ready is just being taken back
			return
		}
		most -= read
	}
}

// look deals with what has come on a connection, or hands it back. It returns how many
// bytes that was.
func (g *gatherer) look(c *conn, number uint64) int {
	c.loan.mu.Lock()
	defer c.loan.mu.Unlock()
	if c.loan.number != number {
		return 0
	}
	if g.alone++; g.last != number {
		g.last, g.alone = number, 0
	}
	n, err := g.reader.Try(c.socket.raw, g.buf)
	c.server.counts.received.Add(uint64(n))
	b := g.buf[:n]
	switch {
	case err != nil:
	case n == 0:
		return 0
	case n < len(g.buf) && c.gather(b):
		if g.alone < aloneMax {
			return n
		}
		b = nil
	}
	g.forget(c, number)
	c.loan.number = 0
	c.loan.back <- received{bytes.Clone(b), err, g.alone >= aloneMax}
	return n
}

// gather submits what has come, if it is nothing but writes whose entries may be
// stored, in whole lines, and there is room for them.
func (c *conn) gather(b []byte) bool {
	if b[len(b)-1] != '\n' || !c.rights.Write {
		return false
	}
	limit := c.server.cfg.MaxEntry
	g := newGroup(c)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		line := b[:i]
		b = b[i+1:]
		if blank(line) {
			continue
		}
		before := len(g.entries)
		m, entries, err := parse(line, g.entries)
		g.entries = entries
		if err != nil || m.kind != write || m.refused != nil || len(entries)-before-1 > limit || len(line) >= limit+lineSlack {
			g.release()
			return false
		}
		g.add(m.id, "")
	}
	if len(g.ends) == 0 || c.trySubmit(g) {
		return true
	}
	g.release()
	return false
}
