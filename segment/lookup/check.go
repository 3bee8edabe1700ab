package lookup

import (
	"fmt"
	"hash/maphash"
	"path/filepath"

	"tcp-log-server/segment"
)

// Check checks the table at path: every page, and that its rows match the entries of log.
// The error wraps segment.ErrDamaged, segment.ErrVersion, ErrStale or ErrRows, or is that
// of opening the file or of log.Hash, which is called with ascending indices.
func Check(path string, log Log) error {
	c, err := NewChecker(path, log.Store)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Within(log.Head); err != nil {
		return err
	}
	if err := c.Pages(); err != nil {
		return err
	}
	for i := c.First; i <= c.Last; i++ {
		hash, ok, err := log.Hash(i)
		if err != nil {
			return err
		}
		c.Entry(i, hash, ok)
	}
	return c.Done()
}

// Checker checks a table against a log whose entries it gets one by one, so that a log is
// read only once for all that is checked. Call Pages, then Entry for each entry, then Done.
// Without Pages the rows are not compared.
type Checker struct {
	*Table
	// The rows are in the order of their hashes, the entries in that of their indices. To
	// compare them without holding either in memory, the sum adds a random function of each
	// row and subtracts that of each entry.
	seed maphash.Seed
	sum  uint64
	read bool   // all rows are in sum
	seen uint64 // entries, and those of them that are not lost
	kept uint64
	last segment.Hash
}

// NewChecker opens the table at path. Errors are those of Open, and damage if the file name
// has other indices than the header.
func NewChecker(path string, store segment.StoreID) (*Checker, error) {
	t, err := Open(path, store, nil)
	if err != nil {
		return nil, err
	}
	if err := t.named(); err != nil {
		t.Close()
		return nil, err
	}
	return &Checker{Table: t, seed: maphash.MakeSeed()}, nil
}

// Pages checks every page, that the rows are in order, and that the filter and the fences
// match them. Errors wrap segment.ErrDamaged.
func (c *Checker) Pages() error {
	t := c.Table
	filter := make([]byte, PageSize)
	page := t.l.filter // the next one to read
	rows := newCursor(t)
	for {
		r, ok, err := rows.next()
		if err != nil {
			return err
		}
		block, through := blockOf(r.Prefix, t.l.blocks), t.l.end
		if ok {
			through = t.l.filter + block/blocksPage + 1
		}
		for ; page < through; page++ {
			if err := t.readPages(filter, page); err != nil {
				return err
			}
		}
		if !ok {
			c.read = true
			return nil
		}
		if !hasBits(filter[block%blocksPage*blockSize:][:blockSize], r.Prefix) {
			return t.damage(page-1, fmt.Errorf("%w: the filter lacks the row of index %d", segment.ErrDamaged, t.First+uint64(r.Delta)))
		}
		c.sum += maphash.Comparable(c.seed, r)
	}
}

// Entry notes the entry at index of the log; ok is false if it is lost. Indices may come in
// any order, and those that the table does not cover are ignored.
func (c *Checker) Entry(index uint64, hash segment.Hash, ok bool) {
	if index < c.First || index > c.Last {
		return
	}
	c.seen++
	if ok {
		c.kept++
		c.sum -= maphash.Comparable(c.seed, Row{Prefix: Prefix(hash), Delta: uint32(index - c.First)})
		if index == c.Last {
			c.last = hash
		}
	}
}

// Done reports whether the rows match the entries: the error wraps ErrStale or ErrRows.
// Unless every entry of the table has been noted, nothing is known and Done returns nil.
func (c *Checker) Done() error {
	switch {
	case c.seen < c.Span():
		return nil
	case c.last != c.Hash:
		return c.otherHistory(c.last)
	case c.kept != c.Rows, c.read && c.sum != 0:
		return fmt.Errorf("%s: %w: it has %d rows, the log has %d entries from index %d to %d that are not lost", c.Path, ErrRows, c.Rows, c.kept, c.First, c.Last)
	}
	return nil
}

// The ways in which an intact table may not be one of a log's.

// named compares the header with the name of the file.
func (t *Table) named() error {
	if name := filepath.Base(t.Path); name != Name(t.First, t.Last) {
		return t.damage(0, fmt.Errorf("%w: the header has indices %d to %d, the name says otherwise", segment.ErrDamaged, t.First, t.Last))
	}
	return nil
}

// Within returns why the table cannot be of a log that ends at head. The error wraps
// ErrStale.
func (t *Table) Within(head uint64) error {
	if t.Last > head {
		return fmt.Errorf("%s: %w: its last index is %d, that of the log is %d", t.Path, ErrStale, t.Last, head)
	}
	return nil
}

func (t *Table) otherHistory(hash segment.Hash) error {
	return fmt.Errorf("%s: %w: the entry of index %d had hash %s, in the log it has %s", t.Path, ErrStale, t.Last, t.Hash, hash)
}
