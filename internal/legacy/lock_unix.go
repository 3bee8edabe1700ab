//go:build unix

package legacy

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// locked reports whether another process holds LevelDB's lock, without taking it.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}
