package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrLost: fsck has recorded that the entry is permanently lost.
var ErrLost error = lostError{}

// lostError is the type of ErrLost. Its method Lost is for packages that do not import this one.
type lostError struct{}

func (lostError) Error() string { return "lost, as recorded by fsck" }
func (lostError) Lost() bool    { return true }

// EntriesFunc receives a run of entries that were committed at time, in µs since 1970 UTC:
// count of them from index first on, each followed by a newline in entries, which is valid
// only during the call. If err is not nil, it says why those entries cannot be read.
type EntriesFunc func(first uint64, count int, entries []byte, time int64, err error) error

// Witnesses prove entries in addition to the batches that hold them: the hashes in the
// index, and the blobs, of which there are none if Blobs is nil. Context is for reading
// blobs.
type Witnesses struct {
	Context context.Context
	Records *Records
	Blobs   BlobStore
}

// Read passes to fn the entries from..last, which are in no intact batch because of why:
// each from its blob, or with the reason why that is impossible, which wraps why or
// ErrLost. time is used for entries without a record. The error is fn's.
func (w Witnesses) Read(from, last uint64, time int64, why error, fn EntriesFunc) error {
	return w.read(from, last, nil, time, why, fn)
}

// read is Read, but first looks for the entries in what is left of their batch. Any bytes
// that match the hash in the index are as they were written.
func (w Witnesses) read(from, last uint64, left *Salvager, time int64, why error, fn EntriesFunc) error {
	for index := from; index <= last; index++ {
		rec, err := w.Records.At(index)
		if err != nil {
			count := 1
			if index > w.Records.Through() {
				count = int(last - index + 1) // no later entry has one either
			}
			left.Skip()
			if err := fn(index, count, nil, time, fmt.Errorf("%w, and the index does not make up for it: %w", why, err)); err != nil || count > 1 {
				return err
			}
			continue
		}
		if rec.Lost() {
			left.Skip()
			if err := fn(index, 1, nil, rec.Time, ErrLost); err != nil {
				return err
			}
			continue
		}
		entry, ok := left.Find(rec)
		if !ok {
			entry, err = ReadBlob(w.Context, w.Blobs, rec)
		}
		if err != nil {
			err = fmt.Errorf("%w; %w", why, err)
		} else {
			entry = append(entry, '\n')
		}
		if err := fn(index, 1, entry, rec.Time, err); err != nil {
			return err
		}
	}
	return nil
}

// Read passes to fn, in order, the entries from..last of the segment, which should hold
// them, as far as they are proved: by the checksum of their batch and the hash in the
// index, if there is one; without an intact batch, by that hash alone, wherever their
// bytes are found in what is left of the batch, or in a blob. An entry that cannot be read
// is passed on with an error, which wraps ErrDamaged or ErrLost.
//
// It reads the segment from its beginning, for damage can reach further than the batch in
// which it is first seen. err is fn's. If the file cannot be read, next is the first index
// that was not passed on, and why is the reason, which wraps fs.ErrNotExist if the file
// has been removed. Otherwise next is last+1.
func (f *File) Read(from, last uint64, w Witnesses, fn EntriesFunc) (next uint64, why, err error) {
	if f.Err != nil {
		return from, f.Err, nil
	}
	file, why := OpenRegular(f.Path)
	if why != nil {
		return from, why, nil
	}
	defer file.Close()
	return f.ReadFrom(file, from, last, w, fn)
}

// ReadFrom is Read for a segment whose bytes come from src.
func (f *File) ReadFrom(src io.ReaderAt, from, last uint64, w Witnesses, fn EntriesFunc) (next uint64, why, err error) {
	r := &fileReader{f: f, file: src, w: w, fn: fn, next: from, last: last}
	why, err = r.run()
	return r.next, why, err
}

// fileReader is one call of File.Read.
type fileReader struct {
	f          *File
	file       io.ReaderAt
	w          Witnesses
	fn         EntriesFunc
	next, last uint64
}

var errStop = errors.New("stop")

