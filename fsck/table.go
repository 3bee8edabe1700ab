package fsck

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"tcp-log-server/segment"
)

// rows compares the table of a sealed segment with its batches.
type rows struct {
	r     *bufio.Reader
	first uint64 // of the segment
	left  uint32
	sum   uint32
	row   segment.Row
	ok    bool // row is one that was read and not yet compared
	why   error
	quiet bool // batches are missing: said elsewhere
	late  bool // the batches were read before there was a table
}

var crcTable = crc32.MakeTable(crc32.Castagnoli)

func newRows(f *os.File, s *seg) *rows {
	t := &rows{first: s.First}
	if s.Sealed {
		t.left = s.Footer.Batches
		t.r = bufio.NewReaderSize(io.NewSectionReader(f, int64(s.Footer.Table), int64(t.left)*segment.RowSize), 64<<10)
	}
	return t
}

// read reads the next row.
func (t *rows) read() bool {
	if t.r == nil || t.left == 0 {
		t.ok = false
		return false
	}
	var b [segment.RowSize]byte
	if _, err := io.ReadFull(t.r, b[:]); err != nil {
		t.fail(err)
		t.r = nil
		return false
	}
	t.left--
	t.sum = crc32.Update(t.sum, crcTable, b[:])
	t.row, t.ok = segment.ParseRow(b[:]), true
	return true
}

// next compares the row of the next piece.
func (t *rows) next(p segment.Piece) {
	if t.r == nil {
		return
	}
	if !t.ok && !t.read() {
		t.fail(fmt.Errorf("the table has no row for the batch at offset %d", p.Offset))
		return
	}
	if p.Damage != nil {
		for t.ok && int64(t.row.Offset) < p.End {
			t.read()
		}
		return
	}
	if delta := uint32(p.First - t.first); t.row != (segment.Row{Delta: delta, Offset: uint32(p.Offset)}) {
		t.fail(fmt.Errorf("the table has a batch of index %d at offset %d, want index %d at offset %d",
			t.first+uint64(t.row.Delta), t.row.Offset, p.First, p.Offset))
	}
	t.ok = false
}

// fail notes the first thing that is wrong with the table. A nil error says that
// there is a finding already that explains the rest.
func (t *rows) fail(err error) {
	if err == nil {
		t.quiet = true
	}
	if t.why == nil {
		t.why = err
	}
}

// table makes the finding on the table of a sealed segment. Without t, or with one
// that came late, it has not been compared, and its checksum tells.
func (p *pipeline) table(s *seg, t *rows) {
	compared := t != nil && !t.late
	if t == nil {
		f, err := os.Open(s.Path)
		if err != nil {
			return
		}
		defer f.Close()
		t = newRows(f, s)
	}
	if compared && !t.quiet && t.r != nil && (t.ok || t.left > 0) {
		t.fail(errors.New("the table has more rows than there are batches"))
	}
	for t.read() {
	}
	if t.why == nil && t.sum != s.Footer.Rows {
		t.why = fmt.Errorf("the table has checksum %08x, the footer says %08x", t.sum, s.Footer.Rows)
	}
	if t.why == nil {
		return
	}
	p.c.plan.Update(func() { p.c.plan.Reseal[s.First] = true })
	p.c.find(Finding{Kind: SegmentTable, File: s.Path, Offset: int64(s.Footer.Table), First: s.First, Last: s.Footer.Last, Message: t.why.Error()})
}
