package repair

import (
	"tcp-log-server/fsck/internal/plan"
	"tcp-log-server/segment"
)

// newSegmentMax is about how many bytes of entries go into a segment that is made
// where there was none: the size at which the daemon seals one.
const newSegmentMax = 64 << 20

// newSegmentEnd is the last index of a segment that begins at first and is to hold
// entries through last at most: the other copy's segment that has first, or as
// much as a segment has room for.
func (r *repairer) newSegmentEnd(first, last uint64) uint64 {
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
			break // nothing is known of any of them
		}
	}
	return last
}

// fillGap makes the segments that the entries first..last were in.
func (r *repairer) fillGap(first, last uint64) error {
	for first <= last {
		end := r.newSegmentEnd(first, last)
		if _, err := r.rebuild(first, end, end, nil); err != nil {
			return err
		}
		first = end + 1
	}
	return nil
}

// adopt makes segments from those of the other copy where entries would otherwise
// have to become blobs, more of them than the log has room for, or where there
// are no segments at all.
func (r *repairer) adopt() error {
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
		return r.grow(r.other.first, r.copyEnd())
	case len(r.segs) > 0 && missing > 0 && none && r.copyEnd() >= r.first-1:
		first := max(r.other.segmentOf(lowest).first, 1)
		return r.fillGap(first, r.first-1)
	}
	return nil
}

// extend adds the entries that the other copy has after the end of the log, if both are the
// same log up to there.
func (r *repairer) extend() error {
	through := r.copyEnd()
	if through <= r.head || len(r.plan.Gaps)+len(r.plan.Damaged) > 0 || r.plan.Ahead > r.head {
		return nil
	}
	if n := len(r.segs); n > 0 {
		return r.grow(r.head+1, through)
	}
	if r.index.Last+1 >= r.other.first {
		return r.grow(max(r.other.first, r.index.Last+1), through)
	}
	// No segment is left, and the entries before the copy's segments are in blobs:
	// the records say in which.
	if r.WAL == segment.Memory {
		return nil
	}
	last := r.other.first - 1
	if r.other.end == 0 {
		last = through
	}
	for first := plan.FileOf(r.index.Last + 1); first <= last; first += segment.RecordsPerFile {
		r.plan.Records[first] = true
		if err := r.reindex(first, min(first+segment.RecordsPerFile-1, last), nil); err != nil {
			return err
		}
	}
	return nil
}

// grow adds the entries from..through to the end of the segments, as far as each
// is found.
func (r *repairer) grow(from, through uint64) error {
	return r.growTo(from, through, false)
}

// growTo does so. lossy records those that are not found as lost, where loss is
// accepted.
func (r *repairer) growTo(from, through uint64, lossy bool) error {
	must := func(end uint64) uint64 {
		if lossy {
			return end
		}
		return from - 1
	}
	head := r.head
	r.head = through
	defer func() { r.head = head }()
	if n := len(r.segs); n > 0 && !r.segs[n-1].Sealed {
		last := r.segs[n-1]
		end := max(from-1, r.newSegmentEnd(last.First, through))
		if done, err := r.rebuild(last.First, must(end), end, last); err != nil || done < end {
			return err
		}
		last.Sealed = end < through // it is, by now
		from = end + 1
	}
	for from <= through {
		end := r.newSegmentEnd(from, through)
		if done, err := r.rebuild(from, must(end), end, nil); err != nil || done < end {
			return err
		}
		from = end + 1
	}
	return nil
}
