package porttest

import (
	"net"
	"strconv"
	"syscall"
)

// Hold returns a TCP port of 127.0.0.1, with that host. It belongs to the caller until release: the
// system does not choose it for anyone else. Nothing listens on it. Programs that set SO_REUSEADDR
// can, one at a time: Go programs do, and most others.
//
// Hold binds a socket that never listens. Linux does not choose its port for others, and lets a
// listener have it, because SO_REUSEADDR is set on both.
func Hold() (addr string, release func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	port, err := bind(fd)
	if err != nil {
		syscall.Close(fd)
		return "", nil, err
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), func() { syscall.Close(fd) }, nil
}

// bind binds a socket to a port chosen by the system.
func bind(fd int) (port int, err error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return name.(*syscall.SockaddrInet4).Port, nil
}
