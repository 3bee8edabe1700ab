//go:build nocluster

package cluster

import (
	"context"
	"net"

	"github.com/nats-io/nats.go"
)

// A Node is not available in this binary.
type Node struct{}

// Start returns ErrWithout.
func Start(Config) (*Node, error) { return nil, ErrWithout }

// Connect returns ErrWithout.
func (*Node) Connect(...nats.Option) (*nats.Conn, error) { return nil, ErrWithout }

// Ready returns ErrWithout.
func (*Node) Ready(context.Context) error { return ErrWithout }

// Failed returns nil.
func (*Node) Failed() <-chan struct{} { return nil }

// Err returns ErrWithout.
func (*Node) Err() error { return ErrWithout }

// Status returns nothing.
func (*Node) Status(context.Context) Status { return Status{} }

// Close does nothing.
func (*Node) Close() {}

// Verify returns nothing.
func (*Node) Verify(context.Context) []Verification { return nil }

// FetchAgain returns ErrWithout.
func FetchAgain(string) (string, error) { return "", ErrWithout }

// InProcessConn returns ErrWithout.
func (*Node) InProcessConn() (net.Conn, error) { return nil, ErrWithout }

// Replica returns nothing.
func (*Node) Replica() string { return "" }

// A Stopped is not available in this binary.
type Stopped struct {
	Node     string
	Metadata map[string]string
	Nameless error
}

// A Logged is a message of a Raft log.
type Logged struct {
	Subject             string
	Message             []byte
	Last, LastOnSubject *uint64
}

// OpenStopped returns ErrWithout.
func OpenStopped(string) (*Stopped, error) { return nil, ErrWithout }

// Read returns ErrWithout.
func (*Stopped) Read(context.Context, func(uint64, []byte) error, func(Logged) error) error {
	return ErrWithout
}

// Close does nothing.
func (*Stopped) Close() error { return nil }
