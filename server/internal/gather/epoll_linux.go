package gather

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets tells which of many sockets have input, and can wait until one has. The sockets
// are in one epoll instance, and that instance is in another, the bell, which rings once
// and is then silent until it is armed again. The runtime watches the bell, so waiting
// for it takes no thread.
type sockets struct {
	set, bell *epoll
	ring      func(fd uintptr) bool // bound once, since each binding is an allocation
	poll      func(fd uintptr)
	events    [readyMax]unix.EpollEvent
	found     int // of events
}

// newSockets returns an empty set with the bell armed.
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
	p.poll = func(fd uintptr) { p.found = ready(fd, p.events[:]) }
	if err := bell.control(set.raw, unix.EPOLL_CTL_ADD, unix.EpollEvent{Events: ringOnce}); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// ringOnce is the events of the bell.
const ringOnce = unix.EPOLLIN | unix.EPOLLONESHOT

// close ends wait. Later calls do nothing.
func (p *sockets) close() {
	p.bell.Close()
	p.set.Close()
}

// add adds the socket under that number.
func (p *sockets) add(socket syscall.RawConn, number uint64) error {
	return p.set.control(socket, unix.EPOLL_CTL_ADD, unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(number), Pad: int32(number >> 32)})
}

func (p *sockets) remove(socket syscall.RawConn) error {
	return p.set.control(socket, unix.EPOLL_CTL_DEL, unix.EpollEvent{})
}

// ready appends the numbers of sockets that have input, at most readyMax. Only one
// goroutine at a time may call it.
func (p *sockets) ready(numbers []uint64) []uint64 {
	p.found = 0
	p.set.raw.Control(p.poll)
	for _, event := range p.events[:p.found] {
		numbers = append(numbers, uint64(uint32(event.Fd))|uint64(uint32(event.Pad))<<32)
	}
	return numbers
}

// watch arms the bell: wait returns once a socket has input, which may be at once.
func (p *sockets) watch() {
	p.bell.control(p.set.raw, unix.EPOLL_CTL_MOD, unix.EpollEvent{Events: ringOnce})
}

// wait waits until the bell rings. It fails after close.
func (p *sockets) wait() error { return p.bell.raw.Read(p.ring) }

// epoll is an epoll instance.
type epoll struct {
	*os.File
	raw syscall.RawConn
}

// newEpoll makes an instance. The runtime watches it if watched is true.
func newEpoll(watched bool) (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, watched); err != nil { // the runtime relies on this
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

// control adds a descriptor to the instance, changes its events, or removes it. It fails
// if either has been closed.
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

// ready puts the pending events into events and returns their number. The scheduler is
// not told of the system call (see nowait).
func ready(fd uintptr, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// unwatched returns another descriptor of a socket, as a file that the runtime does not
// watch. The runtime does not watch a blocking file, so the socket blocks for a moment,
// in which no other goroutine may read from it or write to it.
func unwatched(socket syscall.RawConn) (file *os.File, err error) {
	cerr := socket.Control(func(fd uintptr) {
		var dup int
		if dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return
		}
		err = unix.SetNonblock(dup, false)
		file = os.NewFile(uintptr(dup), "socket")
		err = errors.Join(err, unix.SetNonblock(dup, true))
	})
	if err = errors.Join(cerr, err); err != nil && file != nil {
		file.Close()
	}
	return file, err
}
