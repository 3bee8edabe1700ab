package segment

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// OpenRegular opens the file at path, or what a link there leads to, for reading.
// Anything but a regular file is refused before it is opened: the opening of a pipe
// waits for its other end, and that of a device may do anything. Errors are those
// of os.Open, and otherwise name what lies there.
func OpenRegular(path string) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("not a regular file but %s", fi.Mode().Type())}
	}
	// Another may have taken its place meanwhile.
	return os.OpenFile(path, os.O_RDONLY|noWait, 0)
}

// OpenDir opens the directory dir for reading, as OpenRegular does a file. The
// error wraps syscall.ENOTDIR where something else lies there.
func OpenDir(dir string) (*os.File, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	return os.OpenFile(dir, os.O_RDONLY|noWait, 0)
}
