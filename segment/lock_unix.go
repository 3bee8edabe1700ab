//go:build unix

package segment

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lock takes the exclusive lock on the file at path, which it creates if there
// is none, for as long as the result is open. The kernel gives it up when the
// process ends, however it ends. ErrLocked says that another process holds it.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w: stop the other one, or name another directory", path, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// LockDir takes the exclusive lock on a directory, as Lock does on a file,
// without leaving anything in it. A file system without such locks has none to
// give, and that is no error.
func LockDir(dir string) (*os.File, error) {
	f, err := OpenDir(dir)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("%s: %w: two logs cannot share a directory", dir, ErrLocked)
	}
	return f, nil
}
