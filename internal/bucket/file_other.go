//go:build !linux

package bucket

import (
	"errors"
	"fmt"
	"os"
)

// renameNew has no portable form: the file system needs links.
func renameNew(*os.Root, string, *os.File, string) error {
	return fmt.Errorf("the file system has no hard links, which new objects need: %w", errors.ErrUnsupported)
}
