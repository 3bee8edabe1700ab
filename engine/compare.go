package engine

import (
	"context"
	"errors"
	"fmt"

	"tcp-log-server/segment"
)

// errSeen ends a read that has seen enough.
var errSeen = errors.New("seen")

// checkLastRecord refuses an index whose last record is not that of the entry in the
// segments: the index of a copy of this log that went on by itself. It reads one batch.
// A record or an entry that cannot be read is for fsck, and for reads, to say.
func (d *disk) checkLastRecord(last uint64) error {
	if last == 0 || d.cfg.WAL == Memory || len(d.segments) == 0 || last < d.segments[0].Header.First {
		return nil
	}
	recs, err := segment.ReadRecords(d.cfg.WAL, last, last)
	if err != nil {
		return nil
	}
	var found error
	r := &reader{disk: d, ctx: context.Background(), next: last, through: last}
	defer r.close()
	r.fn = func(_ uint64, _ int, entries []byte, err error) error {
		if err != nil || r.batch.Count == 0 {
			return errSeen // no whole batch
		}
		if hash := segment.Sum(entries[:lineEnd(entries)-1]); recs[0].Hash != hash {
			path, _, off := segment.RecordPath(d.cfg.WAL, last)
			found = &segment.DamageError{Path: path, Offset: off, First: last, Last: last,
				Err: fmt.Errorf("%w: the record has the hash %s, the entry in the segments %s: is it the index of another copy of this log?", ErrDamaged, recs[0].Hash, hash)}
		}
		return errSeen
	}
	_ = r.run()
	return found
}
