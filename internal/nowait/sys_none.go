//go:build !unix

package nowait

import "errors"

// Possible reports whether a Reader can read sockets here and a Writer can write to
// them: only on Unix systems.
const Possible = false

func read(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func write(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
