// Package porttest gives tests and benchmarks ports that must be known before anything listens on
// them, or that are used again after a restart. A port that was free a moment ago is not enough:
// another program may get it in between, if only as the local end of a connection.
package porttest

import (
	"net"
	"testing"
)

// Addr returns a TCP port of 127.0.0.1, with that host. It belongs to the test until its end: see
// Hold.
func Addr(t testing.TB) string {
	t.Helper()
	addr, release, err := Hold()
	if err != nil {
		t.Fatalf("no port can be held: %v", err)
	}
	t.Cleanup(release)
	return addr
}

// Port is Addr without the host.
func Port(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(Addr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
