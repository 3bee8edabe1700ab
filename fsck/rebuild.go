package fsck

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"tcp-log-server/segment"
)

// mergeMax is how many bytes of entries that were found one by one go into one
// batch, where it is not known how they lay in batches before.
const mergeMax = 1 << 20

// restoreSegments writes segments anew that are damaged or missing.
func (r *repairer) restoreSegments() error {
	if r.plan.noSegments {
		return r.firstSegment()
	}
	for first := range r.plan.reseal {
		r.plan.segments[first] = true
	}
	for _, first := range sortedKeys(r.plan.segments) {
		for _, s := range r.segs {
			if s.first == first && !r.isWrong(s.path) {
				if err := r.rebuild(s.first, r.should(s), s); err != nil {
					return err
				}
			}
		}
	}
	for _, first := range sortedKeys(r.plan.gaps) {
		if err := r.rebuild(first, r.plan.gaps[first], nil); err != nil {
			return err
		}
	}
	return nil
}

// isWrong says that path has been moved away because it was no file.
func (r *repairer) isWrong(path string) bool {
	fi, err := os.Lstat(path)
	return err != nil || !fi.Mode().IsRegular()
}

// should is the last index that the segment should hold.
func (r *repairer) should(s *seg) uint64 {
	switch {
	case s.sealed && s.known:
		return s.footer.Last
	case s.next > 0:
		return s.next - 1
	}
	return r.head
}

// firstSegment makes a segment for what will be appended, where there is none.
func (r *repairer) firstSegment() error {
	if r.index.last == 0 {
		return nil // blobs alone: their order is not known
	}
	path := filepath.Join(segmentDir(r.Data), segment.Name(r.head+1))
	return r.do(Step{Action: "create", File: path, First: r.head + 1, Message: "an empty segment: the entries before it are in blobs"}, func() error {
		if err := segment.MakeDir(segmentDir(r.Data)); err != nil {
			return err
		}
		if err := r.change(); err != nil {
			return err
		}
		w, err := segment.NewRewriter(filepath.Join(segmentDir(r.Data), segment.RepairName), segment.Header{Store: r.id, First: r.head + 1})
		if err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		return r.replace(filepath.Join(segmentDir(r.Data), segment.RepairName), path, "")
	})
}

// rebuild writes the segment with the entries first..last anew, from what is
// left of it, s, or nothing, and from what is found elsewhere. It does nothing
// when entries would be lost and that is not accepted.
func (r *repairer) rebuild(first, last uint64, s *seg) error {
	if last < first || !plausible(first, last) || s != nil && !r.placed(s) || s == nil && !r.bounded(last) {
		return nil
	}
	b := &rebuilder{repairer: r, seg: s, last: last}
	b.header = segment.Header{Store: r.id, First: first, Prev: r.sumBefore(first)}
	if s != nil && s.known {
		b.header.Created = s.header.Created
		if b.header.Prev == 0 {
			b.header.Prev = s.header.Prev
		}
	} else if s == nil {
		s = &seg{path: filepath.Join(segmentDir(r.Data), segment.Name(first)), first: first}
	}
	for _, after := range r.segs {
		if after.first == last+1 {
			b.next, b.chained, b.seal = after.header.Prev, after.known, true
		}
	}
	b.seal = b.seal || s.sealed || b.seg == nil && last < r.head
	if err := b.build(""); err != nil {
		return err
	}
	message := ""
	if b.lost > 0 && !r.AcceptLoss {
		if b.firstLost <= first || !r.copiedWhileItGrew(s) {
			return nil
		}
		r.givenUp += last - min(last, max(b.firstLost-1, r.index.last)) // cutAhead counts those with records
		last = b.firstLost - 1
		b.last, b.seal = last, false
		if err := b.build(""); err != nil {
			return err
		}
		message = fmt.Sprintf("cut back to index %d, behind which there are zeros and then newer entries, as a copy of a running log can have them; ", last)
	}
	message += fmt.Sprintf("written anew, with %d entries", last-first+1-b.lost)
	if b.lost > 0 {
		message += fmt.Sprintf(", and %d recorded as lost: %s", b.lost, b.lostOnes)
	}
	return r.do(Step{Action: "rebuild", File: s.path, First: first, Last: last, Message: message}, func() error {
		if err := r.change(); err != nil {
			return err
		}
		tmp := filepath.Join(segmentDir(r.Data), segment.RepairName)
		if err := b.build(tmp); err != nil {
			return err
		}
		return r.replace(tmp, s.path, "damaged")
	})
}

