package fsck

import (
	"errors"
	"os"
	"slices"
	"strings"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// checkedTable is a lookup table, which is compared with the log while the walk goes through it.
type checkedTable struct {
	lookup.File
	info  os.FileInfo     // as it was listed, nil if it was already gone
	check *lookup.Checker // nil if it could not be opened
	err   error           // why it is not used
}

// listTables lists the tables, before the log is captured, so that none made by a running server
// goes beyond that.
func (c *checker) listTables() error {
	dir := c.dirs().Lookup()
	files, others, err := lookup.List(dir)
	if err != nil && !c.plan.IsWrong(dir) {
		c.unreadable(dir, 0, 0, err)
	}
	for _, f := range files {
		info, _ := os.Lstat(f.Path)
		c.tables = append(c.tables, checkedTable{File: f, info: info})
	}
	for _, path := range others {
		c.stray(path)
	}
	return nil
}

// same reports whether the table is the file f, which has not changed.
func (t checkedTable) same(f lookup.File) bool {
	now, err := os.Lstat(f.Path)
	return err == nil && t.info != nil && t.File == f && os.SameFile(t.info, now) && t.info.ModTime().Equal(now.ModTime()) && t.info.Size() == now.Size()
}

// openTables opens the tables, and reads them unless the check is quick.
func (c *checker) openTables() error {
	if !c.idKnown {
		return nil
	}
	through, reach := uint64(0), uint64(0) // of the intact tables, and of all
	for i := range c.tables {
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		t := &c.tables[i]
		before := through
		if t.First > through+1 && t.First <= reach+1 {
			before = t.First - 1 // reported for the table before it
		}
		if t.err = t.Follows(before); t.err == nil {
			reach = max(reach, t.Last)
			t.check, t.err = lookup.NewChecker(t.Path, c.id)
		}
		if t.err == nil {
			t.err = t.check.Within(c.head)
		}
		if t.err == nil && !c.Quick {
			t.err = t.check.Pages()
		}
		if t.err == nil {
			through = t.Last
		}
	}
	c.later = append(c.later, c.judgeTables)
	return nil
}

// tableEntry notes the hash of the entry at index, zero if it is lost. Indices ascend.
func (c *checker) tableEntry(index uint64, hash segment.Hash) {
	for ; c.table < len(c.tables); c.table++ {
		if t := c.tables[c.table]; t.check != nil && t.err == nil && index <= t.Last {
			t.check.Entry(index, hash, hash != segment.Hash{})
			return
		}
	}
}

// closeTables closes the tables.
func (c *checker) closeTables() {
	for _, t := range c.tables {
		if t.check != nil {
			t.check.Close()
		}
	}
}

// judgeTables makes the findings on the tables, and plans to rebuild those that the server would
// not use: wrong ones, and those after them. If a server has changed the tables meanwhile,
// nothing can be said about the old ones.
func (c *checker) judgeTables() {
	if now, _, err := lookup.List(c.dirs().Lookup()); err != nil || !slices.EqualFunc(c.tables, now, checkedTable.same) {
		return
	}
	through := uint64(0)
	for _, t := range c.tables {
		err := t.err
		if err == nil {
			err = t.check.Done()
		}
		if err == nil && t.First == through+1 {
			through = t.Last
			continue
		}
		if errors.Is(err, lookup.ErrLeftover) && !c.alone {
			continue // a server's merge looks like that too
		}
		c.plan.Tables = append(c.plan.Tables, t.File)
		f := Finding{Kind: LookupDamaged, File: t.Path, First: t.First, Last: t.Last}
		var d *segment.DamageError
		switch {
		case err == nil:
			continue // intact, but after one that is not
		case errors.As(err, &d):
			f.Offset, err = d.Offset, d.Err
		case errors.Is(err, lookup.ErrRows):
			f.Kind = LookupStale
		case !errors.Is(err, segment.ErrVersion) && !errors.Is(err, lookup.ErrStale):
			f.Kind = Unreadable
		}
		f.Message = strings.TrimPrefix(err.Error(), t.Path+": ")
		c.find(f)
	}
}
