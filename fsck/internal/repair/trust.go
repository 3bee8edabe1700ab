package repair

import "math"

// trustCopy finds out through which index the other copy holds the same log as
// this one. A copy that was restored and then appended to goes another way from
// some index on: of the entries after that, only those that the index's hashes prove
// are taken. Without a difference they are the same log, since the store is the same.
func (r *Repair) trustCopy() {
	r.trust = math.MaxUint64
	top := min(max(r.head, r.index.Last), r.other.head)
	// The last entry that both have decides: batches follow one another, and an
	// entry is what it is at its index and its time.
	for step := uint64(0); step < top; step = max(1, 2*step) {
		same, known := r.sameEntry(top - step)
		if known && same {
			return
		}
		if !known {
			continue
		}
		low, high := uint64(0), top-step // the first is the same, the second is not
		for high-low > 1 {
			mid := low + (high-low)/2
			// Of some entries nothing is known: the next one that is decides.
			at, same, known := mid, false, false
			for step := uint64(1); ; step *= 2 {
				if same, known = r.sameEntry(at); known || mid+step >= high {
					break
				}
				at = mid + step
			}
			if known && same {
				low = at
			} else {
				high = mid
			}
		}
		r.trust, r.Outcome.Parted = low, low+1
		return
	}
}

// sameEntry compares what the log and the other copy have at index. known says
// that both have something.
func (r *Repair) sameEntry(index uint64) (same, known bool) {
	theirs, ok := r.other.known(index)
	if !ok {
		return false, false
	}
	if e, ok := r.ownEntry(index); ok {
		ours := recordOf(e)
		return ours == theirs, true
	}
	ours, err := r.index.At(index)
	if err != nil || ours.Lost() {
		return false, false
	}
	return ours == theirs, true
}

// copyEnd is the last entry that can be taken from the other copy without
// another witness, 0 if there is no other copy.
func (r *Repair) copyEnd() uint64 {
	if r.other == nil {
		return 0
	}
	return min(r.other.head, r.trust)
}
