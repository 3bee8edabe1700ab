package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// lockName is the file in the directory of a log that shows that a process works on it.
const lockName = "LOCK"

// lockText is the content of the file, so that a job that removes empty files leaves it
// alone.
const lockText = "While a process works on this log it holds a lock, flock(2), on this file and on the directory.\n"

// Lock is the exclusive lock on the directory of a log, held until Close or the end of the
// process, however it ends. It is on two things: the directory itself, which cannot be
// removed while it contains files, and the file LOCK in it, for programs that do not know
// of the first, and for file systems where directories cannot be locked.
//
// Its methods are not for concurrent use, except that Renew may run alongside Claim.
type Lock struct {
	path      string
	dir, file *os.File
	claims    []*os.File
}

// LockStore locks the directory of a log, and creates LOCK if necessary. ErrLocked says
// that another process has the lock.
func LockStore(dir string) (*Lock, error) {
	d, err := LockDir(dir)
	if errors.Is(err, ErrLocked) {
		return nil, lockedError(dir)
	}
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockName)
	f, err := lockFile(path)
	if err != nil {
		d.Close()
		return nil, err
	}
	return &Lock{path: path, dir: d, file: f}, nil
}

// Claim locks another directory of the log, that of the index or of the blobs, which may
// have been given to another log by mistake. It does nothing if that is already locked.
func (l *Lock) Claim(dir string) error {
	if fi, err := os.Stat(dir); err == nil {
		for _, held := range append([]*os.File{l.dir}, l.claims...) {
			if had, err := held.Stat(); err == nil && os.SameFile(fi, had) {
				return nil
			}
		}
	}
	f, err := LockDir(dir)
	if err != nil {
		return err
	}
	l.claims = append(l.claims, f)
	return nil
}

// Renew recreates LOCK if it has been removed or replaced, and reports whether it did.
func (l *Lock) Renew() (made bool, err error) {
	held, err := l.file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Lstat(l.path)
	if err == nil && os.SameFile(held, now) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	f, err := lockFile(l.path)
	if err != nil {
		return false, err
	}
	l.file.Close()
	l.file = f
	return true, nil
}

// Close releases the lock and the claims.
func (l *Lock) Close() error {
	errs := []error{l.file.Close(), l.dir.Close()}
	for _, f := range l.claims {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// lockFile takes the lock on the file at path.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		f.Close()
		return nil, err
	}
	if fi, err := f.Stat(); err == nil && fi.Size() == 0 {
		_, _ = f.WriteString(lockText) // if there is no room for it, the lock is just as good
	}
	return f, nil
}

// lockedError is the error for a lock that another process has.
func lockedError(path string) error {
	return fmt.Errorf("%s: %w: stop the other one, or name another directory", path, ErrLocked)
}
