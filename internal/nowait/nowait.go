// Package nowait reads and writes sockets that do not block, at the least cost.
//
// The usual calls tell Go's scheduler of each system call, in case it takes long. The
// first one after the program has been idle then wakes a thread of the runtime's that
// watches over such calls, and that thread comes back every 20 µs for a while. A program
// that waits for a message, deals with it, and waits again, pays that for each message:
// some 40 µs of 300 where client and server share two processors (docs/PERFORMANCE-NOTES.md).
// A call that does not wait needs no watching over.
//
// Elsewhere than on Linux, and under the race detector, the calls are the usual ones.
package nowait

import (
	"io"
	"os"
	"syscall"
)

// A Reader reads sockets, at most 128 KiB at a time. It may be used for one after the
// other, by one goroutine at a time.
type Reader struct {
	b   []byte
	n   int
	err error
	// Bound once, since each binding is an allocation.
	wait, try func(fd uintptr) (over bool)
}

// NewReader returns a Reader. Only where Possible is true there is something that it can
// read.
func NewReader() *Reader {
	r := new(Reader)
	r.wait = func(fd uintptr) bool {
		r.n, r.err = read(fd, r.b)
		return r.err != syscall.EAGAIN
	}
	r.try = func(fd uintptr) bool {
		r.wait(fd)
		return true // whatever came of it
	}
	return r
}

// Read waits until there is something to be read, as the Read of the connection that raw
// belongs to does. The error is io.EOF, or what raw.Read returns (where a deadline has
// passed, or the connection has been closed), or an *os.SyscallError.
func (r *Reader) Read(raw syscall.RawConn, b []byte) (n int, err error) {
	return r.read(raw, b, r.wait)
}

// Try is Read for what there is at the moment: n is 0 and err nil if that is nothing.
func (r *Reader) Try(raw syscall.RawConn, b []byte) (n int, err error) {
	return r.read(raw, b, r.try)
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

// A Writer writes to sockets. It may be used for one after the other, by one goroutine at
// a time.
type Writer struct {
	b   []byte
	n   int
	err error
	try func(fd uintptr) (over bool) // bound once
}

// NewWriter returns a Writer. Only where Possible is true there is something that it can
// write to.
func NewWriter() *Writer {
	w := new(Writer)
	w.try = func(fd uintptr) bool {
		w.n, w.err = write(fd, w.b)
		return true // whatever came of it
	}
	return w
}

// Try writes as much of b as the socket takes at the moment. That it takes less is no
// error. The error is what raw.Write returns (where a deadline has passed, or the
// connection has been closed; nothing has been written then), or an *os.SyscallError.
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
