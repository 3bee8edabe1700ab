package reader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"tcp-log-server/segment"
)

// EntryFunc gets one entry: its canonical JSON, which is valid during the call
// only, or why it cannot be read. An error that it returns ends the read.
type EntryFunc func(index uint64, entry []byte, err error) error

// Read hands fn the entries from..through in order, as far as the head goes; a
// from of 0 counts as 1. Each is verified first: by the checksum of its batch,
// and by the hash that the index has of it. One that cannot be read is handed on
// with an error, which wraps ErrDamaged or ErrLost, and the read goes on.
//
// Read returns fn's error, that of ctx, or nil. Any number of reads may run at
// once.
func (l *Log) Read(ctx context.Context, from, through uint64, fn EntryFunc) error {
	r := &reading{Log: l, ctx: ctx, next: max(from, 1), through: min(through, l.head), fn: fn, known: l.records}
	defer r.close()
	for r.next <= r.through {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, next := l.find(r.next)
		last := r.through
		switch {
		case p != nil:
			if err := r.segment(p, min(p.last, r.through)); err != nil {
				return err
			}
			continue
		case next > 0:
			last = min(last, next-1)
		}
		// A daemon may have removed it: its entries are in blobs, and their records,
		// which were looked for before the segments were, are there by now.
		r.known = max(r.known, lastRecord(r.wal))
		for r.next <= last {
			if err := r.loose(errNoSegment); err != nil {
				return err
			}
		}
	}
	return nil
}

var errNoSegment = fmt.Errorf("%w: no segment holds it", ErrDamaged)

// reading is one read: a cursor.
type reading struct {
	*Log
	ctx           context.Context
	next, through uint64
	fn            EntryFunc

	known   uint64 // the last record that is looked for
	records *segment.RecordReader
	recs    []segment.Record // those from index at
	at      uint64
}

func (r *reading) close() {
	if r.records != nil {
		r.records.Close()
	}
}

func (r *reading) emit(entry []byte, err error) error {
	index := r.next
	r.next++
	return r.fn(index, entry, err)
}

