//go:build unix

package nowait

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair returns two connected non-blocking sockets.
func pair(t *testing.T) (near, far uintptr) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		t.Cleanup(func() { syscall.Close(fd) })
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
	}
	return uintptr(fds[0]), uintptr(fds[1])
}

// TestTransfer: everything arrives, in any number of writes and reads, and none of them waits.
func TestTransfer(t *testing.T) {
	near, far := pair(t)
	sent := make([]byte, 3<<20)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	var got []byte
	buf := make([]byte, 1<<20)
	for left := sent; len(got) < len(sent); {
		for len(left) > 0 { // until the socket is full
			n, err := write(near, left)
			if left = left[n:]; err == syscall.EAGAIN {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		n, err := read(far, buf)
		if err != nil && err != syscall.EAGAIN {
			t.Fatal(err)
		}
		if n > 128<<10 {
			t.Errorf("a read gave %d bytes, want 128 KiB at most", n)
		}
		got = append(got, buf[:n]...)
	}
	if !bytes.Equal(got, sent) {
		t.Error("what arrived is not what was sent")
	}
}

// TestEnds: the end of the input, and errors.
func TestEnds(t *testing.T) {
	near, far := pair(t)
	b := make([]byte, 10)
	if n, err := read(near, b); n != 0 || err != syscall.EAGAIN {
		t.Errorf("reading nothing: %d, %v, want EAGAIN", n, err)
	}
	for _, empty := range [][]byte{nil, {}} {
		if n, err := write(near, empty); n != 0 || err != nil {
			t.Errorf("writing nothing: %d, %v", n, err)
		}
	}
	if n, err := write(near, []byte("last")); n != 4 || err != nil {
		t.Errorf("writing: %d, %v", n, err)
	}
	syscall.Shutdown(int(near), syscall.SHUT_WR)
	if n, err := read(far, b); n != 4 || err != nil || string(b[:4]) != "last" {
		t.Errorf("reading: %d, %v, %q", n, err, b)
	}
	if n, err := read(far, b); n != 0 || err != nil {
		t.Errorf("reading at the end: %d, %v, want 0 and no error", n, err)
	}
	if n, err := read(^uintptr(0), b); n != 0 || err != syscall.EBADF {
		t.Errorf("reading no socket: %d, %v, want EBADF", n, err)
	}
	for _, size := range []int{1, 1 << 20} {
		if n, err := write(^uintptr(0), make([]byte, size)); n != 0 || err != syscall.EBADF {
			t.Errorf("writing %d bytes to no socket: %d, %v, want EBADF", size, n, err)
		}
	}
}

// connected returns the two ends of a TCP connection.
func connected(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func raw(t *testing.T, nc net.Conn) syscall.RawConn {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestReader: a Reader waits, or does not, and returns the same as the connection's own Read.
func TestReader(t *testing.T) {
	nc, peer := connected(t)
	r, raw, b := NewReader(), raw(t, nc), make([]byte, 10)
	if n, err := r.Try(raw, b); n != 0 || err != nil {
		t.Errorf("trying where nothing is: %d, %v, want 0 and no error", n, err)
	}
	nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := r.Read(raw, b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %d, %v", n, err)
	}
	nc.SetReadDeadline(time.Time{})
	type result struct {
		n   int
		err error
	}
	got := make(chan result)
	go func() {
		n, err := r.Read(raw, b)
		got <- result{n, err}
	}()
	peer.Write([]byte("abc"))
	if r := <-got; r.n != 3 || r.err != nil || string(b[:3]) != "abc" {
		t.Errorf("waiting: %d, %v, %q", r.n, r.err, b)
	}
	if n, err := r.Read(raw, nil); n != 0 || err != nil {
		t.Errorf("reading into nothing: %d, %v, want 0 and no error", n, err)
	}
	peer.Close()
	for range 2 {
		if n, err := r.Read(raw, b); n != 0 || err != io.EOF {
			t.Errorf("at the end: %d, %v, want EOF", n, err)
		}
	}
	if n, err := r.Try(raw, b); n != 0 || err != io.EOF {
		t.Errorf("trying at the end: %d, %v, want EOF", n, err)
	}
	nc.Close()
	if n, err := r.Try(raw, b); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %d, %v", n, err)
	}
}

// TestReadPooled: ReadPooled takes a buffer when input arrives, and keeps none while it waits or at
// the end.
func TestReadPooled(t *testing.T) {
	nc, peer := connected(t)
	pool := sync.Pool{New: func() any { b := make([]byte, 10); return &b }}
	c := NewConn(nc)
	nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	if b, n, err := c.ReadPooled(&pool); b != nil || n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v, %d, %v", b, n, err)
	}
	nc.SetReadDeadline(time.Time{})
	peer.Write([]byte("abc"))
	b, n, err := c.ReadPooled(&pool)
	if b == nil || n != 3 || err != nil || string((*b)[:3]) != "abc" {
		t.Fatalf("waiting: %v, %d, %v", b, n, err)
	}
	peer.Close()
	if b, n, err := c.ReadPooled(&pool); b != nil || n != 0 || err != io.EOF {
		t.Errorf("at the end: %v, %d, %v", b, n, err)
	}
	if NewConn(struct{ net.Conn }{nc}) != nil {
		t.Error("something that is not a TCP connection passes for one")
	}
}

// TestResetConnection: the error names the system call and the system's error.
func TestResetConnection(t *testing.T) {
	nc, peer := connected(t)
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
	var of *os.SyscallError
	n, err := NewReader().Read(raw(t, nc), make([]byte, 10))
	if n != 0 || !errors.As(err, &of) || of.Syscall != "read" || of.Err != syscall.ECONNRESET {
		t.Errorf("reading: %d, %v", n, err)
	}
	n, err = NewWriter().Try(raw(t, nc), []byte("abc"))
	if n != 0 || !errors.As(err, &of) || of.Syscall != "write" || of.Err != syscall.EPIPE {
		t.Errorf("writing: %d, %v", n, err)
	}
}

// TestWriter: a Writer writes as much as the socket accepts, which becomes nothing if the peer does
// not read.
func TestWriter(t *testing.T) {
	nc, peer := connected(t)
	w, raw, b := NewWriter(), raw(t, nc), make([]byte, 1<<20)
	sent, full := 0, false
	for range 1000 {
		n, err := w.Try(raw, b)
		if err != nil {
			t.Fatal(err)
		}
		if sent += n; n == 0 {
			full = true
			break
		}
	}
	if !full || sent == 0 {
		t.Fatalf("%d bytes taken, full %v", sent, full)
	}
	nc.(*net.TCPConn).CloseWrite()
	if n, err := io.Copy(io.Discard, peer); n != int64(sent) || err != nil {
		t.Errorf("%d bytes arrived, %v, want %d", n, err, sent)
	}
	nc.SetWriteDeadline(time.Unix(1, 0))
	if n, err := w.Try(raw, b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %d, %v", n, err)
	}
	nc.Close()
	if n, err := w.Try(raw, b); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %d, %v", n, err)
	}
}

// TestNoAllocation: neither reading nor writing allocates.
func TestNoAllocation(t *testing.T) {
	nc, peer := connected(t)
	r, w, b := NewReader(), NewWriter(), make([]byte, 100)
	in, out := raw(t, peer), raw(t, nc)
	if n := testing.AllocsPerRun(100, func() {
		if n, err := w.Try(out, b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
		for left := len(b); left > 0; {
			n, err := r.Read(in, b)
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
	}); n != 0 {
		t.Errorf("%v allocations for a write and its read", n)
	}
}
