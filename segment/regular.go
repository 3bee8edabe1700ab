package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// errNotRegular: a directory, device, pipe or socket is in place of a file.
var errNotRegular = errors.New("not a regular file")

// OpenRegular opens the file at path, or the target of a link there, for reading. It
// refuses anything except a regular file before opening it: opening a pipe waits for its
// other end, and opening a device may do anything. Errors are those of os.Open, or say
// what is there.
func OpenRegular(path string) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("%w but %s", errNotRegular, fi.Mode().Type())}
	}
	// Something else may have taken its place meanwhile.
	return openFile(path, os.O_RDONLY|noWait, 0)
}

// OpenDir opens the directory dir for reading, as OpenRegular does a file. The error
// wraps syscall.ENOTDIR if something else is there.
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