func (r *fileReader) run() (why, err error) {
	walked, why := Walk(r.file, r.f.First, r.f.HeaderSum, r.f.Known(), r.f.End, func(p Piece) error {
		if p.Last < r.next {
			return nil
		}
		if err = r.piece(p); err != nil || r.next > r.last {
			return errStop
		}
		return nil
	})
	switch {
	case why == errStop || r.next > r.last:
		return nil, err
	case why != nil:
		return why, nil
	}
	// The last batches are damaged, and nothing after them shows where one ends.
	p := Piece{Offset: walked.End, End: r.f.BatchesEnd(), First: walked.Last + 1, Last: max(r.last, r.f.Through), Damage: walked.Why}
	if p.Damage == nil {
		p.Damage = r.f.tailErr()
	}
	return nil, r.salvage(p, p.Damage)
}

// tailErr returns why nothing follows the batches of the file.
func (f *File) tailErr() error {
	if f.Walked.Why != nil {
		return f.Walked.Why
	}
	return fmt.Errorf("%w: the batches end here", ErrDamaged)
}

// hand passes on count entries from the next on.
func (r *fileReader) hand(count int, entries []byte, time int64, err error) error {
	first := r.next
	r.next += uint64(count)
	return r.fn(first, count, entries, time, err)
}

// damage returns the error for a piece of the file.
func (r *fileReader) damage(p Piece, err error) error {
	return &DamageError{Path: r.f.Path, Offset: p.Offset, First: p.First, Last: p.Last, Err: err}
}

// piece passes on the entries in a batch, or in what is left of it, from the next entry
// through the last.
func (r *fileReader) piece(p Piece) error {
	switch {
	case p.Damage != nil:
		return r.salvage(p, p.Damage)
	case p.Lost:
		return r.loose(p, nil, ErrLost)
	}
	// Intact entries are passed on together, from run on.
	body := p.Entries
	run := body[:0]
	count := 0
	flush := func() error {
		if count == 0 {
			return nil
		}
		n := count
		count = 0
		return r.hand(n, run, p.Time, nil)
	}
	for index := p.First; index <= min(r.last, p.Last); index++ {
		n := bytes.IndexByte(body, '\n')
		if n < 0 {
			if err := flush(); err != nil {
				return err
			}
			return r.salvage(p, fmt.Errorf("%w: batch has fewer entries than its header says", ErrDamaged))
		}
		line := body[:n+1]
		body = body[n+1:]
		if index < r.next {
			continue
		}
		if wrong := r.wrong(p, index, line[:n]); wrong != nil {
			if err := flush(); err != nil {
				return err
			}
			if err := r.hand(1, nil, p.Time, r.damage(p, wrong)); err != nil {
				return err
			}
			continue
		}
		if count == 0 {
			run = line[:0]
		}
		run = run[:len(run)+len(line)]
		count++
	}
	return flush()
}

// wrong returns why an entry of an intact batch is not the one at index, nil if nothing
// says so.
func (r *fileReader) wrong(p Piece, index uint64, entry []byte) error {
	rec, err := r.w.Records.At(index)
	switch {
	case err == nil && !rec.Lost():
		if got := Sum(entry); got != rec.Hash {
			return fmt.Errorf("%w: entry hashes to %s, the index has %s", ErrDamaged, got, rec.Hash)
		}
		return nil
	case err != nil && p.parted:
		return p.Fault // intact, but perhaps of another history, and no record proves it
	}
	return nil
}

// loose passes on the entries from the next through the last of p that are proved other
// than by an intact batch.
func (r *fileReader) loose(p Piece, left *Salvager, why error) error {
	from, last := r.next, min(r.last, p.Last)
	r.next = last + 1
	return r.w.read(from, last, left, p.Time, why, r.fn)
}

// salvage passes on the entries in the bytes of p, which are not an intact batch because
// of why.
func (r *fileReader) salvage(p Piece, why error) error {
	left := NewSalvager(r.file, p.Offset, p.End)
	// The place of an entry follows from the entries before it.
	for index := p.First; left != nil && index < r.next && index <= r.w.Records.Through(); index++ {
		if rec, err := r.w.Records.At(index); err == nil {
			left.Find(rec)
		} else {
			left.Skip()
		}
	}
	return r.loose(p, left, r.damage(p, why))
}

// File returns the segment as it is now, for File.Read.
func (s *Segment) File() *File {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &File{
		Path: s.Path, First: s.Header.First, Last: s.last, Through: s.last, Size: s.end, End: s.end,
		Header: s.Header, HeaderSum: Checksum(s.Header.appendTo(nil)[:HeaderSize-4]),
		Footer: s.footer, Sealed: s.sealed, Sum: s.sum,
	}
}
