//go:build !unix

package nowait

import "errors"

const Possible = false

func Read(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func Write(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
