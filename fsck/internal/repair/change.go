package repair

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// do announces a step and makes it, unless the run is dry.
func (r *Repair) do(s Step, fn func() error) error {
	s.DryRun = r.DryRun
	r.Outcome.Steps++
	r.OnStep(s)
	if r.DryRun {
		return nil
	}
	if err := fn(); err != nil {
		return fmt.Errorf("%s %s: %w", s.Action, s.File, err)
	}
	return nil
}

// change makes a change on the disk.
func (r *Repair) change(fn func() error) error {
	if r.changes++; r.changes == r.FailAt {
		return ErrInjected
	}
	return fn()
}

// moveAway makes the step of moving s.File to lost+found.
func (r *Repair) moveAway(s Step, why string) error {
	s.Action, s.Message = "move", "to lost+found: "+s.Message
	return r.do(s, func() error { return r.move(s.File, why) })
}

// moveAll makes the steps of moving files to lost+found that share a message.
func (r *Repair) moveAll(paths []string, message, why string) error {
	for _, path := range paths {
		if err := r.moveAway(Step{File: path, Message: message}, why); err != nil {
			return err
		}
	}
	return nil
}

// cutOff makes the step of cutting s.File to size. The bytes after that go to lost+found.
func (r *Repair) cutOff(s Step, size int64, why string) error {
	s.Action = "cut"
	return r.do(s, func() error {
		f, err := os.OpenFile(s.File, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		if _, err := segment.CopyAside(r.Data, s.File, size, max(0, fi.Size()-size), why); err != nil {
			return err
		}
		return r.change(func() error { return errors.Join(f.Truncate(size), f.Sync()) })
	})
}

// write makes the step of rewriting s.File: write prepares the file, durably, at tmp. The old file
// goes to lost+found.
func (r *Repair) write(s Step, why string, write func(tmp string) error) error {
	return r.do(s, func() error {
		dir := filepath.Dir(s.File)
		if err := segment.MakeDir(dir); err != nil {
			return err
		}
		tmp := filepath.Join(dir, segment.RepairName)
		if err := r.change(func() error { return write(tmp) }); err != nil {
			return err
		}
		if err := r.keep(s.File, why); err != nil {
			return err
		}
		return r.rename(tmp, s.File)
	})
}

// move moves the file or directory at path to lost+found.
func (r *Repair) move(path, why string) error {
	return r.change(func() error {
		_, err := segment.MoveAside(r.Data, path, why)
		return err
	})
}

// keep puts a second link to the file at path, or a copy of it, into lost+found, so that another file
// can replace it in one rename.
func (r *Repair) keep(path, why string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return r.move(path, why)
	}
	return r.change(func() error {
		_, err := segment.LinkAside(r.Data, path, why)
		return err
	})
}

func (r *Repair) rename(from, to string) error {
	return r.change(func() error { return segment.Rename(from, to) })
}
