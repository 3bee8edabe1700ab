//go:build unix

package access

import (
	"os"
	"syscall"
)

// keepOwner gives f the owner and group in info.
func keepOwner(f *os.File, info os.FileInfo) error {
	has, err := f.Stat()
	if err != nil {
		return err
	}
	was, is := info.Sys().(*syscall.Stat_t), has.Sys().(*syscall.Stat_t)
	if was.Uid == is.Uid && was.Gid == is.Gid {
		return nil
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}
