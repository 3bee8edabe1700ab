package reader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tcp-log-server/segment"
)

// EntryFunc gets one entry: its canonical JSON, valid only during the call, and the time it was
// stored in µs since 1970 UTC, 0 if unknown; or why it is unreadable. If it returns an error, the
// read ends.
type EntryFunc func(index uint64, entry []byte, time int64, err error) error

// Read hands fn the entries from..through in order, as far as the head; a from of 0 counts as 1. It
// verifies each by the checksum of its batch and by its hash in the index. An unreadable entry is
// handed on with an error that wraps ErrDamaged or ErrLost, and the read continues.
//
// Read returns fn's error, that of ctx, or nil. Any number of reads may run at once.
func (l *Log) Read(ctx context.Context, from, through uint64, fn EntryFunc) error {
	records := segment.NewRecords(l.Dirs.WAL, l.Records)
	defer records.Close()
	witnesses := segment.Witnesses{Context: ctx, Records: records, Blobs: l.Dirs.Store()}
	each := func(index uint64, count int, entries []byte, time int64, err error) error {
		for range count {
			if err := ctx.Err(); err != nil {
				return err
			}
			var entry []byte
			entry, entries, _ = bytes.Cut(entries, []byte{'\n'})
			if err := fn(index, entry, time, err); err != nil {
				return err
			}
			index++
		}
		return nil
	}
	for next, through := max(from, 1), min(through, l.Head()); next <= through; {
		if err := ctx.Err(); err != nil {
			return err
		}
		last, why := through, errNoSegment
		f, after := l.Find(next)
		switch {
		case f != nil:
			last = min(f.Through, through)
			var err error
			if next, why, err = f.Read(next, last, witnesses, each); err != nil {
				return err
			}
			if errors.Is(why, fs.ErrNotExist) {
				why = errNoSegment
			} else if why != nil && !errors.Is(why, ErrDamaged) {
				why = fmt.Errorf("%w: %w", ErrDamaged, why)
			}
		case after > 0:
			last = min(last, after-1)
		}
		if why == errNoSegment && next <= last {
			// A server may have removed the segment in the meantime.
			note, err := segment.ReadArchived(l.Dirs.Data)
			if err != nil {
				return err
			}
			ok, run := note.Holds(next, last)
			if last = run; ok {
				return fmt.Errorf("entries %d to %d %w at %s: read them there, or from the server", next, last, ErrArchived, note.URL)
			}
		}
		if why == errNoSegment {
			// A server may have removed the segment: then its entries are in blobs, and their records
			// exist now.
			records.Extend(segment.FindLastRecord(l.Dirs.WAL))
		}
		if next <= last {
			if err := witnesses.Read(next, last, 0, why, each); err != nil {
				return err
			}
			next = last + 1
		}
	}
	return nil
}

var errNoSegment = fmt.Errorf("%w: no segment holds it", ErrDamaged)
