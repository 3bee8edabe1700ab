package engine

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"tcp-log-server/segment"
)

// submission is one call of Append.
type submission struct {
	entries []byte
	count   int
	on      Condition
	done    func(Result, error)
	err     error // why it is refused, in its turn; nil if it is not
	stored  int   // how many of its entries are in the batch, once the batch has been made

	replica *replication // instead of entries

	// Once the log keeps hashes, see once.go: the hashes of the entries; and with
	// appends.Once their places as far as the tables know, which cover all entries
	// through an index.
	hashes  []segment.Hash
	places  []Place
	through uint64
}

// alone reports whether the submission cannot share a batch with others.
func (s *submission) alone() bool { return s.err != nil || s.replica != nil }

// inlineMax is how many bytes of entries a caller of Append may commit itself. A caller
// with more is likely to append again, and should prepare that meanwhile.
const inlineMax = 16 << 10

// queue holds the waiting submissions and tracks the leader: one goroutine at a time, the
// committer or a caller of Append, which may commit.
type queue struct {
	mu      sync.Mutex
	waiting []submission
	spare   []submission // memory for waiting, once that has been taken
	leading bool         // there is a leader,
	since   time.Time    // from this time on,
	mine    bool         // and it is the committer
	closed  bool
	ended   bool          // and the committer has finished everything that came before
	wake    chan struct{} // holds a token when the committer may have something to do
}

// push adds a submission, unless the caller is willing to lead, there is no leader, and
// nothing is under way: then lead is true, and the caller must commit the submission and
// call yield. ok is false if the queue is closed.
func (q *queue) push(s submission, willing bool) (lead, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return false, false
	}
	if q.closed {
		s.err = fmt.Errorf("%w: %w", ErrNotStored, ErrClosed)
		q.waiting = append(q.waiting, s)
		q.poke()
		return false, true
	}
	if willing && !q.leading && len(q.waiting) == 0 && len(s.entries) <= inlineMax {
		q.leading, q.since = true, time.Now()
		return true, true
	}
	q.waiting = append(q.waiting, s)
	if len(q.waiting) == 1 && !q.leading {
		q.poke()
	}
	return false, true
}

// yield ends the lead that push granted.
func (q *queue) yield() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leading = false
	if len(q.waiting) > 0 || q.closed {
		q.poke()
	}
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits, by calling wait, until there is something for the committer to commit, and
// returns it, in order. It returns nil once nothing more will ever come.
func (q *queue) take(h *hookList, wait func()) []submission {
	h.beforeBatch()
	for {
		// Let goroutines that are about to append do so: one batch instead of two.
		runtime.Gosched()
		if taken, ok := q.tryTake(); ok {
			return taken
		}
		h.beforeWait()
		wait()
	}
}

// lead makes the committer lead although it has nothing to commit, unless there is
// another leader or something waits. Then the committer has to call rest.
func (q *queue) lead() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.leading || len(q.waiting) > 0 || q.closed {
		return false
	}
	q.leading, q.since, q.mine = true, time.Now(), true
	return true
}

// rest ends the lead that lead began.
func (q *queue) rest() {
	q.mu.Lock()
	q.mine = false
	q.mu.Unlock()
	q.yield()
}

func (q *queue) tryTake() (taken []submission, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.leading && !q.mine:
		return nil, false // yield will wake the committer
	case len(q.waiting) == 0:
		q.leading, q.mine, q.ended = false, false, q.closed
		return nil, q.closed
	}
	if !q.leading {
		q.leading, q.since = true, time.Now()
	}
	q.mine = true
	taken = q.waiting
	q.waiting, q.spare = q.spare, nil
	return taken, true
}

// recycle takes back the memory of finished submissions.
func (q *queue) recycle(done []submission) {
	clear(done)
	q.mu.Lock()
	defer q.mu.Unlock()
	if cap(done) > cap(q.spare) {
		q.spare = done[:0]
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.poke()
}

// state reports whether the queue is closed, whether there is a leader, and since when.
func (q *queue) state() (closed, leading bool, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed, q.leading, q.since
}
