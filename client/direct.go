package client

import (
	"io"
	"net"
	"os"
	"syscall"

	"tcp-log-server/nowait"
)

// direct reads a plain TCP socket and writes it by system calls of which the scheduler is
// not told (see nowait). One goroutine may read while another writes.
type direct struct {
	in, out attempt
	now     func(fd uintptr) bool // in.run, without waiting
}

// attempt is a read or a write at the moment that raw says.
type attempt struct {
	raw syscall.RawConn
	b   []byte
	n   int
	err error
	run func(fd uintptr) (over bool) // bound once
}

// newDirect returns nil for a connection that is no plain TCP socket, and where there
// are no calls that do not wait.
func newDirect(nc net.Conn) *direct {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || !nowait.Possible {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{in: attempt{raw: raw}, out: attempt{raw: raw}}
	d.in.run = func(fd uintptr) bool {
		d.in.n, d.in.err = nowait.Read(fd, d.in.b)
		return d.in.err != syscall.EAGAIN
	}
	d.now = func(fd uintptr) bool {
		d.in.run(fd)
		return true // whatever came of it
	}
	d.out.run = func(fd uintptr) bool {
		d.out.n, d.out.err = nowait.Write(fd, d.out.b)
		return true
	}
	return d
}

// Read waits for what comes, as the connection's own Read does.
func (d *direct) Read(b []byte) (n int, err error) { return d.read(b, d.in.run) }

// readNow is a read that does not wait: n is 0 and err nil where there is nothing.
func (d *direct) readNow(b []byte) (n int, err error) { return d.read(b, d.now) }

func (d *direct) read(b []byte, attempt func(fd uintptr) bool) (n int, err error) {
	in := &d.in
	in.b, in.n, in.err = b, 0, nil
	err = in.raw.Read(attempt)
	in.b = nil
	switch {
	case err != nil:
		return 0, err
	case in.err == syscall.EAGAIN:
		return 0, nil
	case in.err != nil:
		return 0, os.NewSyscallError("read", in.err)
	case in.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return in.n, nil
}

// writeNow returns how many bytes of b the connection took. An error shows in the next
// write that can wait.
func (d *direct) writeNow(b []byte) int {
	d.out.b, d.out.n = b, 0
	d.out.raw.Write(d.out.run)
	d.out.b = nil
	return d.out.n
}

// reader returns what reads nc at the least cost.
func reader(nc net.Conn) io.Reader {
	if d := newDirect(nc); d != nil {
		return d
	}
	return nc
}
