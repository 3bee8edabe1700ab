//go:build unix

package server

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const canWriteNow = true

// writeNow writes to a socket that does not block. That it takes no more at the moment
// is no error.
func writeNow(fd uintptr, b []byte) (int, error) {
	n, err := syscall.Write(int(fd), b)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		err = nil
	}
	return max(n, 0), err
}

// writable reports whether a write to the socket would take something, or fail.
func writable(fd uintptr) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p[:], 0)
	return n > 0 || err != nil && err != unix.EINTR
}
