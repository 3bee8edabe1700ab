package repair

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"tcp-log-server/segment"
)

// restoreSegments rewrites damaged and missing segments.
func (r *Repair) restoreSegments() error {
	if r.plan.NoSegments {
		return r.firstSegment()
	}
	for _, s := range r.segs {
		if !r.plan.damaged[s.First] || notFile(s.Path) { // anything that is not a file has been moved away
			continue
		}
		// The last one may go further, as far as the other copy does.
		end := s.ShouldEnd(r.head)
		may := end
		if s == r.segs[len(r.segs)-1] && !s.Sealed {
			may = max(end, r.newSegmentEnd(s.First, max(end, r.copyEnd())))
		}
		if _, err := r.rebuild(s.First, end, may, s); err != nil {
			return err
		}
	}
	for _, first := range slices.Sorted(maps.Keys(r.plan.Gaps)) {
		if err := r.fillGap(first, r.plan.Gaps[first]); err != nil {
			return err
		}
	}
	return nil
}

// firstSegment makes a segment for future appends, if there is none.
func (r *Repair) firstSegment() error {
	if r.index.Last == 0 {
		return nil // only blobs: their order is not known
	}
	path := filepath.Join(r.Segments(), segment.Name(r.head+1))
	s := Step{Action: "create", File: path, First: r.head + 1, Message: "an empty segment: the entries before it are in blobs"}
	return r.write(s, "", func(tmp string) error {
		w, err := segment.NewRewriter(tmp, segment.Header{Store: r.id, First: r.head + 1})
		if err != nil {
			return err
		}
		return w.Close()
	})
}

// rebuild rewrites the segment with the entries first..last, from its remains s, which
// may be nil, and from entries found elsewhere. It does nothing if entries would be lost
// and that is not accepted. Entries after last are added through may, as far as each is
// found. It returns the last index that the segment then holds, 0 if it has not been
// written.
func (r *Repair) rebuild(first, last, may uint64, s *Segment) (done uint64, err error) {
	// A header may be all there is to restore, but then nothing shows that there were no
	// entries after it.
	empty := s != nil && !s.HeaderOK && last+1 == first && r.segs[len(r.segs)-1] == s && (r.AcceptLoss || r.Outcome.GivenUp > 0)
	if may < first && !empty || may >= first && !plausible(first, may) || s != nil && !r.placed(s) || s == nil && !r.bounded(may) {
		return 0, nil
	}
	b := &rebuilder{Repair: r, seg: s, last: may}
	b.header = segment.Header{Store: r.id, First: first, Prev: r.sumBefore(first)}
	if s != nil && s.HeaderOK {
		b.header.Created = s.Header.Created
		if b.header.Prev == 0 {
			b.header.Prev = s.Header.Prev
		}
	} else if s == nil {
		s = &Segment{File: &segment.File{Path: filepath.Join(r.Segments(), segment.Name(first)), First: first}}
	}
	if r.other != nil && b.header.Created == 0 {
		if h := r.other.segmentOf(first); h != nil && h.known && h.header.First == first {
			b.header.Created = h.header.Created
		}
	}
	for _, after := range r.segs {
		if after.First == may+1 {
			b.next, b.chained, b.seal = after.Header.Prev, after.HeaderOK, true
		}
	}
	b.seal = b.seal || s.Sealed || may < r.head
	if err := b.build(""); err != nil {
		return 0, err
	}
	if b.lost > 0 && b.firstLost > last {
		// Entries that were only to be added end here.
		if may = b.firstLost - 1; may < first && !empty {
			return 0, nil
		}
		b.last = may
		if err := b.build(""); err != nil {
			return 0, err
		}
	}
	message := ""
	if b.lost > 0 && !r.AcceptLoss {
		if b.firstLost <= first && !s.HeaderOK || !r.copiedWhileItGrew(s) {
			return 0, nil
		}
		r.Outcome.GivenUp += may - min(may, max(b.firstLost-1, r.index.Last)) // cutAhead counts those with records
		may = b.firstLost - 1
		b.last, b.seal = may, false
		if err := b.build(""); err != nil {
			return 0, err
		}
		message = fmt.Sprintf("cut back to index %d, after which there are zeros and then newer entries, as in a copy of a running log; ", may)
	}
	message += fmt.Sprintf("write it again, with %d entries", may+1-first-b.lost-b.stillLost)
	if b.lost+b.stillLost > 0 {
		message += fmt.Sprintf(", and %d recorded as lost: %s", b.lost+b.stillLost, b.lostOnes)
	}
	err = r.write(Step{Action: "rebuild", File: s.Path, First: first, Last: may, Message: message}, "damaged", b.build)
	if b.seg == nil && err == nil { // following entries can be added too
		made := &Segment{File: &segment.File{Path: s.Path, First: first, Header: b.header, Sealed: b.seal, Last: may}, HeaderOK: true, Readable: true}
		i := sort.Search(len(r.segs), func(i int) bool { return r.segs[i].First > first })
		r.segs = slices.Insert(slices.Clone(r.segs), i, made)
	}
	return may, err
}

