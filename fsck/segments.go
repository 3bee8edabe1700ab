package fsck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sort"
	"time"

	"tcp-log-server/segment"
)

// segment reads one segment, which should follow before, nil if there is none.
func (p *pipeline) segment(s, before *checkedSegment) {
	end := p.first - 1
	if before != nil {
		end = before.Last
	}
	switch {
	case s.First > end+1:
		p.add(s, stretch{gap: true, Piece: segment.Piece{First: end + 1, Last: s.First - 1,
			Damage: fmt.Errorf("no segment holds these entries: %s begins at %d", segment.Name(s.First), s.First)}})
	case s.First <= end:
		p.find(Finding{Kind: SegmentOverlap, File: s.Path, First: s.First, Last: end,
			Message: fmt.Sprintf("begins at index %d, and %s ends at %d", s.First, before.Path, end)})
		p.plan.Manual = append(p.plan.Manual, s.Path)
	}
	if before != nil && before.summed && s.First <= end+1 && s.HeaderOK && s.Header.Prev != before.sum {
		p.fault(s, Finding{Kind: SegmentChain, First: s.First, Want: hex32(before.sum), Got: hex32(s.Header.Prev),
			Message: fmt.Sprintf("follows checksum %08x, want %08x: that of %s", s.Header.Prev, before.sum, before.Path)})
	}
	should := s.ShouldEnd(p.head)
	if !s.Readable {
		p.inPlaceOf(s, should, stretch{Piece: segment.Piece{End: s.Size, Damage: errors.New("the segment cannot be read")}})
		return
	}
	f, err := segment.OpenRegular(s.Path)
	if err != nil {
		in := stretch{missing: gone(err) && p.goneOn(s)} // removed since the start: its entries are now in blobs
		if !in.missing {
			in.Damage = err
			p.plan.Rebuild(s.First)
			p.unreadable(s.Path, s.First, should, err)
		}
		p.inPlaceOf(s, should, in)
		return
	}
	defer f.Close()
	if p.Quick && s.Sealed && s.HeaderOK {
		p.table(s, f, nil)
		p.inPlaceOf(s, should, stretch{unread: true})
		s.sum, s.summed = s.Footer.Sum, true
		return
	}
	p.batches(s, f, should)
}

// inPlaceOf adds t in place of the batches of a segment through last.
func (p *pipeline) inPlaceOf(s *checkedSegment, last uint64, t stretch) {
	s.Last = max(last, s.First-1)
	if t.First, t.Last = s.First, s.Last; t.Last >= t.First {
		p.add(s, t)
	}
}

// batches reads the batches of a segment, which should end at the index should.
func (p *pipeline) batches(s *checkedSegment, f *os.File, should uint64) {
	if s.Next > 0 && !s.Sealed {
		// It may have been sealed since.
		if fi, err := f.Stat(); err == nil {
			s.Modified = fi.ModTime()
		}
		if s.Footer, s.Size, s.Sealed, _ = readFooter(f); s.Sealed {
			should = s.Footer.Last
		}
	}
	limit := s.BatchesEnd()
	if s.Next == 0 && !s.Sealed {
		limit = s.Walked.End // the check judged the rest when it began
		if at := s.Walked.Proved; at > 0 {
			limit = at + segment.BatchHeaderSize
		}
	}
	found := &batchList{}
	w, err := segment.Walk(f, s.First, s.HeaderSum, s.HeaderOK, limit, func(piece segment.Piece) error {
		if piece.Fault != nil {
			p.fault(s, Finding{Kind: SegmentChain, Offset: piece.Offset, First: piece.First, Last: piece.Last, Message: piece.Fault.Error()})
		}
		if piece.Damage != nil {
			found.partial = true
		} else {
			found.rows = append(found.rows, segment.Row{Delta: uint32(piece.First - s.First), Offset: uint32(piece.Offset)})
		}
		p.add(s, stretch{Piece: piece})
		return p.ctx.Err()
	})
	if p.ctx.Err() != nil {
		return
	}
	if err != nil {
		p.plan.Rebuild(s.First)
		p.unreadable(s.Path, w.Last+1, should, err)
		w.Why = err
	}
	s.Last, s.sum, s.summed = w.Last, w.Sum, err == nil
	if s.Sealed {
		s.sum = s.Footer.Sum
	}
	if !s.Sealed && s.Next > 0 {
		if footer, size, ok, bad := readFooter(f); ok && int64(footer.Table) == w.End {
			s.Sealed, s.Footer, s.Size, w.Torn = true, footer, size, 0 // sealed meanwhile
		} else {
			p.unsealed(s, bad, w)
		}
	}
	if should > w.Last && (err != nil || w.Torn > 0 || s.Sealed || s.Next == 0) {
		if w.Why == nil {
			w.Why = fmt.Errorf("the batches end at index %d, want %d", w.Last, should)
		}
		p.add(s, stretch{Piece: segment.Piece{First: w.Last + 1, Last: should, Offset: w.End, End: max(limit, w.End+s.Walked.Torn), Damage: w.Why}})
		s.Last, s.summed = should, s.Sealed
		found.partial = true
	} else if s.Sealed && s.HeaderOK {
		switch want := s.Footer.Chain(); {
		case w.Batches > 0 && w.Sum != want && err == nil:
			found.why = fmt.Errorf("the last batch has checksum %08x, the footer says %08x", w.Sum, want)
		case w.Torn > 0:
			found.why = fmt.Errorf("%d bytes between the last batch and the table", w.Torn)
		}
	}
	if s.Sealed {
		p.table(s, f, found)
	}
}

