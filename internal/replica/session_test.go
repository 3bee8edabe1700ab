package replica

import (
	"net"
	"strings"
	"testing"
)

// TestToItself: a replica does not follow the address at which it is served.
func TestToItself(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	for _, tt := range []struct {
		name string
		self net.Addr
		want bool
	}{
		{"the same", ln.Addr(), true},
		{"any address of this machine", &net.TCPAddr{IP: net.IPv6unspecified, Port: port}, true},
		{"another port", &net.TCPAddr{IP: net.IPv6unspecified, Port: port + 1}, false},
		{"another address", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: port}, false},
		{"none", nil, false},
	} {
		config := Config{Source: ln.Addr().String(), Self: tt.self}
		nc, hangUp, err := config.dial(t.Context())
		if err == nil {
			hangUp()
		}
		if got := err != nil; got != tt.want || got && !strings.Contains(err.Error(), "is the address of this replica itself") {
			t.Errorf("%s: %v, %v", tt.name, nc, err)
		}
	}
}
