package server

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets tells which of many sockets have something to be read. It is an epoll
// instance that the runtime watches in turn, so that waiting for it takes no thread.
type sockets struct {
	f     *os.File
	raw   syscall.RawConn
	ready [readyMax]unix.EpollEvent
}

func newSockets() (*sockets, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that it is watched
		unix.Close(fd)
		return nil, err
	}
	p := &sockets{f: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.f.SyscallConn(); err != nil {
		p.f.Close()
		return nil, err
	}
	return p, nil
}

func (p *sockets) close() { p.f.Close() }

// add has the socket watched, as number.
func (p *sockets) add(socket syscall.RawConn, number uint64) error {
	return p.control(socket, unix.EPOLL_CTL_ADD, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(number), Pad: int32(number >> 32)})
}

func (p *sockets) remove(socket syscall.RawConn) error {
	return p.control(socket, unix.EPOLL_CTL_DEL, &unix.EpollEvent{})
}

func (p *sockets) control(socket syscall.RawConn, op int, event *unix.EpollEvent) error {
	var err error
	if cerr := p.raw.Control(func(epfd uintptr) {
		if serr := socket.Control(func(fd uintptr) { err = unix.EpollCtl(int(epfd), op, int(fd), event) }); serr != nil {
			err = serr
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

// wait waits until sockets are ready and appends their numbers. It fails once
// they have been closed.
func (p *sockets) wait(numbers []uint64) ([]uint64, error) {
	n := 0
	err := p.raw.Read(func(fd uintptr) bool {
		n = p.look(fd)
		return n > 0
	})
	for _, event := range p.ready[:max(n, 0)] {
		numbers = append(numbers, uint64(uint32(event.Fd))|uint64(uint32(event.Pad))<<32)
	}
	return numbers, err
}

// look looks which sockets are ready, without the scheduler knowing (see nowait).
func (p *sockets) look(fd uintptr) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&p.ready)), readyMax, 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// unwatched returns another descriptor of a socket, as a file that the runtime does not
// watch: it takes one that blocks for such, so the socket does for that moment. Nobody
// may be reading it or writing to it meanwhile.
func unwatched(socket syscall.RawConn) (file *os.File, err error) {
	cerr := socket.Control(func(fd uintptr) {
		var dup int
		if dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return
		}
		unix.SetNonblock(dup, false)
		file = os.NewFile(uintptr(dup), "socket")
		unix.SetNonblock(dup, true)
	})
	return file, errors.Join(cerr, err)
}
