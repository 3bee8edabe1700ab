package client

import (
	"io"
	"net"
	"syscall"

	"tcp-log-server/internal/nowait"
)

// direct reads a plain TCP socket and writes to it by system calls of which the scheduler
// is not told (see nowait). One goroutine may read while another writes.
type direct struct {
	from, to syscall.RawConn // the socket, for reads and for writes
	in       *nowait.Reader
	out      *nowait.Writer
}

// newDirect returns nil for a connection that is no plain TCP socket, and where there
// are no such calls.
func newDirect(nc net.Conn) *direct {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || !nowait.Possible {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return &direct{raw, raw, nowait.NewReader(), nowait.NewWriter()}
}

// Read waits for what comes, as the connection's own Read does.
func (d *direct) Read(b []byte) (n int, err error) { return d.in.Read(d.from, b) }

// readNow is a read that does not wait: n is 0 and err nil where there is nothing.
func (d *direct) readNow(b []byte) (n int, err error) { return d.in.Try(d.from, b) }

// writeNow returns how many bytes of b the connection took. An error shows in the next
// write that can wait.
func (d *direct) writeNow(b []byte) int {
	n, _ := d.out.Try(d.to, b)
	return n
}

// reader returns what reads nc at the least cost.
func reader(nc net.Conn) io.Reader {
	if d := newDirect(nc); d != nil {
		return d
	}
	return nc
}
