package fsck

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// aside notes that the file at path comes to lie in lost+found because of why,
// and returns the path it gets there.
func (r *repairer) aside(path, why string) (string, error) {
	return segment.Aside(r.Data, path, why)
}

// move moves the file or directory at path to lost+found.
func (r *repairer) move(path, why string) error {
	now, err := r.aside(path, why)
	if err != nil {
		return err
	}
	if err := r.change(); err != nil {
		return err
	}
	if err := os.Rename(path, now); err != nil {
		// It may lie in another file system.
		fi, serr := os.Lstat(path)
		if serr != nil || !fi.Mode().IsRegular() {
			return err
		}
		if err := copyFile(path, now); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return errors.Join(segment.SyncDir(filepath.Dir(path)), segment.SyncDir(filepath.Dir(now)))
}

// keep puts a second link to the file at path, or a copy of it, into lost+found,
// so that another can take its place in one move.
func (r *repairer) keep(path, why string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return r.move(path, why)
	}
	now, err := r.aside(path, why)
	if err != nil {
		return err
	}
	if err := r.change(); err != nil {
		return err
	}
	if err := os.Link(path, now); err != nil {
		if err := copyFile(path, now); err != nil {
			return err
		}
	}
	return segment.SyncDir(filepath.Dir(now))
}

// replace puts the file tmp, which is durable, in the place of path, and what
// was there into lost+found.
func (r *repairer) replace(tmp, path, why string) error {
	if err := r.keep(path, why); err != nil {
		return err
	}
	if err := r.change(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return segment.SyncDir(filepath.Dir(path))
}

// cut cuts the file at path to size, and keeps the bytes that go.
func (r *repairer) cut(path string, size int64, why string) error {
	now, err := r.aside(path, why)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(size, io.SeekStart); err != nil {
		return err
	}
	if err := copyTo(f, now); err != nil {
		return err
	}
	if err := r.change(); err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync())
}

func copyFile(from, to string) error {
	f, err := segment.OpenRegular(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyTo(f, to)
}

func copyTo(r io.Reader, to string) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}
