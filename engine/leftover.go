package engine

import (
	"context"
	"fmt"
	"path/filepath"

	"tcp-log-server/segment"
)

// A copy of the directories of a running log can hold a segment that was removed a moment
// later, and lack the one after it, which was removed before the copy reached it. Neither the
// log nor the copy lost anything: it has all entries of both as records and blobs. Such
// segments, before a gap that records and blobs fill, are leftovers.

// passOver treats the segments so far as leftovers because of the gap before f; why says that f
// does not follow them. It returns why if there is no such gap.
func (d *disk) passOver(f *segment.File, why error) error {
	n := len(d.segments)
	if n == 0 || !f.Known() || f.Header.Store != d.id || f.First <= d.segments[n-1].Last()+1 {
		return why
	}
	d.leftover, d.segments = append(d.leftover, d.segments...), nil
	if d.gap == nil {
		d.gap = why
	}
	return nil
}

// checkLeftover refuses leftovers unless every entry from their first on, through need, is
// proved to exist: by its record, and a blob of that size and hash.
func (d *disk) checkLeftover(need uint64, store *segment.Store) error {
	if len(d.leftover) == 0 {
		return nil
	}
	if d.cfg.WAL == Memory || d.blobs == nil {
		return d.gap
	}
	if store.Records < need {
		return d.gap
	}
	err := d.archived.loose(d.leftover[0].Header.First, need, func(first, last uint64) error {
		return d.inBlobs(context.Background(), first, last)
	})
	if err != nil {
		return fmt.Errorf("%w (and blobs do not make up for it: %v)", d.gap, err)
	}
	return nil
}

// removeLeftover removes the leftovers, oldest first.
func (d *disk) removeLeftover() error {
	for _, s := range d.leftover {
		if err := segment.Remove(s.Path); err != nil {
			return err
		}
		d.log.Warn().Str("event", "removed").Str("segment", filepath.Base(s.Path)).
			Uint64("first", s.Header.First).Uint64("last", s.Last()).
			Msg("a segment that a copy of a running log was left with; its entries are in the index and in blobs")
	}
	d.leftover = nil
	return nil
}

// inBlobs reads the records and blobs (from the disk) of all entries from first to last, and
// returns the first error.
func (d *disk) inBlobs(ctx context.Context, first, last uint64) error {
	if d.remote() {
		_, err := d.remoteBlobs(ctx, first, last)
		return err
	}
	records := segment.NewRecords(d.cfg.WAL, last)
	defer records.Close()
	for index := first; index <= last; index++ {
		select {
		case <-d.stop:
			return fmt.Errorf("the log is closing")
		default:
		}
		rec, err := records.At(index)
		if err != nil {
			return err
		}
		if err := segment.ProveBlob(ctx, d.blobs, rec); err != nil {
			return fmt.Errorf("index %d: %w", index, err)
		}
	}
	return nil
}
