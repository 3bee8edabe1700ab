//go:build unix

package client

import (
	"io"
	"os"
	"syscall"
)

const canDirect = true

// writeNow writes to a socket that does not block and returns how many bytes it took.
func writeNow(fd uintptr, b []byte) int {
	n, _ := syscall.Write(int(fd), b)
	return max(n, 0)
}

// readNow reads from a socket that does not block. That there is nothing is no error.
func readNow(fd uintptr, b []byte) (int, error) {
	n, err := syscall.Read(int(fd), b)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 0, nil
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