// copiedWhileItGrew reports whether the segment is the last one and has nothing
// but zeros where its next batch should begin. The space ahead of the batches of
// an open segment is filled with zeros, and a copy that came to it early has the
// zeros, and behind them what was written by the time it had come further. Lost
// sectors begin at a multiple of 512, where a batch hardly ever does.
func (r *repairer) copiedWhileItGrew(s *seg) bool {
	if s.sealed || len(r.segs) == 0 || r.segs[len(r.segs)-1] != s {
		return false
	}
	f, err := os.Open(s.path)
	if err != nil {
		return false
	}
	defer f.Close()
	scan, err := segment.ScanBatches(f, s.path, s.size, nil)
	if !errors.Is(err, segment.ErrDamaged) || scan.End%512 == 0 {
		return false
	}
	var next [segment.BatchHeaderSize]byte
	if _, err := f.ReadAt(next[:], scan.End); err != nil {
		return false
	}
	return next == [segment.BatchHeaderSize]byte{}
}

// placed reports whether anything but its name says where in the log the segment
// belongs: its header, or that it lies where the one before it, or the index, ends.
// A name alone could have any number in it.
func (r *repairer) placed(s *seg) bool {
	if s.known || s.first <= r.index.last+1 {
		return true
	}
	for _, before := range r.segs {
		if before.next == s.first {
			return before.placedEnd()+1 >= s.first
		}
	}
	return false
}

// placedEnd is the last index that is known to be the segment's.
func (s *seg) placedEnd() uint64 {
	if s.sealed && s.known {
		return s.footer.Last
	}
	return s.last
}

// bounded reports whether what lies behind a gap that ends at last is known to
// lie there.
func (r *repairer) bounded(last uint64) bool {
	for _, s := range r.segs {
		if s.first == last+1 {
			return s.known
		}
	}
	return last <= max(r.head, r.index.last)
}

// sumBefore is the checksum that the segment whose first index is first follows.
func (r *repairer) sumBefore(first uint64) uint32 {
	i := sort.Search(len(r.segs), func(i int) bool { return r.segs[i].first >= first }) - 1
	if i < 0 {
		return 0
	}
	before, err := segment.Stat(r.segs[i].path)
	if err != nil {
		return 0
	}
	if !before.Sealed() {
		if _, err := before.Scan(); err != nil {
			return 0
		}
	}
	if before.Last()+1 != first {
		return 0
	}
	return before.Sum()
}

// rebuilder is the writing of one segment.
type rebuilder struct {
	*repairer
	seg     *seg // what is left, or nil
	header  segment.Header
	last    uint64
	next    uint32 // what the segment behind it follows
	chained bool   // that is known
	seal    bool

	w      *segment.Rewriter
	raw    *os.File
	starts map[uint64]bool // first indices of batches, by the table
	lost   uint64
	// firstLost is the first of them.
	firstLost uint64
	lostOnes  ranges
	time      int64 // of the batch before
}

// build writes the segment to the file at path, or just counts what would be
// lost if there is none.
func (b *rebuilder) build(path string) (err error) {
	b.lost, b.lostOnes = 0, ranges{}
	if b.w, err = segment.NewRewriter(path, b.header); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.w.Close()) }()
	if b.seg != nil && b.seg.readable {
		if err := b.copyWhole(); err != nil {
			return err
		}
	}
	if err := b.fill(b.last, 0, 0); err != nil {
		return err
	}
	if b.seal {
		return b.w.Seal(b.next, b.chained)
	}
	return nil
}

