package segment

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// openDir is a directory that is open while the names in it change. So it cannot be
// replaced before it is synced, no write error is missed, and a process that is out of
// file descriptors changes nothing.
type openDir struct{ f *os.File }

// openNames opens dir for changes. Windows cannot sync a directory, and need not: the
// file system's journal orders names before the content of files.
func openNames(dir string) (*openDir, error) {
	if runtime.GOOS == "windows" {
		return &openDir{}, nil
	}
	f, err := os.Open(dir)
	return &openDir{f}, err
}

// sync makes the names durable: one fsync.
func (d *openDir) sync() error {
	if d.f == nil {
		return nil
	}
	return d.f.Sync()
}

func (d *openDir) close() { d.f.Close() } // on nil it does nothing

// ChangeNames calls change, which creates, renames or removes files or directories in
// dirs, and makes the new names durable: one fsync of each directory, which is opened
// before the change. An error of change is returned as it is; what it had changed is
// still synced.
func ChangeNames(change func() error, dirs ...string) error {
	open := make([]*openDir, 0, len(dirs))
	for _, dir := range dirs {
		d, err := openNames(dir)
		if err != nil {
			return err
		}
		defer d.close()
		open = append(open, d)
	}
	errs := []error{change()}
	for _, d := range open {
		errs = append(errs, d.sync())
	}
	return errors.Join(errs...)
}

// Rename renames a file or directory, durably, replacing any file of the new name.
func Rename(from, to string) error {
	dirs := []string{filepath.Dir(to)}
	if dir := filepath.Dir(from); dir != dirs[0] {
		dirs = append(dirs, dir)
	}
	return ChangeNames(func() error { return os.Rename(from, to) }, dirs...)
}

// Remove removes a file or an empty directory, durably.
func Remove(path string) error {
	return ChangeNames(func() error { return os.Remove(path) }, filepath.Dir(path))
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error { return ChangeNames(func() error { return nil }, dir) }
