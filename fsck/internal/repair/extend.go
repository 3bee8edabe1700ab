package repair

import (
	"tcp-log-server/segment"
)

// newSegmentMax is roughly how many bytes of entries go into a newly made segment: the size
// at which the server seals one.
const newSegmentMax = 64 << 20

// newSegmentEnd returns the last index of a segment that begins at first and should hold
// entries through last at most: the end of the other copy's segment that has first, or as
// much as a segment has room for.
func (r *Repair) newSegmentEnd(first, last uint64) uint64 {
	if r.other != nil {
		if h := r.other.segmentOf(first); h != nil {
			end := h.last
			if end == r.other.end {
				end = max(end, r.other.head) // entries may be left after its last batch
			}
			return min(last, end)
		}
	}
	bytes := int64(0)
	for index := first; index < last; index++ {
		rec, err := r.index.At(index)
		if err != nil && r.other != nil {
			rec, _ = r.other.record(index)
		}
		if bytes += int64(rec.Size) + 1; bytes > newSegmentMax {
			return index
		}
		if err != nil && r.other == nil && index > r.index.Last {
			break // nothing is known about any of them
		}
	}
	return last
}

// fillGap makes the segments that held the entries first..last.
func (r *Repair) fillGap(first, last uint64) error {
	for first <= last {
		end := r.newSegmentEnd(first, last)
		if _, err := r.rebuild(first, end, end, nil); err != nil {
			return err
		}
		first = end + 1
	}
	return nil
}

// adopt makes segments from those of the other copy if entries would otherwise have to
// become blobs, more than the log has room for, or if there are no segments at all.
func (r *Repair) adopt() error {
	if r.other == nil || r.other.end == 0 || r.other.first > r.copyEnd() {
		return nil
	}
	missing, lowest := int64(0), uint64(0)
	for _, f := range r.plan.Blobs {
		if f.Needed && f.Index >= r.other.first && f.Index <= r.copyEnd() {
			missing++
			if lowest == 0 || f.Index < lowest {
				lowest = f.Index
			}
		}
	}
	none := r.Store() == nil || r.LooseMax >= 0 && r.plan.BlobFiles+missing > int64(r.LooseMax)
	switch {
	case len(r.segs) == 0 && missing > 0:
		return r.grow(r.other.first, r.copyEnd(), false)
	case len(r.segs) > 0 && missing > 0 && none && r.copyEnd() >= r.first-1:
		first := max(r.other.segmentOf(lowest).first, 1)
		return r.fillGap(first, r.first-1)
	}
	return nil
}

// extend adds the entries that the other copy has after the end of the log, if both are the
// same log up to there.
func (r *Repair) extend() error {
	through := r.copyEnd()
	if through <= r.head || len(r.plan.Gaps)+len(r.plan.damaged) > 0 || r.plan.Ahead > r.head {
		return nil
	}
	if n := len(r.segs); n > 0 {
		return r.grow(r.head+1, through, false)
	}
	if r.index.Last+1 >= r.other.first {
		return r.grow(max(r.other.first, r.index.Last+1), through, false)
	}
	// No segment is left, and the entries before the copy's segments are in blobs: the
	// records say which.
	if r.WAL == segment.Memory {
		return nil
	}
	last := r.other.first - 1
	if r.other.end == 0 {
		last = through
	}
	return r.addRecords(last)
}

// grow adds the entries from..through to the end of the segments, as far as each is found.
// lossy records those that are not found as lost, if loss is accepted.
func (r *Repair) grow(from, through uint64, lossy bool) error {
	head := r.head
	r.head = through
	defer func() { r.head = head }()
	for from <= through {
		var open *Segment
		first := from
		if n := len(r.segs); n > 0 && !r.segs[n-1].Sealed {
			open = r.segs[n-1]
			first = open.First
		}
		end := max(from-1, r.newSegmentEnd(first, through))
		must := from - 1
		if lossy {
			must = end
		}
		if done, err := r.rebuild(first, must, end, open); err != nil || done < end {
			return err
		}
		if open != nil {
			open.Sealed = end < through // it is, by now
		}
		from = end + 1
	}
	return nil
}
