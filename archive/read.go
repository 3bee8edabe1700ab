package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"tcp-log-server/segment"
)

// EntryFunc gets one entry: its canonical JSON, valid only during the call, and the time it was
// stored in µs since 1970 UTC, 0 if unknown; or why it is unreadable. If it returns an error, the
// read ends.
type EntryFunc func(index uint64, entry []byte, time int64, err error) error

// Read hands fn the entries from..through in order, as far as the head; a from of 0 counts as 1. It
// verifies each by the checksum of its batch. An unreadable entry is handed on with an error that
// wraps ErrDamaged or segment.ErrLost, and the read continues. Of a sealed segment it downloads the
// table and the batches from the first wanted entry on.
//
// Read returns fn's error, that of ctx or of the bucket, or nil.
func (a *Archive) Read(ctx context.Context, from, through uint64, fn EntryFunc) error {
	if a.damage != nil {
		return a.damage
	}
	from, through = max(from, 1), min(through, a.Head())
	for next := from; next <= through; {
		i := a.find(next)
		if i < 0 || a.parts[i].last < next {
			// Only the first part can be missing: the names of the others follow one another.
			last := min(through, a.parts[i+1].first-1)
			if err := hand(fn, next, last, fmt.Errorf("%w: no object holds it", ErrDamaged)); err != nil {
				return err
			}
			next = last + 1
			continue
		}
		r := &partReader{ctx: ctx, a: a, p: a.parts[i], fn: fn, next: next, through: min(through, a.parts[i].last)}
		if err := r.run(); err != nil {
			return err
		}
		next = r.through + 1
	}
	return nil
}

// hand hands on the entries first..last as unreadable.
func hand(fn EntryFunc, first, last uint64, why error) error {
	for ; first <= last; first++ {
		if err := fn(first, nil, 0, why); err != nil {
			return err
		}
	}
	return nil
}

// partReader reads entries of one segment.
type partReader struct {
	ctx           context.Context
	a             *Archive
	p             part
	fn            EntryFunc
	next, through uint64
}

// errDone ends a walk.
var errDone = errors.New("done")

func (r *partReader) run() error {
	s := newStream(r.ctx, r.a.b, r.p)
	defer s.Close()
	rows, end, err := r.a.table(s, r.p, r.next)
	if err != nil && !damaged(err) {
		return err
	}
	if err == nil && rows != nil {
		err = r.byTable(s, rows, end)
	} else {
		// Without the table, search the batches from the first one on.
		err = r.walk(s)
	}
	if errors.Is(err, errDone) {
		err = nil
	}
	if damaged(err) { // an object is missing, or shorter than the list says
		err = hand(r.fn, r.next, r.through, err)
		r.next = r.through + 1
	}
	return err
}

// table returns the table of the sealed segment p and the end of its batches. It returns nil if p
// is not sealed, or if index is its first entry, which needs no table.
func (a *Archive) table(s *stream, p part, index uint64) (rows []segment.Row, end int64, err error) {
	if !p.sealed() || index == p.first {
		return nil, 0, nil
	}
	footer, err := readFooter(s.ctx, a.b, p.first, p.size)
	if err != nil {
		return nil, 0, err
	}
	end = int64(footer.Table)
	text, err := getRange(s.ctx, a.b, SegmentKey(p.first), end, p.size-segment.FooterSize-end)
	if err != nil {
		return nil, 0, err
	}
	if segment.Checksum(text) != footer.Rows {
		return nil, 0, fmt.Errorf("%w: the checksum of the table is wrong", ErrDamaged)
	}
	for ; len(text) >= segment.RowSize; text = text[segment.RowSize:] {
		rows = append(rows, segment.ParseRow(text))
	}
	return rows, end, nil
}