// copiedWhileItGrew reports whether the segment is the last one and has zeros in place of
// the next batch, or of part of it, as a copy of a running log can have. The space after
// the batches of an open segment is filled with zeros. A copy that reads it early gets
// the zeros, and after them the bytes that had been written when it got further: whole
// batches, or the rest of that one. Lost sectors begin at a multiple of 512, where a
// write hardly ever ends; both end at one.
func (r *Repair) copiedWhileItGrew(s *Segment) bool {
	const sector = 512
	if s.Sealed || len(r.segs) == 0 || r.segs[len(r.segs)-1] != s {
		return false
	}
	f, err := os.Open(s.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	damaged, more := int64(0), false // where the damage is, and whether batches follow it
	w, err := segment.Walk(f, s.First, s.HeaderSum, s.HeaderOK, s.Size, func(p segment.Piece) error {
		if damaged == 0 && p.Damage != nil {
			damaged = p.Offset
		}
		more = more || damaged > 0 && p.Damage == nil
		return nil
	})
	if err != nil {
		return false
	}
	if damaged == 0 {
		damaged = w.End
	}
	var head [segment.BatchHeaderSize]byte
	if _, err := f.ReadAt(head[:], damaged); err != nil {
		return false
	}
	none := head == [segment.BatchHeaderSize]byte{}
	bodyAt := damaged + segment.BatchHeaderSize

	from := damaged // where the zeros begin
	if h, err := segment.ParseBatchHeader(head[:]); err == nil {
		bodyEnd := min(bodyAt+int64(h.Size), s.Size)
		if from = skip(f, bodyAt, bodyEnd, false); from == bodyEnd { // an entry holds no zero byte
			return false
		}
	} else if from/sector == (bodyAt-1)/sector {
		from += int64(len(bytes.TrimRight(head[:], "\x00")))
	}
	end := skip(f, from, s.Size, true)
	if from%sector == 0 || end == from || end == s.Size {
		return false
	}
	// If the end is within a header, zeros of the header itself may follow it.
	return more && none || end%sector == 0 || end < bodyAt && end/sector > from/sector
}

// skip returns the offset at or after off of the first byte that is not zero or, if zeros
// is true, of the first that is; or size.
func skip(r io.ReaderAt, off, size int64, zeros bool) int64 {
	br := bufio.NewReader(io.NewSectionReader(r, off, size-off))
	for ; off < size; off++ {
		if c, err := br.ReadByte(); err != nil || (c == 0) != zeros {
			break
		}
	}
	return off
}

// placed reports whether anything except its name says where in the log the segment
// belongs: its header, or that it is where the one before it, the index, or the other
// copy ends. A name alone could contain any number.
func (r *Repair) placed(s *Segment) bool {
	if s.HeaderOK || s.First <= max(r.index.Last, r.copyEnd())+1 {
		return true
	}
	for _, before := range r.segs {
		if before.Next == s.First {
			end := before.Last
			if before.Sealed && before.HeaderOK {
				end = before.Footer.Last
			}
			return end+1 >= s.First
		}
	}
	return false
}

// bounded reports whether the segment or entries after a gap that ends at last are
// known to belong there.
func (r *Repair) bounded(last uint64) bool {
	for _, s := range r.segs {
		if s.First == last+1 {
			return s.HeaderOK
		}
	}
	return last <= max(r.head, r.index.Last, r.copyEnd())
}

// sumBefore returns the checksum that the segment whose first index is first should refer
// to.
func (r *Repair) sumBefore(first uint64) uint32 {
	i := sort.Search(len(r.segs), func(i int) bool { return r.segs[i].First >= first }) - 1
	if i < 0 {
		return 0
	}
	before, err := segment.CaptureFile(r.segs[i].Path)
	if err != nil || before.Check() != nil || before.Last+1 != first {
		return 0
	}
	return before.Sum
}
