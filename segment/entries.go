package segment

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// ErrLost: fsck has recorded that the entry is lost for good.
var ErrLost = errors.New("lost, as recorded by fsck")

// EntriesFunc gets a run of entries that were committed at time, in µs since 1970
// UTC: count of them from index first on, each followed by a newline in entries,
// which is valid during the call only. If err is not nil, it says why those
// entries cannot be read.
type EntriesFunc func(first uint64, count int, entries []byte, time int64, err error) error

// Witnesses are what proves entries besides the batches that hold them: the hashes
// in the index, and the blobs in a directory, which may be Memory.
type Witnesses struct {
	Records *Records
	Blobs   string
}

// Loose hands fn the entry at index from its blob, or the reason why that is not
// possible: why, which says what is wrong with its segment, and what is wrong with
// its record or blob. The error is fn's.
func (w Witnesses) Loose(index uint64, why error, fn EntriesFunc) error {
	return w.entry(index, nil, why, fn)
}

// entry hands on the entry at index from what is left of its batch, else from its
// blob. Whatever has the hash that is in the index is as it was written.
func (w Witnesses) entry(index uint64, left *Salvager, why error, fn EntriesFunc) error {
	rec, err := w.Records.At(index)
	if err != nil {
		left.Skip()
		return fn(index, 1, nil, 0, fmt.Errorf("%w, and its index record cannot be read either: %w", why, err))
	}
	if rec.Lost() {
		left.Skip()
		return fn(index, 1, nil, rec.Time, ErrLost)
	}
	entry, ok := left.Find(rec)
	if !ok {
		if entry, err = ReadBlob(w.Blobs, rec); err != nil {
			return fn(index, 1, nil, rec.Time, fmt.Errorf("%w; %w", why, err))
		}
	}
	return fn(index, 1, append(entry[:len(entry):len(entry)], '\n'), rec.Time, nil)
}

// Read hands fn the entries from..last of the segment, which should hold them, in
// order, as far as they are proved: by the checksum of their batch and the hash
// that the index has, if it has one; in place of a whole batch, by that hash alone,
// wherever their bytes are found in what is left of the batch, or in a blob. An
// entry that cannot be read is handed on with an error, which wraps ErrDamaged or
// ErrLost.
//
// It reads the segment from its beginning, for damage can reach further than the
// batch in which it is met. next is the first index that was not handed on: because
// fn returned err, or because the file could not be read any further, which is why.
// Otherwise it is last+1. why wraps fs.ErrNotExist where the file has been removed.
func (f *File) Read(from, last uint64, w Witnesses, fn EntriesFunc) (next uint64, why, err error) {
	if f.Err != nil {
		return from, f.Err, nil
	}
	file, why := OpenRegular(f.Path)
	if why != nil {
		return from, why, nil
	}
	defer file.Close()
	r := &fileReader{f: f, file: file, w: w, fn: fn, next: from, last: last}
	why, err = r.run()
	return r.next, why, err
}

// fileReader is one call of File.Read.
type fileReader struct {
	f          *File
	file       *os.File
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
	// The last batches are damaged, and nothing after them tells where one ends.
	p := Piece{Offset: walked.End, End: r.f.Size, First: walked.Last + 1, Last: max(r.last, r.f.Through), Damage: walked.Why}
	if p.Damage == nil {
		p.Damage = r.f.tailErr()
	}
	return nil, r.salvage(p, p.Damage)
}

// tailErr says why nothing follows the batches of the file.
func (f *File) tailErr() error {
	if f.Walked.Why != nil {
		return f.Walked.Why
	}
	return fmt.Errorf("%w: the batches end here", ErrDamaged)
}

// hand hands on count entries from the next on.
func (r *fileReader) hand(count int, entries []byte, time int64, err error) error {
	first := r.next
	r.next += uint64(count)
	return r.fn(first, count, entries, time, err)
}

// damage is an error of a piece of the file.
func (r *fileReader) damage(p Piece, err error) error {
	return &DamageError{Path: r.f.Path, Offset: p.Offset, First: p.First, Last: p.Last, Err: err}
}

// piece hands on what a batch, or what is left of it, holds from the next entry
// through the last.
func (r *fileReader) piece(p Piece) error {
	switch {
	case p.Damage != nil:
		return r.salvage(p, p.Damage)
	case p.Lost:
		for r.next <= min(r.last, p.Last) {
			if err := r.loose(nil, ErrLost); err != nil {
				return err
			}
		}
		return nil
	}
	// Entries that are whole go together, from run on.
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

// wrong says why an entry of a whole batch is not the one at index, nil if nothing
// says so.
func (r *fileReader) wrong(p Piece, index uint64, entry []byte) error {
	rec, err := r.w.Records.At(index)
	switch {
	case err == nil && !rec.Lost():
		if got := Sum(entry); got != rec.Hash {
			return fmt.Errorf("%w: entry hashes to %s, the index has %s", ErrDamaged, got, rec.Hash)
		}
		return nil
	case err != nil:
		return p.Fault // whole, but not in its place, and no record proves it
	}
	return nil
}

// loose hands on the next entry from what is left of its batch or its blob.
func (r *fileReader) loose(left *Salvager, why error) error {
	index := r.next
	r.next++
	return r.w.entry(index, left, why, r.fn)
}

// salvage hands on the entries from the next through the last that lie in the bytes
// of p, which are no whole batch because of why.
func (r *fileReader) salvage(p Piece, why error) error {
	left := NewSalvager(r.file, p.Offset, p.End)
	if r.next > p.First {
		left.Skip()
	}
	why = r.damage(p, why)
	for r.next <= min(r.last, p.Last) {
		if err := r.loose(left, why); err != nil {
			return err
		}
	}
	return nil
}

// File is the segment as it is now, for File.Read.
func (s *Segment) File() *File {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &File{
		Path: s.Path, First: s.Header.First, Last: s.last, Through: s.last, Size: s.end, End: s.end,
		Header: s.Header, HeaderSum: Checksum(s.Header.appendTo(nil)[:HeaderSize-4]),
		Footer: s.footer, Sealed: s.sealed, Sum: s.sum,
	}
}