// copyWhole copies the whole batches that are left, and fills up between them.
func (b *rebuilder) copyWhole() error {
	f, err := os.Open(b.seg.path)
	if err != nil {
		return nil // nothing is left that can be read
	}
	defer f.Close()
	b.raw = f
	defer func() { b.raw = nil }()
	b.readTable(f)
	w, err := segment.Walk(f, b.seg.first, b.seg.sum, b.seg.known, b.seg.end(), func(p segment.Piece) error {
		switch {
		case p.Last < p.First, p.Last > b.last:
			return nil
		case p.Damage != nil:
			return b.fill(p.Last, p.Offset, p.End)
		case p.Lost:
			// It may be found by now.
			return b.fill(p.Last, 0, 0)
		case lineCount(p.Entries) != p.Last-p.First+1:
			return b.fill(p.Last, 0, 0)
		}
		if err := b.fill(p.First-1, 0, 0); err != nil {
			return err
		}
		b.time = p.Time
		return b.w.Add(uint32(p.Last-p.First+1), p.Time, p.Entries)
	})
	if err == nil && w.Torn > 0 {
		err = b.fill(b.last, w.End, b.seg.end())
	}
	return err
}

func lineCount(body []byte) uint64 {
	n := uint64(0)
	for _, c := range body {
		if c == '\n' {
			n++
		}
	}
	return n
}

// readTable notes where batches began, if the table is whole: batches that are
// put together as they were come out the same to the byte.
func (b *rebuilder) readTable(f *os.File) {
	b.starts = nil
	if !b.seg.sealed {
		return
	}
	t := newRows(f, b.seg)
	starts := map[uint64]bool{}
	for t.read() {
		starts[b.seg.first+uint64(t.row.Delta)] = true
	}
	if t.why == nil && t.sum == b.seg.footer.Rows {
		b.starts = starts
	}
}

// fill writes the entries up to last, each from wherever it is found. from..to is
// where in the file what is left of their batch lies, if anything is.
func (b *rebuilder) fill(last uint64, from, to int64) error {
	var body []byte
	var batch found // what the entries in body have in common
	count := uint32(0)
	flush := func() error {
		if count == 0 {
			return nil
		}
		b.time = batch.time
		err := b.w.Add(count, batch.time, body)
		body, count = body[:0], 0
		return err
	}
	off := from + segment.BatchHeaderSize
	for index := b.w.Last() + 1; index <= last; index++ {
		rec, err := b.index.at(index)
		known := err == nil && (!rec.Lost() || rec.Hash != segment.Hash{})
		if err != nil || rec.Lost() {
			from, to = 0, 0 // where the next one begins is not known
		}
		e, ok := b.look(index, rec, known, off, to)
		off += int64(rec.Size) + 1
		if !ok {
			if err := flush(); err != nil {
				return err
			}
			through := index
			if err != nil && b.other == nil && index > b.index.last {
				through = last // nothing can be known of any of them
			}
			if b.lost == 0 {
				b.firstLost = index
			}
			b.lost += through - index + 1
			b.lostOnes.add(index, through)
			if err := b.w.Lose(through, b.time); err != nil {
				return err
			}
			index = through
			continue
		}
		apart := b.starts[index] || b.starts == nil && count > 0 &&
			(e.time != batch.time || e.batch != batch.batch || len(body) > mergeMax)
		if apart {
			if err := flush(); err != nil {
				return err
			}
		}
		if count == 0 {
			batch = e
		}
		body = append(append(body, e.text...), '\n')
		count++
	}
	return flush()
}

// look looks for the entry at index, whose record is rec if known.
func (b *rebuilder) look(index uint64, rec segment.Record, known bool, off, to int64) (found, bool) {
	if known {
		if b.raw != nil && to > 0 {
			if text, ok := readEntry(b.raw, off, to, rec); ok && segment.Sum(text) == rec.Hash {
				return found{text: text, time: rec.Time}, true
			}
		}
		if text, ok := wholeBlob(b.Blobs, rec.Hash); ok && b.Blobs != Memory {
			return found{text: text, time: rec.Time}, true
		}
	}
	if b.other == nil {
		return found{}, false
	}
	e, ok := b.other.entry(index)
	if ok && (!known || segment.Sum(e.text) == rec.Hash) {
		return e, true
	}
	if known {
		if text, ok := b.other.blob(rec.Hash); ok {
			return found{text: text, time: rec.Time}, true
		}
	}
	return found{}, false
}
