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

// Dropped is a file that OpenDir has removed, and why.
type Dropped struct {
	Path string
	Err  error
}

// errLeftover: a crash left the file. Nothing is missing without it.
var errLeftover = errors.New("left by an interrupted write")

// OpenDir opens the tables in dir, which need not exist, that cover the indices of log
// from 1 on. It removes all others, since they can be made again: those that are damaged,
// stale or of another version, those after a gap, and what a crash left.
// Errors are those of opening files; nothing is removed because of them.
func OpenDir(dir string, log Log, budget *Budget) (*Set, []Dropped, error) {
	files, dropped, err := list(dir)
	if err != nil {
		return nil, nil, err
	}
	var tables []*Table
	through := uint64(0)
	for _, f := range files {
		var t *Table
		err := f.follows(through)
		if err == nil {
			// Memory for filters comes last.
			t, err = openOf(f, log)
		}
		switch {
		case err == nil:
			tables = append(tables, t)
			through = f.last
		case useless(err):
			dropped = append(dropped, Dropped{Path: f.path, Err: err})
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
				dropped = append(dropped, Dropped{Path: t.Path, Err: file{t.Path, t.First, t.Last}.follows(tables[i].First - 1)})
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

// useless reports whether a table with err is to be made again.
func useless(err error) bool {
	return errors.Is(err, segment.ErrDamaged) || errors.Is(err, segment.ErrVersion) || errors.Is(err, ErrStale) || errors.Is(err, errLeftover)
}

// file is a table that was found, by its name.
type file struct {
	path        string
	first, last uint64
}

// list returns the tables in dir by their first indices, the longest of equal ones
// first, and the temporary files.
func list(dir string) (files []file, stray []Dropped, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		first, last, ok := ParseName(e.Name())
		switch {
		case !e.Type().IsRegular():
		case ok:
			files = append(files, file{path, first, last})
		case e.Name() == addName, e.Name() == mergeName:
			stray = append(stray, Dropped{Path: path, Err: errLeftover})
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		if c := cmp.Compare(a.first, b.first); c != 0 {
			return c
		}
		return cmp.Compare(b.last, a.last)
	})
	return files, stray, nil
}

// follows says why the table does not continue those through an index.
func (f file) follows(through uint64) error {
	switch {
	case f.last <= through:
		return fmt.Errorf("%s: %w: another table has its indices", f.path, errLeftover)
	case f.first <= through:
		return fmt.Errorf("%s: %w: another table has its indices through %d", f.path, ErrStale, through)
	case f.first > through+1:
		return fmt.Errorf("%s: %w: no table has the indices %d to %d before it", f.path, ErrStale, through+1, f.first-1)
	}
	return nil
}

// openOf opens the table f of log, without memory for its filter.
func openOf(f file, log Log) (*Table, error) {
	t, err := Open(f.path, log.Store, nil)
	if err != nil {
		return nil, err
	}
	if err := t.belongs(log); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// belongs says why the table is none of log's.
func (t *Table) belongs(log Log) error {
	if err := t.named(); err != nil {
		return err
	}
	if t.Last > log.Head {
		return t.beyondHead(log.Head)
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
