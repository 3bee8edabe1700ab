package lookup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"tcp-log-server/segment"
)

// Set is the tables of a directory that together cover the indices 1 to Through without a
// gap. Lookups continue while tables are added, merged and dropped.
type Set struct {
	dir    string
	store  segment.StoreID
	budget *Budget

	merging sync.Mutex // held by Merge
	change  sync.Mutex // held while files are named or removed, before mu

	mu   sync.Mutex
	view *view // the current one, nil once the Set is closed
}

// view is the tables of a Set at one moment, in the order of their indices. A table stays
// open while a view has it.
type view struct {
	tables []*Table
	users  int // lookups under way, and one for the Set itself; guarded by Set.mu
}

func (v *view) through() uint64 {
	if len(v.tables) == 0 {
		return 0
	}
	return v.tables[len(v.tables)-1].Last
}

// TableError is damage found by a lookup or a merge, and its table, for Set.Drop.
type TableError struct {
	Table *Table
	Err   error
}

func (e *TableError) Error() string { return e.Err.Error() }

// Unwrap returns Err, which wraps segment.ErrDamaged.
func (e *TableError) Unwrap() error { return e.Err }

// tableError returns err, with its table if it is damage to that.
func tableError(t *Table, err error) error {
	var d *segment.DamageError
	if errors.As(err, &d) && d.Path == t.Path {
		return &TableError{Table: t, Err: err}
	}
	return err
}

// newSet returns a Set of tables, which it takes over.
func newSet(dir string, store segment.StoreID, budget *Budget, tables []*Table) *Set {
	s := &Set{dir: dir, store: store, budget: budget}
	s.show(tables)
	return s
}

// show makes tables the current view.
func (s *Set) show(tables []*Table) {
	s.mu.Lock()
	old := s.view
	s.view = &view{tables: tables, users: 1}
	for _, t := range tables {
		t.views++
	}
	s.mu.Unlock()
	if old != nil {
		s.release(old)
	}
}

// acquire returns the current view, which stays usable until release.
func (s *Set) acquire() (*view, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view == nil {
		return nil, os.ErrClosed
	}
	s.view.users++
	return s.view, nil
}

// release closes the tables that v was the last to use.
func (s *Set) release(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.users--; v.users > 0 {
		return
	}
	for _, t := range v.tables {
		if t.views--; t.views == 0 {
			t.Close()
		}
	}
}

// Close closes the tables, each when the last lookup in it ends. No Merge may be under
// way.
func (s *Set) Close() error {
	s.mu.Lock()
	v := s.view
	s.view = nil
	s.mu.Unlock()
	if v != nil {
		s.release(v)
	}
	return nil
}

// Through returns the last index that the tables cover, 0 if there are none.
func (s *Set) Through() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view == nil {
		return 0
	}
	return s.view.through()
}

// Tables returns the headers of the tables in order.
func (s *Set) Tables() []Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	var headers []Header
	if s.view != nil {
		for _, t := range s.view.tables {
			headers = append(headers, t.Header)
		}
	}
	return headers
}

// Find calls fn with the index of each entry through Through whose hash may be hash, in
// ascending order, until fn returns stop or an error, which Find returns. Damage is a
// *TableError: an entry with that hash may or may not be in the table. After Close the
// error wraps os.ErrClosed.
func (s *Set) Find(hash segment.Hash, fn func(index uint64) (stop bool, err error)) error {
	v, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release(v)
	prefix := Prefix(hash)
	for _, t := range v.tables {
		switch stop, err := t.find(prefix, fn); {
		case err != nil:
			return tableError(t, err)
		case stop:
			return nil
		}
	}
	return nil
}

// Add adds a durable table of the indices first to last, where first is Through()+1. hash
// is that of the entry at index last, zero if it is lost. Add sorts rows.
func (s *Set) Add(first, last uint64, hash segment.Hash, rows []Row) error {
	s.change.Lock()
	defer s.change.Unlock()
	v, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release(v)
	if want := v.through() + 1; first != want {
		return fmt.Errorf("lookup tables %s: a table from index %d on, want one from %d on", s.dir, first, want)
	}
	if err := segment.MakeDir(s.dir); err != nil {
		return err
	}
	SortRows(rows)
	path, err := Write(s.dir, Header{Store: s.store, First: first, Last: last, Hash: hash}, rows)
	if err != nil {
		return fmt.Errorf("lookup tables %s: %w", s.dir, err)
	}
	t, err := Open(path, s.store, s.budget)
	if err != nil {
		return err
	}
	s.show(append(slices.Clone(v.tables), t))
	return nil
}

// Drop removes t and all tables after it, including their files, because of damage in t:
// Through is then the index before it, and the entries after that must be added again. It
// does nothing if the Set no longer has t.
func (s *Set) Drop(t *Table) error {
	s.change.Lock()
	defer s.change.Unlock()
	v, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release(v)
	from := slices.Index(v.tables, t)
	if from < 0 {
		return nil
	}
	s.show(v.tables[:from:from])
	// The last one first, so that a crash leaves no gap.
	return segment.ChangeNames(func() error {
		var errs []error
		for _, t := range slices.Backward(v.tables[from:]) {
			errs = append(errs, os.Remove(filepath.Join(s.dir, Name(t.First, t.Last))))
		}
		return errors.Join(errs...)
	}, s.dir)
}
