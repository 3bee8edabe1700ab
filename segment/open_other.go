//go:build !windows

package segment

import "os"

// openFile is os.OpenFile: files may be renamed and removed while they are open.
func openFile(path string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(path, flag, perm)
}
