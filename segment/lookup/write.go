package lookup

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"

	"tcp-log-server/segment"
)

// Tables are prepared under these names. One that is found is a leftover.
const (
	addName   = "add.tmp"
	mergeName = "merge.tmp"
)

// Write writes a table with h into dir, which must exist, and makes it durable. The rows must be
// sorted; h.Rows is set to their number. A table of the same indices is replaced.
func Write(dir string, h Header, rows []Row) (path string, err error) {
	h.Rows = uint64(len(rows))
	b, err := newBuilder(filepath.Join(dir, addName), h)
	if err != nil {
		return "", err
	}
	for i := range rows {
		if err := b.add(rows[i]); err != nil {
			return "", b.abandon(err)
		}
	}
	if err := b.finish(); err != nil {
		return "", err
	}
	return b.commit(dir)
}

// SortRows sorts rows.
func SortRows(rows []Row) {
	// Hashes are spread evenly, so their upper bits put each row almost in its place.
	width := bits.Len(uint(len(rows) / 8))
	shift := 64 - width
	ends := make([]int, 1<<width+1)
	for _, r := range rows {
		ends[r.Prefix>>shift+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	sorted := make([]Row, len(rows))
	at := slices.Clone(ends)
	for _, r := range rows {
		b := r.Prefix >> shift
		sorted[at[b]] = r
		at[b]++
	}
	copy(rows, sorted)
	for i := range len(ends) - 1 {
		slices.SortFunc(rows[ends[i]:ends[i+1]], compareRows)
	}
}

func compareRows(a, b Row) int {
	if c := cmp.Compare(a.Prefix, b.Prefix); c != 0 {
		return c
	}
	return cmp.Compare(a.Delta, b.Delta)
}

// builder writes a table from sorted rows. Its memory does not grow with the table, except for 8
// bytes a page of rows.
type builder struct {
	f    *os.File
	h    Header
	l    layout
	n    uint64 // rows so far
	prev Row

	rows, filter *pageWriter
	fences       []uint64
	block        []byte // being filled
	blocks       uint64 // including that one
}

// newBuilder begins a table of h.Rows rows in the file at path, which it creates or truncates.
func newBuilder(path string, h Header) (*builder, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	b := &builder{f: f, h: h, l: h.layout()}
	page := h.appendTo(nil)
	sum := binary.LittleEndian.Uint32(page[pageData:])
	b.rows = newPageWriter(f, sum, b.l.rows)
	b.filter = newPageWriter(f, sum, b.l.filter)
	if _, err := f.WriteAt(page, 0); err != nil {
		return nil, b.abandon(err)
	}
	return b, nil
}

// add adds a row.
func (b *builder) add(r Row) error {
	switch {
	case b.n == b.h.Rows:
		return fmt.Errorf("table of indices %d to %d has more than %d rows", b.h.First, b.h.Last, b.h.Rows)
	case uint64(r.Delta) >= b.h.Span():
		return fmt.Errorf("index %d is not in a table of indices %d to %d", b.h.First+uint64(r.Delta), b.h.First, b.h.Last)
	case b.n > 0 && compareRows(b.prev, r) >= 0:
		return fmt.Errorf("rows are not in their order: index %d after index %d", b.h.First+uint64(r.Delta), b.h.First+uint64(b.prev.Delta))
	}
	if b.n%rowsPage == 0 {
		b.fences = append(b.fences, r.Prefix)
	}
	at, err := b.rows.next(RowSize)
	if err != nil {
		return err
	}
	putRow(at, r)
	if err := b.fill(blockOf(r.Prefix, b.l.blocks) + 1); err != nil {
		return err
	}
	setBits(b.block, r.Prefix)
	b.prev = r
	b.n++
	return nil
}

// fill advances until blocks blocks of the filter have been begun.
func (b *builder) fill(blocks uint64) (err error) {
	for ; b.blocks < blocks && err == nil; b.blocks++ {
		b.block, err = b.filter.next(blockSize)
	}
	return err
}

// finish writes the rest and makes the file durable. After an error it is gone.
func (b *builder) finish() error {
	if b.n != b.h.Rows {
		return b.abandon(fmt.Errorf("table of indices %d to %d has %d rows, want %d", b.h.First, b.h.Last, b.n, b.h.Rows))
	}
	fences := newPageWriter(b.f, b.rows.header, b.l.fences)
	for _, f := range b.fences {
		at, err := fences.next(fenceSize)
		if err != nil {
			return b.abandon(err)
		}
		binary.BigEndian.PutUint64(at, f)
	}
	err := b.fill(b.l.blocks)
	if err == nil {
		err = errors.Join(b.rows.flush(), fences.flush(), b.filter.flush())
	}
	if err == nil {
		err = b.f.Sync()
	}
	if err != nil {
		return b.abandon(err)
	}
	if err := b.f.Close(); err != nil {
		return errors.Join(err, os.Remove(b.f.Name()))
	}
	return nil
}

// commit gives the finished file its name in dir, durably.
func (b *builder) commit(dir string) (path string, err error) {
	path = filepath.Join(dir, Name(b.h.First, b.h.Last))
	return path, segment.Rename(b.f.Name(), path)
}

// abandon removes the file because of err, and returns err.
func (b *builder) abandon(err error) error {
	b.f.Close()
	_ = os.Remove(b.f.Name()) // one that stays is a leftover
	return err
}

// bufferedPages is how many pages are read or written at a time when all are.
const bufferedPages = 64

// pageWriter writes the pages of one part of a table, in order.
type pageWriter struct {
	f      *os.File
	header uint32 // checksum of the header
	first  uint64 // number of the first page in buf
	buf    []byte // whole pages, of which the last is being filled
	used   int    // bytes of that one
}

func newPageWriter(f *os.File, header uint32, first uint64) *pageWriter {
	return &pageWriter{f: f, header: header, first: first, buf: make([]byte, 0, bufferedPages*PageSize), used: pageData}
}

// next returns the place of the next item, of size bytes: in the same page if there is room. It
// is valid until the next call.
func (w *pageWriter) next(size int) ([]byte, error) {
	if w.used+size > pageData {
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return nil, err
			}
		}
		w.buf = w.buf[:len(w.buf)+PageSize]
		clear(w.buf[len(w.buf)-PageSize:])
		w.used = 0
	}
	at := w.buf[len(w.buf)-PageSize+w.used:][:size]
	w.used += size
	return at, nil
}

// flush writes the pages in buf, and starts writing them to the disk: the last sync then finds
// little to do, and does not delay the log's own.
func (w *pageWriter) flush() error {
	for b := w.buf; len(b) > 0; b = b[PageSize:] {
		binary.LittleEndian.PutUint32(b[pageData:], pageSum(b, w.header, w.first+uint64(len(w.buf)-len(b))/PageSize))
	}
	off := int64(w.first) * PageSize
	if _, err := w.f.WriteAt(w.buf, off); err != nil {
		return err
	}
	segment.BeginWriting(w.f, off, int64(len(w.buf)))
	w.first += uint64(len(w.buf)) / PageSize
	w.buf, w.used = w.buf[:0], pageData
	return nil
}