// segment hands on the entries from the cursor through last, which p holds.
func (r *reading) segment(p *piece, last uint64) error {
	why := p.err
	if why == nil {
		f, err := segment.OpenRegular(p.path)
		switch {
		case err == nil:
			defer f.Close()
			var own bool
			if own, why = r.walk(p, f, last); own {
				return why
			}
		case errors.Is(err, fs.ErrNotExist): // removed just now: as above
			r.known = max(r.known, lastRecord(r.wal))
			why = errNoSegment
		default:
			why = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	for r.next <= last {
		if err := r.loose(why); err != nil {
			return err
		}
	}
	return nil
}

// errDone ends a walk that has come to what was wanted.
var errDone = errors.New("done")

// walk hands on the entries from the cursor through last as they come in the
// file. own says that err is not the file's, but ends the read; otherwise it is
// what is wrong with the entries that are left.
func (r *reading) walk(p *piece, f *os.File, last uint64) (own bool, err error) {
	walked, err := segment.Walk(f, p.first, p.sum, p.known, p.end, func(q segment.Piece) error {
		if q.Last < r.next {
			return nil
		}
		err := r.ctx.Err()
		if err == nil {
			err = r.piece(f, p, q, last)
		}
		if err == nil && r.next > last {
			err = errDone
		}
		own = err != nil
		return err
	})
	switch {
	case errors.Is(err, errDone):
		return false, nil
	case err != nil:
		if !own {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return own, err
	case r.next > last:
		return false, nil
	}
	// The last batches are damaged, with nothing behind them to tell where one ends.
	q := segment.Piece{Offset: walked.End, End: p.size, First: walked.Last + 1, Last: p.last}
	if why := walked.Why; why != nil {
		err = &segment.DamageError{Path: p.path, Offset: q.Offset, First: q.First, Last: q.Last, Err: why}
	} else {
		err = &segment.DamageError{Path: p.path, Offset: q.Offset, First: q.First, Last: q.Last, Err: fmt.Errorf("%w: the batches end here", ErrDamaged)}
	}
	err = r.salvage(f, q, last, err)
	return err != nil, err
}

// piece hands on what a batch, or what is left of it, holds from the cursor
// through last.
func (r *reading) piece(f *os.File, p *piece, q segment.Piece, last uint64) error {
	damage := func(err error) error {
		return &segment.DamageError{Path: p.path, Offset: q.Offset, First: q.First, Last: q.Last, Err: err}
	}
	last = min(last, q.Last)
	if r.next < q.First {
		return fmt.Errorf("%s: batch begins at index %d, want %d", p.path, q.First, r.next)
	}
	switch {
	case q.Damage != nil:
		return r.salvage(f, q, last, damage(q.Damage))
	case q.Lost:
		for r.next <= last {
			if err := r.loose(ErrLost); err != nil {
				return err
			}
		}
		return nil
	}
	body := q.Entries
	for index := q.First; index <= last; index++ {
		n := bytes.IndexByte(body, '\n')
		if n < 0 {
			return r.salvage(f, q, last, damage(fmt.Errorf("%w: batch has fewer entries than its header says", ErrDamaged)))
		}
		entry := body[:n]
		body = body[n+1:]
		if index < r.next {
			continue
		}
		rec, err := r.record(index)
		switch {
		case err == nil && !rec.Lost() && segment.Sum(entry) != rec.Hash:
			err = r.emit(nil, damage(fmt.Errorf("%w: entry hashes to %s, the index has %s", ErrDamaged, segment.Sum(entry), rec.Hash)))
		case err != nil && q.Fault != nil:
			// Whole, but not in its place, and no record says that it is this entry.
			err = r.emit(nil, damage(q.Fault))
		default:
			err = r.emit(entry, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loose hands on the entry at the cursor from its blob, or why that is not
// possible: what is wrong with its segment, and with its record or blob.
func (r *reading) loose(why error) error {
	rec, err := r.record(r.next)
	if err != nil {
		return r.emit(nil, fmt.Errorf("%w, and its index record is not to be had either: %v", why, err))
	}
	if rec.Lost() {
		return r.emit(nil, ErrLost)
	}
	entry, err := r.blob(rec)
	if err != nil {
		return r.emit(nil, fmt.Errorf("%w; %v", why, err))
	}
	return r.emit(entry, nil)
}

func (r *reading) blob(rec segment.Record) ([]byte, error) {
	if r.blobs == "" {
		return nil, segment.ErrNotFound
	}
	return segment.ReadBlob(r.blobs, rec)
}

// salvage hands on the entries from the cursor through last that lie in the
// bytes of q, which are no whole batch because of why. Whatever of them hashes
// to what the index has is as it was written; so is a blob that does.
func (r *reading) salvage(f *os.File, q segment.Piece, last uint64, why error) error {
	var found map[segment.Hash][]byte
	for r.next <= last {
		rec, err := r.record(r.next)
		if err != nil || rec.Lost() {
			if err := r.loose(why); err != nil {
				return err
			}
			continue
		}
		if entry, err := r.blob(rec); err == nil {
			if err := r.emit(entry, nil); err != nil {
				return err
			}
			continue
		}
		if found == nil {
			found = lines(f, q.Offset, q.End)
		}
		if entry, ok := found[rec.Hash]; ok {
			why := r.emit(entry, nil)
			if why != nil {
				return why
			}
			continue
		}
		if err := r.emit(nil, why); err != nil {
			return err
		}
	}
	return nil
}

// lines returns what may be entries in the bytes from off to end of f, by hash.
func lines(f *os.File, off, end int64) map[segment.Hash][]byte {
	found := make(map[segment.Hash][]byte)
	b := make([]byte, end-off)
	n, err := f.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return found
	}
	for line := range bytes.SplitSeq(b[:n], []byte{'\n'}) {
		found[segment.Sum(line)] = line
		// The first entry of a batch comes right behind the header. That may hold
		// newlines of its own, in its checksum as its last bytes as well, and always
		// holds zeros, as no entry does.
		junk := 4
		if bytes.IndexByte(line, 0) >= 0 {
			junk = 2 * segment.BatchHeaderSize
		}
		for i, c := range line[:min(len(line), junk)] {
			if c == '{' || c == '[' || c == 'n' {
				found[segment.Sum(line[i:])] = line[i:]
			}
		}
	}
	return found
}

var (
	errNoIndex  = errors.New("the log keeps its index in memory")
	errNoRecord = fmt.Errorf("%w: the index ends before it", segment.ErrNotFound)
)

// record returns the index record of one entry.
func (r *reading) record(index uint64) (segment.Record, error) {
	if index >= r.at && index-r.at < uint64(len(r.recs)) {
		return r.recs[index-r.at], nil
	}
	switch {
	case r.wal == "":
		return segment.Record{}, errNoIndex
	case index > r.known:
		return segment.Record{}, errNoRecord
	case r.records == nil:
		r.records = segment.NewRecordReader(r.wal)
		r.recs = make([]segment.Record, 1024)
	}
	n, err := r.records.Read(index, r.recs[:min(uint64(cap(r.recs)), r.known-index+1)])
	r.at, r.recs = index, r.recs[:n]
	if n == 0 {
		return segment.Record{}, err
	}
	return r.recs[0], nil
}
