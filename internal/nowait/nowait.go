// Package nowait reads and writes non-blocking sockets at the lowest cost.
//
// The usual calls tell Go's scheduler about each system call, in case it takes long. After the
// program has been idle, the first such call wakes the runtime thread that watches system calls,
// and that thread then runs every 20 µs for a while. A program that waits for a message, handles
// it, and waits again pays for that with each message. A call that does not wait needs no watching.
//
// Outside Linux, and under the race detector, the calls are the usual ones.
package nowait

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// A Reader reads sockets, at most 128 KiB at a time. One goroutine at a time may use it,
// for any sockets.
type Reader struct {
	b    []byte
	pool *sync.Pool // source of b, unless nil
	from *[]byte    // buffer taken from pool
	n    int
	err  error
	// Bound once, because each binding allocates.
	wait, try func(fd uintptr) (done bool)
}

// NewReader returns a Reader. If Possible is false, it cannot read anything.
func NewReader() *Reader {
	r := new(Reader)
	r.wait = func(fd uintptr) bool {
		if r.pool != nil {
			r.from = r.pool.Get().(*[]byte)
			r.b = *r.from
		}
		r.n, r.err = read(fd, r.b)
		if r.pool != nil && r.n == 0 {
			r.pool.Put(r.from)
			r.b, r.from = nil, nil // so that it can be freed during the wait
		}
		return r.err != syscall.EAGAIN
	}
	r.try = func(fd uintptr) bool {
		r.wait(fd)
		return true // whatever the result
	}
	return r
}

// Read waits for input, like the Read of raw's connection. The error is io.EOF, or that of raw.Read
// (after a deadline or the connection's Close), or an *os.SyscallError.
func (r *Reader) Read(raw syscall.RawConn, b []byte) (n int, err error) {
	return r.read(raw, b, r.wait)
}

// Try reads the available input without waiting: n is 0 and err nil if there is none.
func (r *Reader) Try(raw syscall.RawConn, b []byte) (n int, err error) {
	return r.read(raw, b, r.try)
}

// ReadPooled is Read into a buffer from pool, a pool of *[]byte. It takes the buffer when there is
// input, and has none while it waits. The caller returns the buffer to the pool. b is nil if n is
// 0.
func (r *Reader) ReadPooled(raw syscall.RawConn, pool *sync.Pool) (b *[]byte, n int, err error) {
	r.pool = pool
	n, err = r.read(raw, nil, r.wait)
	if r.pool = nil; n == 0 && err == nil {
		err = io.EOF
	}
	b, r.from = r.from, nil
	return b, n, err
}

func (r *Reader) read(raw syscall.RawConn, b []byte, call func(fd uintptr) bool) (int, error) {
	r.b, r.n, r.err = b, 0, nil
	err := raw.Read(call)
	r.b = nil
	switch {
	case err != nil:
		return 0, err
	case r.err == syscall.EAGAIN:
		return 0, nil
	case r.err != nil:
		return 0, os.NewSyscallError("read", r.err)
	case r.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return r.n, nil
}

// A Writer writes to sockets. One goroutine at a time may use it, for any sockets.
type Writer struct {
	b   []byte
	n   int
	err error
	try func(fd uintptr) (done bool) // bound once
}

// NewWriter returns a Writer. If Possible is false, it cannot write anything.
func NewWriter() *Writer {
	w := new(Writer)
	w.try = func(fd uintptr) bool {
		w.n, w.err = write(fd, w.b)
		return true // whatever the result
	}
	return w
}

// Try writes as much of b as the socket accepts at the moment. A short write is not an error. The
// error is that of raw.Write (after a deadline or the connection's Close, and then nothing has been
// written), or an *os.SyscallError.
func (w *Writer) Try(raw syscall.RawConn, b []byte) (n int, err error) {
	w.b, w.n, w.err = b, 0, nil
	err = raw.Write(w.try)
	w.b = nil
	switch {
	case err != nil:
		return 0, err
	case w.err != nil && w.err != syscall.EAGAIN:
		return w.n, os.NewSyscallError("write", w.err)
	}
	return w.n, nil
}

// A Conn is a plain TCP connection with a Reader and a Writer. One goroutine may read
// while another writes.
type Conn struct {
	In, Out syscall.RawConn // the connection, for reads and for writes
	reader  *Reader
	writer  *Writer
}

// NewConn returns a Conn for nc, or nil if nc is not a plain TCP connection or Possible is false.
func NewConn(nc net.Conn) *Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || !Possible {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return &Conn{raw, raw, NewReader(), NewWriter()}
}

// Read is Reader.Read.
func (c *Conn) Read(b []byte) (n int, err error) { return c.reader.Read(c.In, b) }

// ReadPooled is Reader.ReadPooled.
func (c *Conn) ReadPooled(pool *sync.Pool) (b *[]byte, n int, err error) {
	return c.reader.ReadPooled(c.In, pool)
}

// TryRead is Reader.Try.
func (c *Conn) TryRead(b []byte) (n int, err error) { return c.reader.Try(c.In, b) }

// TryWrite is Writer.Try.
func (c *Conn) TryWrite(b []byte) (n int, err error) { return c.writer.Try(c.Out, b) }
