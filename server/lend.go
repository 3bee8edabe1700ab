package server

import "sync"

// A connection that sends nothing but writes, in whole lines and a few at a time,
// does not need a goroutine of its own to read them: its reading side lends it to a
// gatherer (gatherer.go), which waits for many connections at once, reads what has come
// on each, and submits it. For each such read that spares a change of goroutines, and a
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

// lend lends the connection and returns what has been received that the gatherer
// could not deal with. Where that is nothing, not even an error, the caller has to
// read: the connection could not be lent, or there is no use in it, or it ends. lent
// is false where it may be worth trying again at the next look.
//
// Meanwhile the socket is parked, unless a read is running: replies can be sent without
// waiting for the peer, all that a read sends cannot.
func (c *conn) lend() (r received, lent bool) {
	g := c.gatherer()
	g.start.Do(func() { g.begin(c.server.log) })
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
