//go:build unix

package segment

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the exclusive lock on a file, or fails with ErrLocked.
func tryLock(f *os.File) error {
	switch err := flock(f, unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return lockedError(f.Name())
	case err != nil:
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// LockDir takes the exclusive lock on a directory for as long as the result is open, and
// leaves nothing in it. It is not an error if the file system has no such locks.
// ErrLocked says that another process has the lock.
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
