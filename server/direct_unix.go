//go:build unix

package server

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// writeNow writes to a socket that does not block.
func writeNow(fd uintptr, b []byte) int {
	n, _ := syscall.Write(int(fd), b)
	return n
}

// writable reports whether a write to the socket would take something, or fail.
func writable(fd uintptr) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p[:], 0)
	return n > 0 || err != nil && err != unix.EINTR
}
