package segment

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// noWait opens a pipe that is in place of a file without waiting for a writer.
const noWait = unix.O_NONBLOCK

// fdatasync makes the file's bytes durable, and the metadata needed to find them again: a
// new size or new blocks, but not the modification time.
func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// BeginWriting makes the kernel start writing n bytes of f from off, without waiting for
// the end; it waits while the disk takes no more. It is only advice, and makes nothing
// durable: the next fdatasync reports any error.
func BeginWriting(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// dropCache makes the kernel forget the clean pages of f, so that the next read comes
// from the disk: after a failed sync the page cache can show bytes that the disk does not
// have. It is advice; if it fails, only this protection is lost.
func dropCache(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// nextData returns the offset of the next byte of f at or after off that is not in a
// hole, math.MaxInt64 if there is none. If the file system cannot tell, it returns off.
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

// syncFS makes everything durable that was written to the file system of dir. One call
// costs about as much as one fsync and replaces that of every file and directory changed
// since the last.
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
