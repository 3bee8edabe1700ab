package bucket

import (
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// renameNew renames the file name of root to base in dir, unless base exists. It uses renameat2
// with RENAME_NOREPLACE, which works on file systems without links.
func renameNew(root *os.Root, name string, dir *os.File, base string) error {
	from, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer from.Close()
	err = unix.Renameat2(int(from.Fd()), path.Base(name), int(dir.Fd()), base, unix.RENAME_NOREPLACE)
	return os.NewSyscallError("link is not supported here, and renameat2", err)
}
