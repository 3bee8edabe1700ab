package repair

import (
	"math"
	"sort"
)

// trustCopy determines through which index the other copy holds the same log as this one.
// A copy that was restored and then appended to differs from some index on: of the
// entries after that, only those that the index's hashes prove are used. Without a
// difference they are the same log, since the store is the same.
func (r *Repair) trustCopy() {
	r.trust = math.MaxUint64
	top := min(max(r.head, r.index.Last), r.other.head)
	// The last entry that both have decides: batches follow one another, and an entry is
	// the same only at its index and its time.
	high := uint64(0) // an entry that differs
	for step := uint64(0); high == 0; step = max(1, 2*step) {
		if step >= top {
			return
		}
		if same, known := r.sameEntry(top - step); same {
			return
		} else if known {
			high = top - step
		}
	}
	parted := 1 + sort.Search(int(high)-1, func(i int) bool {
		// Some entries are unknown: the next known one decides.
		for at, step := uint64(i)+1, uint64(1); at < high; at, step = at+step, 2*step {
			if same, known := r.sameEntry(at); known {
				return !same
			}
		}
		return true
	})
	r.Outcome.Parted = uint64(parted)
	r.trust = r.Outcome.Parted - 1
}

// sameEntry compares the entries of the log and of the other copy at index. known says
// that both have something.
func (r *Repair) sameEntry(index uint64) (same, known bool) {
	theirs, ok := r.other.known(index)
	if !ok || theirs.Lost() {
		return false, false
	}
	ours, _ := r.index.At(index)
	if e, ok := r.ownEntry(index); ok {
		ours = recordOf(e)
	}
	return ours == theirs, !ours.Lost()
}

// copyEnd returns the last entry that can be taken from the other copy without another
// witness, 0 if there is no other copy.
func (r *Repair) copyEnd() uint64 {
	if r.other == nil {
		return 0
	}
	return min(r.other.head, r.trust)
}
