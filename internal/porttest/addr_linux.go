package porttest

import (
	"net"
	"strconv"
	"syscall"
	"testing"
)

// Addr returns such a port with its host, 127.0.0.1.
func Addr(t testing.TB) string {
	t.Helper()
	port, err := hold(t)
	if err != nil {
		t.Fatalf("no port can be held: %v", err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// hold binds a socket that never listens. Linux gives its port to nobody who asks for any, and,
// since SO_REUSEADDR is set on both, lets a listener of package net have it.
func hold(t testing.TB) (port int, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	t.Cleanup(func() { syscall.Close(fd) })
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
