//go:build !linux

package gather

import (
	"errors"
	"os"
	"syscall"
)

// sockets does not exist on this system: each connection is read by its own goroutine.
type sockets struct{}

func newSockets() (*sockets, error) { return nil, errors.ErrUnsupported }

func (*sockets) close() {}

func (*sockets) add(syscall.RawConn, uint64) error { return errors.ErrUnsupported }

func (*sockets) remove(syscall.RawConn) error { return errors.ErrUnsupported }

func (*sockets) ready(numbers []uint64) []uint64 { return numbers }

func (*sockets) watch() {}

func (*sockets) wait() error { return errors.ErrUnsupported }

func unwatched(syscall.RawConn) (*os.File, error) { return nil, errors.ErrUnsupported }
