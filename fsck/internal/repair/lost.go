package repair

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"tcp-log-server/fsck/internal/plan"

	"tcp-log-server/segment"
)

// restoreLost brings back entries that have been recorded as lost and are found
// now: in another copy, or in a blob that has been put back.
func (r *repairer) restoreLost() error {
	for _, s := range r.segs {
		if r.plan.Lost[s.First] == 0 || !s.Readable {
			continue
		}
		b := &rebuilder{repairer: r, seg: s, last: r.wantedLast(s), header: s.Header}
		if err := b.build(""); err != nil {
			return err
		}
		if b.lost > 0 || b.stillLost >= r.plan.Lost[s.First] {
			continue
		}
		if _, err := r.rebuild(s.First, b.last, b.last, s); err != nil {
			return err
		}
	}
	for _, first := range slices.Sorted(maps.Keys(r.plan.LostFiles)) {
		if err := r.restoreLoose(first); err != nil {
			return err
		}
	}
	return nil
}

// restoreLoose does so for entries that no segment holds, whose records are in
// the file of the index that begins at first.
func (r *repairer) restoreLoose(first uint64) error {
	last := min(first+segment.RecordsPerFile-1, r.index.Last)
	recs := make([]segment.Record, 0, last+1-first)
	back := map[uint64]segment.Record{}
	var which plan.Ranges
	for index := first; index <= last; index++ {
		rec, err := r.index.At(index)
		if err != nil {
			return nil // the file is to be restored first
		}
		if rec.Lost() && index < r.first {
			if e, ok := r.findLost(index, rec); ok {
				rec = recordOf(e)
				back[index] = rec
				which.Add(index, index)
			}
		}
		recs = append(recs, rec)
	}
	if len(back) == 0 {
		return nil
	}
	note := fmt.Sprintf(", of them %d of entries that had been recorded as lost and are found again: %s", len(back), which)
	return r.writeRecords(first, recs, note, func() error { return r.putBlobs(back) })
}

// findLost finds the entry at index, whose record is that of a lost one.
func (r *repairer) findLost(index uint64, rec segment.Record) (found, bool) {
	known := rec.Hash != segment.Hash{}
	b := &rebuilder{repairer: r}
	e, ok := b.find(index, rec, known, nil)
	if known && rec.Time != 0 {
		e.time = rec.Time
	}
	return e, ok
}

// putBlobs writes the blobs of entries that have been found again. They are
// durable before the records that name them.
func (r *repairer) putBlobs(back map[uint64]segment.Record) error {
	blobs, closed, err := r.openBlobs()
	if err != nil {
		return err
	}
	defer closed()
	for _, index := range slices.Sorted(maps.Keys(back)) {
		rec := back[index]
		e, ok := r.findLost(index, segment.Record{Hash: rec.Hash, Time: rec.Time})
		if !ok {
			return errors.New("an entry that was found a moment ago is gone")
		}
		if err := r.change(); err != nil {
			return err
		}
		if _, err := blobs.Put(r.Context, rec.Hash, e.text); err != nil {
			return err
		}
	}
	return blobs.Sync(r.Context)
}
