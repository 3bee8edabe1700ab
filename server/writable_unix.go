//go:build unix

package server

import "golang.org/x/sys/unix"

// writable reports whether a write to the socket would take something, or fail.
func writable(fd uintptr) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p[:], 0)
	return n > 0 || err != nil && err != unix.EINTR
}
