//go:build !unix

package nowait

import "errors"

// Possible is whether there are sockets here that a Reader can read and a Writer can
// write to: only on unix systems.
const Possible = false

func read(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func write(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
