package client

import (
	"net"
	"runtime"
	"syscall"
)

// direct writes to a connection as much as it takes at the moment.
type direct struct {
	raw     syscall.RawConn
	b       []byte
	n       int
	attempt func(fd uintptr) bool // bound once
}

// newDirect returns nil for a connection that is no plain TCP socket, and where there
// is no write that does not block.
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
		d.n = writeNow(fd, d.b)
		return true // whatever came of it, do not wait
	}
	return d
}

// write returns how many bytes of b the connection took. An error shows in the next
// write that can wait.
func (d *direct) write(b []byte) int {
	d.b, d.n = b, 0
	d.raw.Write(d.attempt)
	d.b = nil
	return d.n
}

// lead writes what has gathered, for an append that waits for its answer anyway: that
// spares waking the writing goroutine, to which is left what cannot be written
// without waiting and what comes meanwhile.
func (l *lane) lead() {
	// Whoever is about to append may do so: one write instead of many.
	runtime.Gosched()
	l.mu.Lock()
	out := l.take()
	l.mu.Unlock()
	if out == nil {
		return
	}
	n := l.direct.write(out)
	l.mu.Lock()
	if n == len(out) {
		l.keep(out)
	} else {
		l.rest = out[n:]
	}
	over := n == len(out) && len(l.out) == 0
	if over {
		l.busy = false
	}
	l.mu.Unlock()
	if !over {
		l.wake <- struct{}{} // has room: busy says that nobody else has sent
	}
}
