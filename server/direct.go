package server

import (
	"net"
	"syscall"
)

// direct sends replies from the goroutine on which the log acknowledges, in one
// write that does not block. Where replies are all that there is to send, it
// spares waking the writing side for every batch, which costs more than the
// write. What the socket does not take at once is left to the writing side.
type direct struct {
	raw     syscall.RawConn
	b       []byte
	n       int
	attempt func(fd uintptr) bool // bound once
}

// newDirect returns nil for a connection that is no plain TCP socket.
func newDirect(nc net.Conn) *direct {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.attempt = func(fd uintptr) bool {
		d.n = max(writeNow(fd, d.b), 0)
		return true // whatever came of it, do not wait
	}
	return d
}

// write returns how many bytes of b the socket took. Errors are left for the
// writing side to run into.
func (d *direct) write(b []byte) int {
	d.b, d.n = b, 0
	if err := d.raw.Write(d.attempt); err != nil {
		return 0
	}
	d.b = nil
	return d.n
}

// replyDirectly sends the replies of the group. The caller holds send, which is
// given up here, and there is nothing that has to be sent before.
func (c *conn) replyDirectly(g *group) {
	out := g.out[:0]
	g.scratch = g.replies(g.scratch, func(line []byte, _ uint64) { out = append(out, line...) })
	g.out = out
	n := c.direct.write(out)
	c.server.counts.sent.Add(uint64(n))
	c.mu.Lock()
	c.unsaid = append(c.unsaid, out[n:]...)
	c.unsent -= g.size()
	// Whatever came meanwhile found send taken, and left it to the writing side.
	more := len(c.unsaid)+len(c.asides)+len(c.acked) > 0 || c.request != nil || c.end != endNot
	c.mu.Unlock()
	c.send.Unlock()
	g.release()
	if more {
		c.poke()
	}
	c.makeRoom()
}

// wait waits until the socket takes something, or for its deadline.
func (d *direct) wait() error { return d.raw.Write(writable) }
