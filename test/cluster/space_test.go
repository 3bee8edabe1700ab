package cluster

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// space is a network namespace with only loopback: processes in it reach others only through proxies.
// Otherwise the nodes could bypass the proxies, since each tells all others the addresses that it
// knows.
type space struct{ file *os.File }

// newSpace makes a network namespace.
func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := &space{}
	err := inSpace(-1, func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if s.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return loopbackUp()
	})
	if err != nil {
		t.Skipf("needs networks of its own: %v", err)
	}
	t.Cleanup(func() { s.file.Close() })
	return s
}

// loopbackUp brings up loopback in the network namespace of the thread.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}

// inSpace calls fn on a thread in the network namespace fd or, if fd is -1, on one that may leave
// its own. A thread that cannot return to its namespace ends.
func inSpace(fd int, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer own.Close()
		if fd >= 0 {
			err = os.NewSyscallError("setns", unix.Setns(fd, unix.CLONE_NEWNET))
		}
		if err == nil {
			err = fn()
		}
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// listen listens at an address in the space.
func (s *space) listen(addr string) (ln net.Listener, err error) {
	err = inSpace(int(s.file.Fd()), func() error {
		ln, err = net.Listen("tcp", addr)
		return err
	})
	return ln, err
}

// dial connects to an address in the space.
func (s *space) dial(addr string) (c net.Conn, err error) {
	err = inSpace(int(s.file.Fd()), func() error {
		c, err = net.DialTimeout("tcp", addr, time.Second)
		return err
	})
	return c, err
}

// start starts a program in the space.
func (s *space) start(cmd *exec.Cmd) error { return inSpace(int(s.file.Fd()), cmd.Start) }
