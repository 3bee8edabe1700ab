package segment

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// noWait opens a pipe that lies in place of a file without waiting for somebody
// to write to it.
const noWait = unix.O_NONBLOCK

// fdatasync makes the file's bytes durable, and of its metadata what is needed
// to find them again: a new size or new blocks, but not the time of change.
func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// BeginWriting has the kernel write n bytes of f from off on, without waiting for that
// to end; it waits while the disk takes no more. It is advice, and makes nothing
// durable: of an error that comes of it the next fdatasync tells.
func BeginWriting(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// dropCache makes the kernel forget the clean pages of f, so that what is read
// next comes from the disk: after a failed sync the page cache can show bytes
// that the disk does not have. It is advice; where it fails, nothing is lost
// but this protection.
func dropCache(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// nextData returns the offset of the next byte of f at or after off that lies in no
// hole, math.MaxInt64 where none is left. Where the file system cannot tell, it is off.
func nextData(f *os.File, off int64) int64 {
	at, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return math.MaxInt64
	case err != nil:
		return off
	}
	return at
}

// syncFS makes everything that was written to the file system of dir durable.
// One call costs about as much as one fsync and stands for one of every file
// and directory that was changed since.
func syncFS(dir *os.File) (supported bool, err error) {
	return true, os.NewSyscallError("syncfs", unix.Syncfs(int(dir.Fd())))
}

// SyncFS makes everything durable that was written to the file system of dir.
func SyncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = syncFS(d)
	return err
}
