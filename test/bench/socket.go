package main

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"tcp-log-server/internal/porttest"
)

// This file has the few system calls of the generator's and the null server's
// loops. They bypass Go's scheduler: the sockets do not block, and the one call
// that does, epoll_wait, is bounded and interruptible. At a hundred thousand small
// messages a second the scheduler's bookkeeping would be a large part of the cost.

var clockBase = time.Now()

// now returns a monotonic time in nanoseconds, comparable within this process.
func now() int64 { return int64(time.Since(clockBase)) }

// dialRaw connects a socket to a loopback address and leaves it blocking.
func dialRaw(addr string) (fd int, err error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return -1, err
	}
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if err == nil {
		// Nothing takes this long, except for a server that stopped answering:
		// then the run ends with an error.
		patience := syscall.NsecToTimeval(int64(30 * time.Second))
		err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &patience)
	}
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())})
	}
	if err != nil {
		syscall.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return fd, nil
}

// greet exchanges a codec's greeting on a blocking socket.
func greet(fd int, send []byte, until string) error {
	if len(send) > 0 {
		if _, err := syscall.Write(fd, send); err != nil {
			return fmt.Errorf("greeting: %w", err)
		}
	}
	var got strings.Builder
	buf := make([]byte, 4096)
	for until != "" && !strings.Contains(got.String(), until) {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR { // the kernel does not restart reads of a socket with a timeout
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("greeting: server said %.200q: %v", got.String(), err)
		}
		got.Write(buf[:n])
	}
	return nil
}

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ,
		uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE,
		uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// poller is an epoll set.
type poller struct {
	fd     int
	events []syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &poller{fd: fd, events: make([]syscall.EpollEvent, 256)}, nil
}

func (p *poller) close() { syscall.Close(p.fd) }

// add watches fd for input; events on it carry the tag.
func (p *poller) add(fd, tag int) error {
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(tag)}
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &ev)
}

// output sets whether to watch fd for room to write too.
func (p *poller) output(fd, tag int, want bool) error {
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(tag)}
	if want {
		ev.Events |= syscall.EPOLLOUT
	}
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, fd, &ev)
}

// wait returns the events that are ready, or none after timeout milliseconds
// or an interruption.
func (p *poller) wait(timeout int) ([]syscall.EpollEvent, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_WAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p.events))), uintptr(len(p.events)),
		uintptr(timeout), 0, 0)
	switch errno {
	case 0:
		return p.events[:n], nil
	case syscall.EINTR:
		return nil, nil
	}
	return nil, errno
}

// heldAddr returns a loopback address for a server that cannot choose one itself. No other process gets it
// while the bench runs.
func heldAddr() (string, error) {
	addr, _, err := porttest.Hold()
	return addr, err
}

// heldPort returns the port of a heldAddr.
func heldPort() (string, error) {
	addr, err := heldAddr()
	_, port, _ := strings.Cut(addr, ":")
	return port, err
}
