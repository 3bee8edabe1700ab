package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"syscall"

	"tcp-log-server/segment"
)

// looseRun is how many bytes of blobs are handed on as one run.
const looseRun = 256 << 10

// reader is one read of a disk: a cursor that goes from segment to segment, and
// through the blobs of the entries whose segments are gone. Between two reads
// that follow each other it is parked with its file open and its batch verified.
type reader struct {
	*disk
	ctx     context.Context
	next    uint64 // the cursor
	through uint64
	fn      ReadFunc
	time    int64 // when what fn is given was committed, in µs since 1970 UTC

	seg  *segment.Segment // that from reads; nil when there is none
	from *segment.Reader
	held segment.Batch // the last one from has read

	records *segment.RecordReader
	found   []segment.Record
	blobRun []byte
}

func (r *reader) run() error {
	for r.next <= r.through {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		var err error
		switch {
		case r.held.Count > 0 && r.held.First <= r.next && r.next <= r.held.Last():
			r.time = r.held.Time
			err = r.emit(r.held.First, int(r.held.Count), r.held.Entries)
		case r.seg != nil && r.next <= r.seg.Last():
			err = r.batch()
		default:
			err = r.enter()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// enter opens the segment that holds the cursor, or reads the blobs before it.
func (r *reader) enter() error {
	r.leave()
	seg, first := r.find(r.next)
	if seg == nil {
		return r.readLoose(min(r.through, first-1))
	}
	from, err := seg.NewReader(r.next)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if again, _ := r.find(r.next); again != seg {
			return nil // it was removed just now: its entries are in blobs
		}
		return r.damaged(min(r.through, seg.Last()), err)
	case lacksFiles(err):
		return err
	case err != nil:
		return r.salvage(seg, nil, min(seg.Last(), r.through), err)
	}
	r.seg, r.from = seg, from
	return nil
}

// lacksFiles reports whether err says that the process, or the machine, has no
// more files to open. That is no fault of any entry: it ends the read.
func lacksFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// batch reads the segment's next batch, to be handed on from held, or deals with
// one that holds nothing or cannot be trusted.
func (r *reader) batch() error {
	r.held = segment.Batch{}
	b, err := r.from.Next()
	var damage *segment.DamageError
	switch {
	case errors.As(err, &damage):
		defer r.leave() // the cursor may stop short of where from has gone on to
		return r.salvage(r.seg, r.from, min(damage.Last, r.through), err)
	case errors.Is(err, io.EOF):
		return r.enter() // behind what it was opened for
	case err != nil:
		return err
	case b.Lost():
		defer r.leave()
		r.time = b.Time
		return r.salvage(r.seg, nil, min(b.Last(), r.through), ErrLost)
	}
	r.held = b
	return nil
}

// leave closes the segment.
func (r *reader) leave() {
	if r.from != nil {
		r.from.Close()
	}
	r.seg, r.from, r.held = nil, nil, segment.Batch{}
}

// emit hands on the run of count entries that begins at the cursor or before.
func (r *reader) emit(first uint64, count int, entries []byte) error {
	first, count, entries = clip(first, count, entries, r.next, r.through)
	if err := r.fn(first, count, entries, nil); err != nil {
		return err
	}
	r.next = first + uint64(count)
	return nil
}

// damaged hands on that the entries from the cursor through last cannot be read.
func (r *reader) damaged(last uint64, err error) error {
	last = min(last, r.through)
	if err := r.fn(r.next, int(last-r.next+1), nil, err); err != nil {
		return err
	}
	r.next = last + 1
	return nil
}

// salvage goes through the entries from the cursor to last, whose batch does
// not check out because of why. Two witnesses are left: the hash that the index
// has of an entry, and the bytes in the batch or a blob that match it.
func (r *reader) salvage(seg *segment.Segment, from *segment.Reader, last uint64, why error) error {
	var first uint64
	var raw []byte
	if from != nil {
		var err error
		if first, raw, err = from.Raw(r.next); err != nil {
			raw = nil
		}
	}
	// Where each entry lies in the batch follows from the sizes in the index.
	off := 0
	for index := first; raw != nil && index < r.next; index++ {
		rec, err := r.record(index)
		if err != nil {
			raw = nil
			break
		}
		off += int(rec.Size) + 1
	}
	for r.next <= last {
		rec, err := r.record(r.next)
		if lacksFiles(err) {
			return err
		}
		if err != nil {
			return r.damaged(last, fmt.Errorf("%w (and no index record to check its parts with: %v)", why, err))
		}
		entry, err := r.whole(rec, raw, off)
		if raw != nil {
			off += int(rec.Size) + 1
		}
		switch {
		case lacksFiles(err):
		case err != nil:
			err = r.damaged(r.next, why)
		default:
			err = r.emit(r.next, 1, append(entry[:len(entry):len(entry)], '\n'))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whole returns the entry of the record, from raw at off if it is there, else
// from its blob.
func (r *reader) whole(rec segment.Record, raw []byte, off int) ([]byte, error) {
	if end := off + int(rec.Size); rec.Size > 0 && end <= len(raw) {
		if entry := raw[off:end]; segment.Sum(entry) == rec.Hash {
			return entry, nil
		}
	}
	return r.blob(rec)
}

// blob returns the entry of the record from its blob.
func (r *reader) blob(rec segment.Record) ([]byte, error) {
	if r.blobs == nil {
		return nil, segment.ErrNotFound
	}
	return r.blobs.Get(rec)
}

// record returns the index record of one settled entry.
func (r *reader) record(index uint64) (segment.Record, error) {
	recs, err := r.recordsFrom(index, 1)
	if err != nil {
		return segment.Record{}, err
	}
	return recs[0], nil
}

// recordsFrom returns up to n records from index on, at least one.
func (r *reader) recordsFrom(index uint64, n int) ([]segment.Record, error) {
	if settled := r.settled.Load(); index > settled {
		return nil, fmt.Errorf("%w: index %d is not settled", segment.ErrNotFound, index)
	}
	if r.records == nil {
		r.records = segment.NewRecordReader(r.cfg.WAL)
	}
	if cap(r.found) < n {
		r.found = make([]segment.Record, n)
	}
	got, err := r.records.Read(index, r.found[:n])
	if got == 0 {
		return nil, err
	}
	return r.found[:got], nil
}

// readLoose reads the entries from the cursor through last from their blobs.
func (r *reader) readLoose(last uint64) error {
	for r.next <= last {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		recs, err := r.recordsFrom(r.next, int(min(last-r.next+1, 512)))
		if lacksFiles(err) {
			return err
		}
		if err != nil {
			if err := r.damaged(r.next, err); err != nil {
				return err
			}
			continue
		}
		first, count := r.next, 0
		r.blobRun = r.blobRun[:0]
		for _, rec := range recs {
			entry, err := r.blob(rec)
			if err != nil || len(r.blobRun) > looseRun {
				if count > 0 {
					if err := r.emit(first, count, r.blobRun); err != nil {
						return err
					}
				}
				first, count, r.blobRun = first+uint64(count), 0, r.blobRun[:0]
			}
			if lacksFiles(err) {
				return err
			}
			if err != nil {
				if rec.Lost() {
					err = ErrLost
				}
				if err := r.damaged(r.next, err); err != nil {
					return err
				}
				first++
				continue
			}
			r.blobRun = append(append(r.blobRun, entry...), '\n')
			count++
		}
		if count > 0 {
			if err := r.emit(first, count, r.blobRun); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) close() {
	r.leave()
	if r.records != nil {
		r.records.Close()
	}
}

// parkMax is how many readers are kept for the read that goes on where theirs
// has ended. Each holds a file and a buffer of up to a batch.
const parkMax = 16

// parking keeps readers between reads: a client that pulls, or a follower, comes
// back for the entry behind the last it was given.
type parking struct {
	mu      sync.Mutex
	readers []*reader // the longest parked first
}

// take returns a reader whose cursor is at next, or nil.
func (p *parking) take(next uint64) *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range p.readers {
		if r.next == next {
			p.readers = slices.Delete(p.readers, i, i+1)
			return r
		}
	}
	return nil
}

// put parks a reader that has come to its end.
func (p *parking) put(r *reader) {
	r.ctx, r.fn = nil, nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.readers) == parkMax {
		p.readers[0].close()
		p.readers = slices.Delete(p.readers, 0, 1)
	}
	p.readers = append(p.readers, r)
}

// clear closes all that are parked.
func (p *parking) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.readers {
		r.close()
	}
	p.readers = nil
}