// byTable reads the batches from the one with the next entry on.
func (r *partReader) byTable(s *stream, rows []segment.Row, end int64) error {
	at := sort.Search(len(rows), func(i int) bool { return r.p.first+uint64(rows[i].Delta) > r.next }) - 1
	for i := max(at, 0); i < len(rows) && r.next <= r.through; i++ {
		first, last := r.p.first+uint64(rows[i].Delta), r.p.last
		off, next := int64(rows[i].Offset), end
		if i+1 < len(rows) {
			last, next = r.p.first+uint64(rows[i+1].Delta)-1, int64(rows[i+1].Offset)
		}
		if next <= off || next > end {
			return fmt.Errorf("%w: the table has a batch from offset %d to %d", ErrDamaged, off, next)
		}
		b := make([]byte, next-off)
		if _, err := s.ReadAt(b, off); err != nil {
			return err
		}
		h, err := segment.ParseBatchHeader(b)
		switch {
		case err != nil:
		case h.First != first, h.Last() != last, int64(h.Size) != next-off-segment.BatchHeaderSize:
			err = fmt.Errorf("%w: the batch is not the one of the table", ErrDamaged)
		case segment.Checksum(b[segment.BatchHeaderSize:]) != h.Body:
			err = fmt.Errorf("%w: batch checksum is wrong, want %08x", ErrDamaged, h.Body)
		}
		if err != nil {
			err = &segment.DamageError{Path: r.a.path(r.p.key()), Offset: off, First: first, Last: last, Err: err}
		}
		if err := r.batch(first, last, b[segment.BatchHeaderSize:], h.Time, h.Lost(), err); err != nil {
			return err
		}
	}
	return nil
}

// walk reads the segment from its beginning.
func (r *partReader) walk(s *stream) error {
	end := r.p.size
	known, sum := false, uint32(0)
	_, err := segment.Walk(s, r.p.first, sum, known, end, func(p segment.Piece) error {
		if p.Last < r.next {
			return nil
		}
		why := p.Damage
		if why != nil {
			why = &segment.DamageError{Path: r.a.path(r.p.keyAt(p.Offset)), Offset: p.Offset, First: p.First, Last: p.Last, Err: why}
		}
		return r.batch(p.First, p.Last, p.Entries, p.Time, p.Lost, why)
	})
	if err != nil {
		return err
	}
	return hand(r.fn, r.next, r.through, fmt.Errorf("%w: the batches of %s end before it", ErrDamaged, r.a.path(r.p.key())))
}

// batch hands on the wanted entries of a batch, or why they are unreadable.
func (r *partReader) batch(first, last uint64, body []byte, time int64, lost bool, why error) error {
	if lost && why == nil {
		why = segment.ErrLost
	}
	for index := first; index <= last && r.next <= r.through; index++ {
		var entry []byte
		if why == nil {
			n := bytes.IndexByte(body, '\n')
			if n < 0 {
				why = fmt.Errorf("%w: batch has fewer entries than its header says", ErrDamaged)
			} else {
				entry, body = body[:n], body[n+1:]
			}
		}
		if index < r.next {
			continue
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
		r.next++
		if err := r.fn(index, entry, time, why); err != nil {
			return err
		}
	}
	if r.next > r.through {
		return errDone
	}
	return nil
}

// Since returns the index of the first entry that was stored at t or later, or the one after the
// head if there is none. It reads the first batches of a few segments, and then one whole segment.
func (a *Archive) Since(ctx context.Context, t time.Time) (index uint64, err error) {
	at := t.UnixMicro()
	if t.Nanosecond()%int(time.Microsecond) > 0 {
		at++
	}
	if a.damage != nil {
		return 0, a.damage
	}
	later := sort.Search(len(a.parts), func(i int) bool {
		if err != nil {
			return false
		}
		first := int64(0)
		first, err = a.firstTime(ctx, a.parts[i])
		return first >= at
	})
	if err != nil || later == 0 {
		return 1, err
	}
	p := a.parts[later-1]
	return segment.ReadSince(ctx, p.first, p.last, at, a.Read)
}

// firstTime returns the time when the first entry of a segment was stored.
func (a *Archive) firstTime(ctx context.Context, p part) (int64, error) {
	s := newStream(ctx, a.b, p)
	defer s.Close()
	b := make([]byte, segment.BatchHeaderSize)
	if _, err := s.ReadAt(b, segment.HeaderSize); err != nil {
		return 0, err
	}
	h, err := segment.ParseBatchHeader(b)
	if err != nil {
		return 0, &segment.DamageError{Path: a.path(p.keyAt(segment.HeaderSize)), Offset: segment.HeaderSize, First: p.first, Err: err}
	}
	return h.Time, nil
}
