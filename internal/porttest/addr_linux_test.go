package porttest

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
)

// TestAddr: a port is held for a program that names it, even after it was used, and for no other.
func TestAddr(t *testing.T) {
	addr := Addr(t)
	stranger := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0) })
		return err
	}}
	for range 3 {
		if nc, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("before anybody listens: got %v, %v", nc, err)
		}
		if ln, err := stranger.Listen(context.Background(), "tcp", addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("a socket without SO_REUSEADDR: got %v, %v", ln, err)
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
		if _, err := net.Listen("tcp", addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("while somebody listens: got %v", err)
		}
		ln.Close()
	}
}
