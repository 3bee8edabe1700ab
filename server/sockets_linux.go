package server

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets tells which of many sockets have something to be read, and can be watched for
// the next time that one has. The sockets are in one epoll instance and that one is in
// another, the bell, which rings once and then is silent until it is asked to again.
// The runtime watches the bell, so that waiting for it takes no thread.
type sockets struct {
	set, bell *epoll
	ring      func(fd uintptr) bool // bound once, since each binding is an allocation
	look      func(fd uintptr)
	events    [readyMax]unix.EpollEvent
	found     int // of events
}

// newSockets returns no sockets yet, watched.
func newSockets() (*sockets, error) {
	set, err := newEpoll(false)
	if err != nil {
		return nil, err
	}
	bell, err := newEpoll(true)
	if err != nil {
		set.Close()
		return nil, err
	}
	p := &sockets{set: set, bell: bell}
	p.ring = func(fd uintptr) bool {
		var event [1]unix.EpollEvent
		return ready(fd, event[:]) > 0
	}
	p.look = func(fd uintptr) { p.found = ready(fd, p.events[:]) }
	if err := bell.control(set.raw, unix.EPOLL_CTL_ADD, unix.EpollEvent{Events: ringOnce}); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// ringOnce is what the bell listens for.
const ringOnce = unix.EPOLLIN | unix.EPOLLONESHOT

// close ends wait. Whatever is called later does nothing.
func (p *sockets) close() {
	p.bell.Close()
	p.set.Close()
}

// add has the socket among them, as number.
func (p *sockets) add(socket syscall.RawConn, number uint64) error {
	return p.set.control(socket, unix.EPOLL_CTL_ADD, unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(number), Pad: int32(number >> 32)})
}

func (p *sockets) remove(socket syscall.RawConn) error {
	return p.set.control(socket, unix.EPOLL_CTL_DEL, unix.EpollEvent{})
}

// ready appends the numbers of sockets that have something to be read, readyMax at
// most. One goroutine at a time may call it.
func (p *sockets) ready(numbers []uint64) []uint64 {
	p.found = 0
	p.set.raw.Control(p.look)
	for _, event := range p.events[:p.found] {
		numbers = append(numbers, uint64(uint32(event.Fd))|uint64(uint32(event.Pad))<<32)
	}
	return numbers
}

// watch has wait return once a socket has something to be read, at once where one has.
func (p *sockets) watch() {
	p.bell.control(p.set.raw, unix.EPOLL_CTL_MOD, unix.EpollEvent{Events: ringOnce})
}

// wait waits for what watch asks for. They are then not watched any longer. It fails
// once they have been closed.
func (p *sockets) wait() error { return p.bell.raw.Read(p.ring) }

// epoll is an epoll instance.
type epoll struct {
	*os.File
	raw syscall.RawConn
}

// newEpoll makes an instance that the runtime watches, or one that it does not.
func newEpoll(watched bool) (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, watched); err != nil { // that is how the runtime tells
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	e := &epoll{File: os.NewFile(uintptr(fd), "epoll")}
	if e.raw, err = e.SyscallConn(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// control adds a descriptor to the instance, changes what is watched of it, or removes
// it. It does nothing but fail where either has been closed.
func (e *epoll) control(other syscall.RawConn, op int, event unix.EpollEvent) error {
	var err error
	cerr := e.raw.Control(func(epfd uintptr) {
		serr := other.Control(func(fd uintptr) {
			err = os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(epfd), op, int(fd), &event))
		})
		err = errors.Join(err, serr)
	})
	return errors.Join(cerr, err)
}

// ready returns how many events there are at the moment, which it puts into events,
// without the scheduler knowing (see nowait).
func ready(fd uintptr, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
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
