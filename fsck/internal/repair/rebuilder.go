package repair

import (
	"bytes"
	"errors"
	"os"

	"tcp-log-server/segment"
)

// mergeMax is how many bytes of entries that were found one by one go into one batch, if
// it is not known how they were batched before.
const mergeMax = 1 << 20

// rebuilder is the writing of one segment.
type rebuilder struct {
	*Repair
	seg     *Segment // its remains, or nil
	header  segment.Header
	last    uint64
	next    uint32 // the checksum that the next segment refers to
	chained bool   // next is known
	seal    bool

	w      *segment.Rewriter
	raw    *os.File
	starts map[uint64]bool // first indices of batches, by the table
	// lost counts the entries that are found nowhere, firstLost is the first of them.
	// stillLost counts those that were already recorded as lost. lostOnes are both.
	lost, stillLost uint64
	firstLost       uint64
	lostOnes        Ranges
	wasLost         bool  // the entries being looked for were recorded as lost
	time            int64 // of the previous batch
}

// build writes the segment to the file at path, or without a path only counts the entries
// that would be lost.
func (b *rebuilder) build(path string) (err error) {
	b.lost, b.stillLost, b.lostOnes = 0, 0, Ranges{}
	if b.w, err = segment.NewRewriter(path, b.header); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.w.Close()) }()
	if b.seg != nil && b.seg.Readable {
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

// copyWhole copies the intact batches, and fills the gaps between them.
func (b *rebuilder) copyWhole() error {
	f, err := os.Open(b.seg.Path)
	if err != nil {
		return nil // nothing readable is left
	}
	defer f.Close()
	b.raw = f
	defer func() { b.raw = nil }()
	b.readTable(f)
	w, err := segment.Walk(f, b.seg.First, b.seg.HeaderSum, b.seg.HeaderOK, b.seg.BatchesEnd(), func(p segment.Piece) error {
		switch {
		case p.Last < p.First, p.Last > b.last:
			return nil
		case p.Damage != nil:
			return b.fill(p.Last, p.Offset, p.End)
		case p.Lost:
			// It may be found now.
			b.wasLost = true
			err := b.fill(p.Last, 0, 0)
			b.wasLost = false
			return err
		case uint64(bytes.Count(p.Entries, []byte{'\n'})) != p.Last-p.First+1:
			return b.fill(p.Last, p.Offset, p.End)
		}
		if err := b.fill(p.First-1, 0, 0); err != nil {
			return err
		}
		b.time = p.Time
		return b.w.Add(uint32(p.Last-p.First+1), p.Time, p.Entries)
	})
	if err == nil && w.Torn > 0 {
		err = b.fill(b.last, w.End, b.seg.BatchesEnd())
	}
	return err
}

// readTable notes where batches began, if the table is intact: batches that are
// reassembled as they were are identical to the byte.
func (b *rebuilder) readTable(f *os.File) {
	b.starts = nil
	if !b.seg.Sealed {
		return
	}
	rows, sum, err := segment.ReadTable(f, b.seg.Footer)
	if err != nil || sum != b.seg.Footer.Rows {
		return
	}
	b.starts = map[uint64]bool{}
	for _, row := range rows {
		b.starts[b.seg.First+uint64(row.Delta)] = true
	}
}

// fill writes the entries up to last, each from wherever it is found. The remains of their
// batch, if any, are at the offsets from..to of the file.
func (b *rebuilder) fill(last uint64, from, to int64) error {
	var body []byte
	var batch found // time and batch of the entries in body
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
	var left *segment.Salvager
	if b.raw != nil {
		left = segment.NewSalvager(b.raw, from, to)
	}
	for index := b.w.Last() + 1; index <= last; index++ {
		rec, err := b.index.At(index)
		e, ok := b.find(index, rec, left)
		if !ok {
			if err := flush(); err != nil {
				return err
			}
			through := index
			if err != nil && index > b.index.Last && (b.other == nil || index > b.other.head) {
				through = last // nothing can be known about any of them
			}
			switch {
			case b.wasLost || err == nil && rec.Lost():
				b.stillLost += through - index + 1
			case b.lost == 0:
				b.firstLost = index
				fallthrough
			default:
				b.lost += through - index + 1
			}
			b.lostOnes.Add(index, through)
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

// find looks for the entry at index in the remains of its batch, and elsewhere. rec is its
// record, whose hash is zero if nothing is known about the entry.
func (r *Repair) find(index uint64, rec segment.Record, left *segment.Salvager) (found, bool) {
	known := rec.Hash != segment.Hash{}
	text, ok := left.Find(rec)
	if !ok && known {
		text, ok = wholeBlob(r.Context, r.Store(), rec.Hash)
	}
	if ok {
		return found{text: text, time: rec.Time}, true
	}
	if r.other == nil {
		return found{}, false
	}
	e, ok := r.other.entry(index)
	if ok && (known && segment.Sum(e.text) == rec.Hash || !known && index <= r.trust) {
		if known && rec.Time != 0 {
			e.time = rec.Time
		}
		return e, true
	}
	text, ok = r.other.salvage(index, rec)
	if !ok && known {
		text, ok = wholeBlob(r.Context, r.other.blobs, rec.Hash)
	}
	return found{text: text, time: rec.Time}, ok
}
