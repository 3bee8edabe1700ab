package lookup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"tcp-log-server/segment"
)

// Dropped is a file that OpenDir has removed, and the reason.
type Dropped struct {
	Path string
	Err  error
}

// OpenDir opens the tables in dir, which need not exist, that cover the indices of log
// from 1 on. It removes all others, since they can be made again: those that are damaged,
// stale or of another version, those after a gap, and what a crash left. Errors are those
// of opening files; they never cause a removal.
func OpenDir(dir string, log Log, budget *Budget) (*Set, []Dropped, error) {
	files, others, err := List(dir)
	if err != nil {
		return nil, nil, err
	}
	var dropped []Dropped
	for _, path := range others {
		if name := filepath.Base(path); name == addName || name == mergeName {
			dropped = append(dropped, Dropped{Path: path, Err: fmt.Errorf("%s: %w", path, ErrLeftover)})
		}
	}
	var tables []*Table
	through := uint64(0)
	for _, f := range files {
		var t *Table
		err := f.Follows(through)
		if err == nil {
			t, err = openOf(f.Path, log)
		}
		switch {
		case err == nil:
			tables = append(tables, t)
			through = f.Last
		case useless(err):
			dropped = append(dropped, Dropped{Path: f.Path, Err: err})
		default:
			closeAll(tables)
			return nil, nil, err
		}
	}
	// The newest filters are the smallest: they save the most reads for their memory.
	for i := len(tables) - 1; i >= 0; i-- {
		tables[i].budget = budget
		if err := tables[i].keepFilter(); err != nil {
			dropped = append(dropped, Dropped{Path: tables[i].Path, Err: err})
			for _, t := range tables[i+1:] {
				dropped = append(dropped, Dropped{Path: t.Path, Err: File{t.Path, t.First, t.Last}.Follows(tables[i].First - 1)})
			}
			closeAll(tables[i:])
			tables = tables[:i]
		}
	}
	if err := removeAll(dir, dropped); err != nil {
		closeAll(tables)
		return nil, nil, err
	}
	return newSet(dir, log.Store, budget, tables), dropped, nil
}

func closeAll(tables []*Table) {
	for _, t := range tables {
		t.Close()
	}
}

func removeAll(dir string, dropped []Dropped) error {
	if len(dropped) == 0 {
		return nil
	}
	return segment.ChangeNames(func() error {
		var errs []error
		for _, d := range dropped {
			errs = append(errs, os.Remove(d.Path))
		}
		return errors.Join(errs...)
	}, dir)
}

// useless reports whether a table with err must be made again.
func useless(err error) bool {
	return errors.Is(err, segment.ErrDamaged) || errors.Is(err, segment.ErrVersion) || errors.Is(err, ErrStale)
}

// File is a table that was found by its name.
type File struct {
	Path        string
	First, Last uint64
}

// List returns the tables in dir by their first indices, the longest of equal ones first,
// and the paths of everything else. A directory that does not exist has none.
func List(dir string) (files []File, others []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if first, last, ok := ParseName(e.Name()); ok && e.Type().IsRegular() {
			files = append(files, File{path, first, last})
		} else {
			others = append(others, path)
		}
	}
	slices.SortFunc(files, func(a, b File) int {
		if c := cmp.Compare(a.First, b.First); c != 0 {
			return c
		}
		return cmp.Compare(b.Last, a.Last)
	})
	return files, others, nil
}

// Follows returns why the table does not continue those that end at through. The error
// wraps ErrStale.
func (f File) Follows(through uint64) error {
	switch {
	case f.Last <= through:
		return fmt.Errorf("%s: %w: another table has its indices", f.Path, ErrLeftover)
	case f.First <= through:
		return fmt.Errorf("%s: %w: another table has its indices through %d", f.Path, ErrStale, through)
	case f.First > through+1:
		return fmt.Errorf("%s: %w: no table has the indices %d to %d before it", f.Path, ErrStale, through+1, f.First-1)
	}
	return nil
}

// openOf opens the table of log at path, without memory for its filter.
func openOf(path string, log Log) (*Table, error) {
	t, err := Open(path, log.Store, nil)
	if err != nil {
		return nil, err
	}
	if err := t.belongs(log); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// belongs returns why the table is not one of log's.
func (t *Table) belongs(log Log) error {
	if err := t.named(); err != nil {
		return err
	}
	if err := t.Within(log.Head); err != nil {
		return err
	}
	hash, ok, err := log.Hash(t.Last)
	if !ok {
		hash = segment.Hash{}
	}
	if err == nil && t.Hash != hash {
		err = t.otherHistory(hash)
	}
	return err
}
