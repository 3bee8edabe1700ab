//go:build unix

package nowait

import "syscall"

// Possible is whether there are sockets here that a Reader can read and a Writer can
// write to: on unix systems.
const Possible = true

// quick is the most bytes that a call may copy without the scheduler knowing of it: some
// tens of microseconds, in which no collection of garbage can begin.
const quick = 128 << 10

// read reads from fd, a socket in non-blocking mode, at most quick bytes. n is 0 at the
// end of what comes. The error, if there is one, is a syscall.Errno: syscall.EAGAIN
// where there is nothing to be read at the moment.
func read(fd uintptr, b []byte) (n int, err error) {
	for {
		n, err = sysRead(fd, b[:min(len(b), quick)])
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// write writes to fd, a socket in non-blocking mode, and returns how many bytes of b it
// took. The error, if there is one, is a syscall.Errno: syscall.EAGAIN where it took none
// since it has no room at the moment.
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
