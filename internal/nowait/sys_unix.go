//go:build unix

package nowait

import "syscall"

// Possible reports whether a Reader can read sockets here and a Writer can write to
// them: on Unix systems.
const Possible = true

// quick is how many bytes a call may copy without telling the scheduler: that takes some tens of
// microseconds, during which no garbage collection can start.
const quick = 128 << 10

// read reads at most quick bytes from fd, a socket in non-blocking mode. n is 0 at the end of the
// input. The error, if any, is a syscall.Errno: syscall.EAGAIN if there is no input at the moment.
func read(fd uintptr, b []byte) (n int, err error) {
	for {
		n, err = sysRead(fd, b[:min(len(b), quick)])
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// write writes to fd, a socket in non-blocking mode, and returns how many bytes of b it accepted.
// The error, if any, is a syscall.Errno: syscall.EAGAIN if the socket has no room at the moment.
func write(fd uintptr, b []byte) (n int, err error) {
	for {
		if len(b) > quick {
			n, err = syscall.Write(int(fd), b)
		} else {
			n, err = sysWrite(fd, b)
		}
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
