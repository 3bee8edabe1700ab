//go:build unix

// Package nowait reads and writes sockets that do not block, at the least cost.
//
// The usual calls tell Go's scheduler of each system call, in case it takes long. The
// first one after the program has been idle then wakes a thread of the runtime's that
// watches over such calls, and that thread comes back every 20 µs for a while. A program
// that waits for a message, deals with it, and waits again, pays that for each message:
// some 40 µs of 300 where client and server share two processors (docs/PERFORMANCE.md).
// A call that does not wait needs no watching over.
package nowait

import "syscall"

// Possible is whether there are such calls here: on unix systems.
const Possible = true

// quick is the most bytes that a call may copy without the scheduler knowing of it: some
// tens of microseconds, in which no collection of garbage can begin.
const quick = 128 << 10

// Read reads from fd, a socket in non-blocking mode, at most 128 KiB at a time. n is 0 at
// the end of what comes. The error, if there is one, is a syscall.Errno: syscall.EAGAIN
// where there is nothing to be read at the moment.
func Read(fd uintptr, b []byte) (n int, err error) {
	for {
		n, err = read(fd, b[:min(len(b), quick)])
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// Write writes to fd, a socket in non-blocking mode, and returns how many bytes of b it
// took. The error, if there is one, is a syscall.Errno: syscall.EAGAIN where it took none
// since it has no room at the moment.
func Write(fd uintptr, b []byte) (n int, err error) {
	for {
		if len(b) > quick {
			n, err = syscall.Write(int(fd), b)
		} else {
			n, err = write(fd, b)
		}
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
