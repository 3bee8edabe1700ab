package server

import (
	"errors"
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
	err     error
	attempt func(fd uintptr) bool // bound once
}

// newDirect returns nil for a connection that is no plain TCP socket, and where
// there is no write that does not block.
func newDirect(nc net.Conn) *direct {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || !canWriteNow {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.attempt = func(fd uintptr) bool {
		d.n, d.err = writeNow(fd, d.b)
		return true // whatever came of it, do not wait
	}
	return d
}

// write returns how many bytes of b the socket took. That it takes no more at the moment
// is no error.
func (d *direct) write(b []byte) (n int, err error) {
	d.b, d.n, d.err = b, 0, nil
	if err = d.raw.Write(d.attempt); isDeadline(err) {
		err = nil // that of an earlier write
	}
	d.b = nil
	return d.n, errors.Join(err, d.err)
}

// replyDirectly sends the replies of the group. The caller holds send, which is
// given up here, and there is nothing that has to be sent before.
func (c *conn) replyDirectly(g *group) {
	out := g.out[:0]
	g.scratch = g.replies(g.scratch, func(line []byte, _ uint64) { out = append(out, line...) })
	g.out = out
	n, _ := c.direct.write(out) // the writing side will run into an error too
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
