package lookup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// mergeStep is how many rows a merge writes before it yields the processor.
const mergeStep = 4 * rowsPage

// Merge joins neighbouring tables, newest first, until each covers at least twice as many
// indices as the next one, except where both together have more than a table can hold.
// Memory does not grow with the tables. After an error the Set is unchanged; the error is
// ctx's, a *TableError, or that of writing.
func (s *Set) Merge(ctx context.Context) error {
	s.merging.Lock()
	defer s.merging.Unlock()
	for {
		done, err := s.mergePair(ctx)
		if done || err != nil {
			return err
		}
	}
}

// mergePair merges two tables; done is true if there are none to merge.
func (s *Set) mergePair(ctx context.Context) (done bool, err error) {
	v, err := s.acquire()
	if err != nil {
		return false, err
	}
	defer s.release(v)
	i := pair(v.tables)
	if i < 0 {
		return true, nil
	}
	a, b := v.tables[i], v.tables[i+1]
	out, err := mergeTables(ctx, filepath.Join(s.dir, mergeName), a, b)
	if err != nil {
		return false, err
	}
	return false, s.replace(a, b, out)
}

// pair returns the number of the first of the two tables to merge, -1 if there are none.
func pair(tables []*Table) int {
	for i := len(tables) - 2; i >= 0; i-- {
		a, b := tables[i].Span(), tables[i+1].Span()
		if a < 2*b && a+b <= maxSpan {
			return i
		}
	}
	return -1
}

// mergeTables makes a table from the rows of a and of b, which follows a, in the file at
// path.
func mergeTables(ctx context.Context, path string, a, b *Table) (*builder, error) {
	out, err := newBuilder(path, Header{Store: a.Store, First: a.First, Last: b.Last, Rows: a.Rows + b.Rows, Hash: b.Hash})
	if err != nil {
		return nil, err
	}
	if err := mergeRows(ctx, out, a, b); err != nil {
		return nil, out.abandon(err)
	}
	return out, out.finish()
}

func mergeRows(ctx context.Context, out *builder, a, b *Table) error {
	ca, cb := newCursor(a), newCursor(b)
	shift := uint32(b.First - a.First)
	ra, inA, err := ca.next()
	if err != nil {
		return tableError(a, err)
	}
	rb, inB, err := cb.next()
	if err != nil {
		return tableError(b, err)
	}
	for n := 1; inA || inB; n++ {
		if n%mergeStep == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			runtime.Gosched()
		}
		// Of equal prefixes those of a come first: their indices are lower.
		if inA && (!inB || ra.Prefix <= rb.Prefix) {
			if err := out.add(ra); err != nil {
				return err
			}
			if ra, inA, err = ca.next(); err != nil {
				return tableError(a, err)
			}
			continue
		}
		rb.Delta += shift
		if err := out.add(rb); err != nil {
			return err
		}
		if rb, inB, err = cb.next(); err != nil {
			return tableError(b, err)
		}
	}
	return nil
}

// replace publishes the finished table in place of a and b, unless they have been dropped
// meanwhile.
func (s *Set) replace(a, b *Table, out *builder) error {
	s.change.Lock()
	defer s.change.Unlock()
	v, err := s.acquire()
	if err != nil {
		return errors.Join(err, os.Remove(out.f.Name()))
	}
	defer s.release(v)
	at := slices.Index(v.tables, a)
	if at < 0 || !slices.Contains(v.tables, b) {
		return os.Remove(out.f.Name())
	}
	path, err := out.commit(s.dir)
	if err != nil {
		return err
	}
	t, err := Open(path, s.store, nil)
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	// The new filter is in memory before the old ones go, if there is room for all.
	t.budget = s.budget
	err = t.keepFilter()
	s.show(slices.Replace(slices.Clone(v.tables), at, at+2, t))
	a.forgetFilter()
	b.forgetFilter()
	if err == nil {
		err = t.keepFilter()
	}
	// A crash from here on leaves files that the next start removes.
	return errors.Join(tableError(t, err), os.Remove(a.Path), os.Remove(b.Path))
}
