package server

import (
	"bytes"
	"runtime"
	"sync"

	"tcp-log-server/nowait"
)

// A connection that sends nothing but writes, in whole lines and a few at a time,
// does not need a goroutine of its own to read them: its reading side lends it to a
// gatherer, which waits for many connections at once, reads what has come on each,
// and submits it. For each such read that spares a change of goroutines, and a
// second read that would find nothing.
//
// The gatherer does only what it knows and what does not make it wait. Anything else
// goes back to the reading side, with the bytes, which goes on as if it had read
// them itself.

// lendAfter is after how many looks at its input, all of them at whole lines of
// writes, a connection is lent. Tests change it.
var lendAfter = 8

const (
	// aloneMax is after how many looks in a row at no other connection the gatherer
	// hands one back: it is quicker in answering when its goroutine reads by itself.
	// It is lent again, in case that there are others by then, after aloneAgain.
	aloneMax   = 64
	aloneAgain = 4096
	// gatherMax is how many bytes the gatherer reads at a time; a connection that
	// fills them is better read by a goroutine of its own.
	gatherMax = 64 << 10
	// readyMax is how many connections the gatherer is told of at a time.
	readyMax = 256
)

// loan is what a reading side and the gatherer share of a connection.
type loan struct {
	mu     sync.Mutex    // held by the gatherer while it looks at the connection
	number uint64        // which loan it is, 0 when the connection is not lent
	back   chan received // what it is handed back with, once for each loan
	wanted chan struct{} // holds a token when the reading side should take it back
}

// received is what a read of the connection gave.
type received struct {
	b     []byte
	err   error
	alone bool // it had the gatherer to itself
}

// gatherer reads the connections that are lent to it. It starts with the first.
type gatherer struct {
	start   sync.Once
	sockets *sockets // nil where there is none

	mu      sync.Mutex
	lent    map[uint64]*conn
	number  uint64
	running sync.WaitGroup

	// The rest belongs to its goroutine.
	buf    []byte
	reader *nowait.Reader
	last   uint64 // the connection that it has looked at last
	alone  int    // how many looks in a row were at that one
}

// lend lends the connection and returns what has been received that the gatherer
// could not deal with. Where that is nothing, not even an error, the caller has to
// read: the connection could not be lent, or there is no use in it, or it ends. lent
// is false where it may be worth trying again at the next look.
//
// Meanwhile the socket is parked, unless a read is running: replies can be sent without
// waiting for the peer, all that a read sends cannot.
func (c *conn) lend() (r received, lent bool) {
	g := c.gatherer()
	g.start.Do(g.begin)
	if g.sockets == nil {
		return received{}, true
	}
	c.mu.Lock()
	following := c.reading
	c.mu.Unlock()
	if !following && !c.socket.park() {
		return received{}, false
	}
	if g.take(c) {
		r = c.waitReturn(g)
	}
	if err := c.socket.unpark(); err != nil && r.err == nil {
		r.err = err
	}
	return r, true
}

// waitReturn waits until the connection is handed back, or recalls it.
func (c *conn) waitReturn(g *gatherer) received {
	select {
	case r := <-c.loan.back:
		return r
	case <-c.loan.wanted:
	case <-c.ctx.Done():
	}
	c.loan.mu.Lock()
	number := c.loan.number
	c.loan.number = 0
	c.loan.mu.Unlock()
	if number == 0 { // it has been handed back meanwhile
		return <-c.loan.back
	}
	g.forget(c, number)
	return received{}
}

// recall has the reading side take the connection back.
func (c *conn) recall() {
	select {
	case c.loan.wanted <- struct{}{}:
	default:
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

func (g *gatherer) begin() {
	sockets, err := newSockets()
	if err != nil {
		return // each connection is read by a goroutine of its own
	}
	g.sockets = sockets
	g.buf = make([]byte, gatherMax)
	g.reader = nowait.NewReader()
	g.running.Go(g.run)
}

// endGatherers ends the gatherers, once no connection is lent and none will be.
func (s *Server) endGatherers() {
	for _, g := range s.gatherers {
		g.start.Do(func() {})
		if g.sockets != nil {
			g.sockets.close()
			g.running.Wait()
		}
	}
}

func (g *gatherer) run() {
	numbers := make([]uint64, 0, readyMax)
	for {
		var err error
		if numbers, err = g.sockets.wait(numbers[:0]); err != nil {
			return
		}
		for _, number := range numbers {
			g.mu.Lock()
			c := g.lent[number]
			g.mu.Unlock()
			if c != nil {
				g.look(c, number)
			}
		}
	}
}

// look deals with what has come on a connection, or hands it back.
func (g *gatherer) look(c *conn, number uint64) {
	c.loan.mu.Lock()
	defer c.loan.mu.Unlock()
	if c.loan.number != number {
		return
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
		return
	case n < len(g.buf) && c.gather(b):
		if g.alone < aloneMax {
			return
		}
		b = nil
	}
	g.forget(c, number)
	c.loan.number = 0
	c.loan.back <- received{bytes.Clone(b), err, g.alone >= aloneMax}
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
