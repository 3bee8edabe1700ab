package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// Digest returns the digest of the hashes and times of the entries from..through. For an entry
// that is recorded as lost, the hash is zeros. From index 1 on it is the digest of fsck.
//
// Hashes come from the index as far as it goes, which takes about a millisecond for 10,000
// entries, so an entry that was altered since it was settled is noticed only when it is read;
// later hashes come from the entries. If one of these cannot be read, that is an error, and so
// is an index beyond the head.
func (l *Log) Digest(ctx context.Context, from, through uint64) (appends.Digest, error) {
	if head := l.head.Load(); from < 1 || through < from || through > head {
		return appends.Digest{}, fmt.Errorf("digest of %d to %d: the log has entries 1 to %d", from, through, head)
	}
	d := newDigester(ctx, l)
	defer d.close()
	for d.next = from; d.next <= through; {
		if err := d.step(through); err != nil {
			return appends.Digest{}, fmt.Errorf("digest of %d to %d: %w", from, through, err)
		}
	}
	return d.sums.Sum(), nil
}

// digester sums the hashes and times of entries in order.
type digester struct {
	ctx     context.Context
	log     *Log
	records *reader // for its records; nil in memory
	next    uint64
	sums    *appends.Digester
}

func newDigester(ctx context.Context, l *Log) *digester {
	d := &digester{ctx: ctx, log: l, sums: appends.NewDigester()}
	if l.disk != nil {
		d.records = &reader{disk: l.disk}
	}
	return d
}

func (d *digester) close() {
	if d.records != nil {
		d.records.close()
	}
}

// add adds the entry at next.
func (d *digester) add(hash segment.Hash, time int64) {
	d.sums.Add(hash, time)
	d.next++
}

// step adds some entries from next on, none after through.
func (d *digester) step(through uint64) error {
	disk := d.log.disk
	if disk == nil || d.next > disk.settled.Load() {
		return d.read(through)
	}
	through = min(through, disk.settled.Load())
	seg, first := disk.find(d.next)
	if seg == nil {
		return d.index(min(through, first-1), true)
	}
	through = min(through, seg.Last())
	lost, err := seg.LostRuns(d.next, through)
	if again, _ := disk.find(d.next); errors.Is(err, fs.ErrNotExist) && again != seg {
		return nil // it was removed just now
	}
	if err != nil {
		return d.read(through) // reads report the damage, entry by entry
	}
	for _, run := range lost {
		if err := d.index(run[0]-1, false); err != nil {
			return err
		}
		// The index may have their former hashes: they are lost unless they can be read.
		if err := d.read(run[1]); err != nil {
			return err
		}
	}
	return d.index(through, false)
}

// index adds the entries from next through last by their index records. loose says that no
// segment has them, so an entry is lost if its record says so.
func (d *digester) index(last uint64, loose bool) error {
	for d.next <= last {
		rec, err := d.records.settledRecords().At(d.next)
		if err == nil && (loose || !rec.Lost()) {
			if rec.Lost() {
				rec.Hash = segment.Hash{} // at best the former hash
			}
			d.add(rec.Hash, rec.Time)
			if d.next%1024 == 0 && d.ctx.Err() != nil {
				return d.ctx.Err()
			}
			continue
		}
		through := d.next
		for through < last && err == nil { // many lost entries are read at once
			if rec, err = d.records.settledRecords().At(through + 1); err != nil || !rec.Lost() {
				break
			}
			through++
		}
		if err := d.read(through); err != nil {
			return err
		}
	}
	return nil
}

// read adds the entries from next through last by reading them.
func (d *digester) read(last uint64) error {
	return d.log.store.read(d.ctx, d.next, last, func(first uint64, count int, entries []byte, time int64, err error) error {
		switch {
		case errors.Is(err, ErrLost):
			for range count {
				d.add(segment.Hash{}, time)
			}
		case err != nil:
			return fmt.Errorf("entry %d: %w", first, err)
		}
		for len(entries) > 0 {
			n := lineEnd(entries)
			d.add(segment.Sum(entries[:n-1]), time)
			entries = entries[n:]
		}
		return nil
	})
}
