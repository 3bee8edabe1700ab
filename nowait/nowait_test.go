//go:build unix

package nowait_test

import (
	"bytes"
	"syscall"
	"testing"

	"tcp-log-server/nowait"
)

// pair is two connected sockets that do not block.
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

// TestTransfer: all arrives, in as many writes and reads as it takes, and none of them
// waits.
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
			n, err := nowait.Write(near, left)
			if left = left[n:]; err == syscall.EAGAIN {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		n, err := nowait.Read(far, buf)
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

// TestEnds: what there is to say beside bytes.
func TestEnds(t *testing.T) {
	near, far := pair(t)
	b := make([]byte, 10)
	if n, err := nowait.Read(near, b); n != 0 || err != syscall.EAGAIN {
		t.Errorf("reading nothing: %d, %v, want EAGAIN", n, err)
	}
	for _, empty := range [][]byte{nil, {}} {
		if n, err := nowait.Write(near, empty); n != 0 || err != nil {
			t.Errorf("writing nothing: %d, %v", n, err)
		}
	}
	if n, err := nowait.Write(near, []byte("last")); n != 4 || err != nil {
		t.Errorf("writing: %d, %v", n, err)
	}
	syscall.Shutdown(int(near), syscall.SHUT_WR)
	if n, err := nowait.Read(far, b); n != 4 || err != nil || string(b[:4]) != "last" {
		t.Errorf("reading: %d, %v, %q", n, err, b)
	}
	if n, err := nowait.Read(far, b); n != 0 || err != nil {
		t.Errorf("reading at the end: %d, %v, want 0 and no error", n, err)
	}
	if n, err := nowait.Read(^uintptr(0), b); n != 0 || err != syscall.EBADF {
		t.Errorf("reading no socket: %d, %v, want EBADF", n, err)
	}
	for _, size := range []int{1, 1 << 20} {
		if n, err := nowait.Write(^uintptr(0), make([]byte, size)); n != 0 || err != syscall.EBADF {
			t.Errorf("writing %d bytes to no socket: %d, %v, want EBADF", size, n, err)
		}
	}
}