// readFooter reads the footer of a segment, and the size of the file. err says why the bytes in its
// place are not a footer, unless a crash while writing it can leave them.
func readFooter(f *os.File) (footer segment.Footer, size int64, ok bool, err error) {
	fi, err := f.Stat()
	if err != nil {
		return footer, 0, false, nil
	}
	b := make([]byte, segment.FooterSize)
	size = fi.Size()
	if _, err := f.ReadAt(b, max(0, size-segment.FooterSize)); err != nil || size < segment.HeaderSize+segment.FooterSize {
		return footer, size, false, nil
	}
	footer, ok, err = segment.ParseFooter(b, size)
	if err != nil && binary.LittleEndian.Uint32(b[60:]) == 0 {
		return footer, size, false, nil
	}
	return footer, size, ok && err == nil, err
}

// goneOn reports whether the server can have removed the segment since the start: then there are
// later ones, and none before it.
func (c *checker) goneOn(s *checkedSegment) bool {
	firsts, err := segment.List(segmentDir(c.Data))
	return err == nil && len(firsts) > 0 && firsts[0] > s.First
}

// unsealed makes the findings on a segment that is not the last and has no footer, because of bad if
// there is something like a footer. The next start seals it.
func (p *pipeline) unsealed(s *checkedSegment, bad error, w segment.Walked) {
	switch {
	case bad != nil:
		p.fault(s, Finding{Kind: SegmentTable, Offset: s.Size - segment.FooterSize, First: s.First, Last: s.Next - 1, Message: bad.Error()})
	case w.Last == s.Next-1 && !s.Oversized():
		p.unlessChanged(s.Path, s.Size, time.Time{}, func() {
			p.find(Finding{Kind: Unsealed, File: s.Path, Offset: w.End, First: s.First, Last: w.Last, Message: "is full and not sealed: the server does that, or the next start"})
		})
		if w.Torn > 0 {
			p.torn(s, w)
		}
	}
}

// batchList is where the batches of a segment are, for comparison with its table.
type batchList struct {
	rows    []segment.Row // of intact batches
	partial bool          // others are damaged or missing, which is reported elsewhere
	why     error         // what is wrong with the end of the batches
}

// table checks the table of a sealed segment. Without found it is not compared with the batches,
// only with its checksum.
func (p *pipeline) table(s *checkedSegment, f *os.File, found *batchList) {
	if err := compareTable(s, f, found); err != nil {
		p.fault(s, Finding{Kind: SegmentTable, Offset: int64(s.Footer.Table), First: s.First, Last: s.Footer.Last, Message: err.Error()})
	}
}

func compareTable(s *checkedSegment, f *os.File, found *batchList) error {
	rows, sum, err := segment.ReadTable(f, s.Footer)
	if err != nil {
		return err
	}
	if sum != s.Footer.Rows {
		return fmt.Errorf("the table has checksum %08x, the footer says %08x", sum, s.Footer.Rows)
	}
	if found == nil {
		return nil
	}
	for _, want := range found.rows {
		at := sort.Search(len(rows), func(i int) bool { return rows[i].Delta >= want.Delta })
		if at == len(rows) || rows[at] != want {
			return fmt.Errorf("the table has no row for the batch of index %d at offset %d", s.First+uint64(want.Delta), want.Offset)
		}
	}
	if len(found.rows) != len(rows) && !found.partial {
		return fmt.Errorf("the table has %d rows, and there are %d batches", len(rows), len(found.rows))
	}
	return found.why
}

func hex32(sum uint32) string { return fmt.Sprintf("%08x", sum) }
