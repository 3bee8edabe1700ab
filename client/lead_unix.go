//go:build unix

package client

import "syscall"

const canWriteNow = true

// writeNow writes to a socket that does not block and returns how many bytes it took.
func writeNow(fd uintptr, b []byte) int {
	n, _ := syscall.Write(int(fd), b)
	return max(n, 0)
}
