package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// dirNames changes the names in a directory; tests use a failing disk.
type dirNames interface {
	Rename(from, to string) error
	Remove(path string) error
	// Sync makes the names in the directory durable.
	Sync(d *openDir) error
}

type osDirNames struct{}

func (osDirNames) Rename(from, to string) error { return os.Rename(from, to) }
func (osDirNames) Remove(path string) error     { return os.Remove(path) }
func (osDirNames) Sync(d *openDir) error        { return d.sync() }

// Create makes the segment that begins with header h in dir and opens it for appending. When
// it returns, the file and its name are durable. limit is where the segment will end, see
// Room.
//
// It writes and syncs NextName, renames it, and syncs dir. After an error the segment's name
// is gone, durably, unless the error is a *ResidueError.
func Create(dir string, h Header, limit int64) (*Writer, error) {
	return create(osDirNames{}, dir, h, limit)
}

func create(n dirNames, dir string, h Header, limit int64) (*Writer, error) {
	tmp, path := filepath.Join(dir, NextName), filepath.Join(dir, Name(h.First))
	// Both are opened at once, so that no other goroutine takes the last descriptor in
	// between.
	d, err := openNames(dir)
	if err != nil {
		return nil, err
	}
	defer d.close()
	f, err := openFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Writer, error) {
		f.Close()
		n.Remove(tmp)
		return nil, fmt.Errorf("create segment %s: %w", path, err)
	}
	filled := max(HeaderSize, min(firstFill, limit))
	b := h.appendTo(make([]byte, 0, filled))
	sum := Checksum(b[:60])
	if _, err := f.WriteAt(b[:filled], 0); err != nil {
		return fail(err)
	}
	if err := fdatasync(f); err != nil {
		return fail(err)
	}
	made, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fail(fmt.Errorf("the file exists already"))
	case !errors.Is(err, fs.ErrNotExist):
		return fail(err)
	}
	err = n.Rename(tmp, path)
	if err == nil {
		err = n.Sync(d)
	}
	if err != nil {
		// The name may or may not survive a crash. The file is still empty, so remove it.
		f.Close()
		n.Remove(tmp)
		left := &ResidueError{Path: path, Err: err, file: made, names: n}
		if left.Remove() != nil {
			return nil, left
		}
		return nil, fmt.Errorf("create segment %s: %w", path, err)
	}
	s := &Segment{Path: path, Header: h, last: h.First - 1, end: HeaderSize, sum: sum}
	return &Writer{Segment: s, f: osFile{f}, filled: filled}, nil
}

// ResidueError: Create failed after it had given the segment its name, and the name may
// still be there after a crash. Until Remove succeeds nothing may be appended to the
// previous segment: its entries would have the indices of this one.
type ResidueError struct {
	Path  string
	Err   error
	file  fs.FileInfo // the file at Path, if it is still there
	names dirNames
}

func (e *ResidueError) Error() string {
	return fmt.Sprintf("create segment %s: %v; its name could not be removed again", e.Path, e.Err)
}

func (e *ResidueError) Unwrap() error { return e.Err }

// Remove removes the name. Once it returns nil the name is gone, durably; after an error it
// may be called again.
func (e *ResidueError) Remove() error {
	if e.names == nil {
		e.names = osDirNames{}
	}
	d, err := openNames(filepath.Dir(e.Path))
	if err != nil {
		return err
	}
	defer d.close()
	switch now, err := os.Lstat(e.Path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !os.SameFile(now, e.file):
		return fmt.Errorf("remove %s: it is another file by now", e.Path)
	default:
		if err := e.names.Remove(e.Path); err != nil {
			return err
		}
	}
	return e.names.Sync(d)
}
