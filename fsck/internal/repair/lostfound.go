package repair

import (
	"errors"
	"io/fs"
	"os"

	"tcp-log-server/segment"
)

// moveAway makes the step of moving s.File to lost+found.
func (r *repairer) moveAway(s Step, why string) error {
	s.Action, s.Message = "move", "to lost+found: "+s.Message
	return r.do(s, func() error { return r.move(s.File, why) })
}

// cutOff makes the step of cutting s.File to size.
func (r *repairer) cutOff(s Step, size int64, why string) error {
	s.Action = "cut"
	return r.do(s, func() error { return r.cut(s.File, size, why) })
}

// move moves the file or directory at path to lost+found.
func (r *repairer) move(path, why string) error {
	if err := r.change(); err != nil {
		return err
	}
	_, err := segment.MoveAside(r.Data, path, why)
	return err
}

// keep puts a second link to the file at path, or a copy of it, into lost+found,
// so that another file can replace it in one rename.
func (r *repairer) keep(path, why string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return r.move(path, why)
	}
	if err := r.change(); err != nil {
		return err
	}
	_, err = segment.LinkAside(r.Data, path, why)
	return err
}

// replace renames the file tmp, which is durable, to path. What was there goes to
// lost+found.
func (r *repairer) replace(tmp, path, why string) error {
	if err := r.keep(path, why); err != nil {
		return err
	}
	return r.rename(tmp, path)
}

func (r *repairer) rename(from, to string) error {
	if err := r.change(); err != nil {
		return err
	}
	return segment.Rename(from, to)
}

// cut cuts the file at path to size. The bytes after that go to lost+found.
func (r *repairer) cut(path string, size int64, why string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := segment.CopyAside(r.Data, path, size, max(0, fi.Size()-size), why); err != nil {
		return err
	}
	if err := r.change(); err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync())
}
