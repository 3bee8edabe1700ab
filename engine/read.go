package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"tcp-log-server/segment"
)

// looseRun is how many bytes of blobs are handed on as one run.
const looseRun = 256 << 10

// reader is one read of a disk: a cursor that goes from segment to segment, and
// through the blobs of the entries whose segments are gone.
type reader struct {
	*disk
	ctx     context.Context
	next    uint64 // the cursor
	through uint64
	fn      ReadFunc
	time    int64 // when what fn is given was committed, in µs since 1970 UTC

	records *segment.RecordReader
	found   []segment.Record
	blobRun []byte
}

func (r *reader) run() error {
	for r.next <= r.through {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		seg, first := r.find(r.next)
		var err error
		if seg == nil {
			err = r.readLoose(min(r.through, first-1))
		} else {
			err = r.readSegment(seg)
			if errors.Is(err, fs.ErrNotExist) {
				if again, _ := r.find(r.next); again != seg {
					continue // it was removed just now: its entries are in blobs
				}
				err = r.damaged(min(r.through, seg.Last()), err)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
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

// readSegment reads from the cursor to the end of the segment, batch by batch.
func (r *reader) readSegment(seg *segment.Segment) error {
	from, err := seg.NewReader(r.next)
	if err != nil {
		if errors.Is(err, segment.ErrDamaged) {
			return r.salvage(seg, nil, min(seg.Last(), r.through), err)
		}
		return err
	}
	defer from.Close()
	for r.next <= r.through {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		b, err := from.Next()
		r.time = b.Time
		var damage *segment.DamageError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &damage):
			err = r.salvage(seg, from, min(damage.Last, r.through), err)
		case err == nil && b.Lost():
			err = r.salvage(seg, nil, min(b.Last(), r.through), ErrLost)
		case err == nil:
			err = r.emit(b.First, int(b.Count), b.Entries)
		}
		if err != nil {
			return err
		}
	}
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
		if err != nil {
			return r.damaged(last, fmt.Errorf("%w (and no index record to check its parts with: %v)", why, err))
		}
		entry, err := r.whole(rec, raw, off)
		if raw != nil {
			off += int(rec.Size) + 1
		}
		if err != nil {
			err = r.damaged(r.next, why)
		} else {
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
	if r.records != nil {
		r.records.Close()
	}
}
