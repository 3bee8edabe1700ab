//go:build !linux

package porttest

import (
	"net"
	"testing"
)

// Addr returns such a port with its host, 127.0.0.1. Here it is only one that was free.
func Addr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
