package lookup

import (
	"fmt"
	"hash/maphash"
	"path/filepath"

	"tcp-log-server/segment"
)

// Check checks the table at path: every page, and that its rows are those of the entries
// of log. The error wraps segment.ErrDamaged, segment.ErrVersion or ErrStale, or is that
// of opening the file. It calls log.Hash with ascending indices, and once more only to
// say what is wrong.
func Check(path string, log Log) error {
	first, last, ok := ParseName(filepath.Base(path))
	if !ok {
		return fmt.Errorf("%s is not the name of a lookup table", path)
	}
	t, err := openOf(file{path, first, last}, log)
	if err != nil {
		return err
	}
	defer t.Close()
	// The rows are in the order of their hashes, the log in that of its indices. To compare
	// them without holding all in memory, the sums of a random function of each are compared.
	seed := maphash.MakeSeed()
	var rows, want uint64
	sum, err := t.checkRows(func(r Row) uint64 { return maphash.Comparable(seed, r) })
	if err != nil {
		return err
	}
	for i := first; i <= last; i++ {
		if hash, ok := log.Hash(i); ok {
			sum -= maphash.Comparable(seed, Row{Prefix: Prefix(hash), Delta: uint32(i - first)})
			want++
		}
	}
	if rows = t.Rows; rows == want && sum == 0 {
		return nil
	}
	return t.mismatch(log, want)
}

// checkRows reads all pages, looks each row up in the filter, and adds up f of the rows.
func (t *Table) checkRows(f func(Row) uint64) (sum uint64, err error) {
	filter := make([]byte, PageSize)
	page := t.l.filter // the next one to read
	rows := newCursor(t)
	for {
		r, ok, err := rows.next()
		if err != nil {
			return 0, err
		}
		through := t.l.end
		block := blockOf(r.Prefix, t.l.blocks)
		if ok {
			through = t.l.filter + block/blocksPage + 1
		}
		for ; page < through; page++ {
			if err := t.readPages(filter, page); err != nil {
				return 0, err
			}
		}
		if !ok {
			return sum, nil
		}
		if !hasBits(filter[block%blocksPage*blockSize:][:blockSize], r.Prefix) {
			return 0, t.damage(page-1, fmt.Errorf("%w: the filter lacks the row of index %d", segment.ErrDamaged, t.First+uint64(r.Delta)))
		}
		sum += f(r)
	}
}

// mismatch says which row is not of log, or that rows are missing of the number that the
// log has.
func (t *Table) mismatch(log Log, want uint64) error {
	rows := newCursor(t)
	for {
		r, ok, err := rows.next()
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s: %w: it has %d rows, the log has %d entries from index %d to %d", t.Path, ErrStale, t.Rows, want, t.First, t.Last)
		}
		index := t.First + uint64(r.Delta)
		switch hash, ok := log.Hash(index); {
		case !ok:
			return fmt.Errorf("%s: %w: it has a row of index %d, which is lost", t.Path, ErrStale, index)
		case Prefix(hash) != r.Prefix:
			return fmt.Errorf("%s: %w: the hash of index %d begins with %016x, in the log with %016x", t.Path, ErrStale, index, r.Prefix, Prefix(hash))
		}
	}
}
