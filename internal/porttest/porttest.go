// Package porttest gives tests ports that must be known before anything listens on them, or that
// are used again after a restart. A port that was free a moment ago is not enough: another test
// may get it in between.
package porttest

import (
	"net"
	"testing"
)

// Port returns a TCP port of 127.0.0.1 that is the test's until it ends: whatever lets the system
// choose a port gets another one. Nothing listens on it. Go programs can, one at a time.
func Port(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(Addr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
