//go:build unix

package segment

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A hold is a shared flock(2) on the directory of the segments. It ends with its process,
// however that ends, so a crash leaves none, and any program can take it with flock(1):
// `flock -s DATA/segments cp -a DATA COPY`.

// Hold keeps a running log from removing segments from dir until the result is closed:
// segments that are listed stay there. It waits for a removal that is under way. On a
// file system without such locks nothing is held, which is not an error: a log keeps a
// segment for a while after it no longer needs it.
func Hold(dir string) (*os.File, error) {
	f, err := OpenDir(dir)
	if err != nil {
		return nil, err
	}
	// Failure here means that the file system has no locks.
	_ = flock(f, unix.LOCK_SH)
	return f, nil
}

// BeginRemoval lets the caller remove segments from dir until it calls end, unless they
// are held: held is true then, and end must not be called.
func BeginRemoval(dir string) (end func(), held bool, err error) {
	f, err := OpenDir(dir)
	if err != nil {
		return nil, false, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, true, nil
	}
	return func() { f.Close() }, false, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}
