package repair

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"tcp-log-server/segment"
)

// restoreLost restores entries that were recorded as lost and are found now: in another
// copy, or in a blob that has been put back.
func (r *Repair) restoreLost() error {
	for _, s := range r.segs {
		if r.plan.Lost[s.First] == 0 || !s.Readable {
			continue
		}
		b := &rebuilder{Repair: r, seg: s, last: s.ShouldEnd(r.head), header: s.Header}
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

// restoreLoose does so for entries that no segment holds, whose records are in the file
// of the index that begins at first.
func (r *Repair) restoreLoose(first uint64) error {
	last := min(first+segment.RecordsPerFile-1, r.index.Last)
	var recs []segment.Record
	var back []uint64
	var which Ranges
	for index := first; index <= last; index++ {
		rec, err := r.index.At(index)
		if err != nil {
			return nil // the file must be restored first
		}
		if rec.Lost() && index < r.first && r.Store() != nil {
			if e, ok := r.find(index, rec, nil); ok {
				rec = recordOf(e)
				back = append(back, index)
				which.Add(index, index)
			}
		}
		recs = append(recs, rec)
	}
	if len(back) == 0 {
		return nil
	}
	note := fmt.Sprintf(", of them %d of entries that had been recorded as lost and are found again: %s", len(back), which)
	return r.writeRecords(first, recs, note, func() error {
		for _, index := range back {
			rec := recs[index-first]
			e, ok := r.find(index, segment.Record{Hash: rec.Hash, Time: rec.Time}, nil)
			if !ok {
				return errors.New("an entry that was found a moment ago is gone")
			}
			if _, err := r.putBlob(rec.Hash, e.text); err != nil {
				return err
			}
		}
		return nil
	})
}
