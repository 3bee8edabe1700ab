package syncreplicas

import (
	"time"

	"tcp-log-server/appends"
)

// held is an append that the log below has finished.
type held struct {
	last   uint64 // the last index that its reply acknowledges, 0 if there is none
	stored appends.Result
	err    error
	done   func(appends.Result, error)
	due    time.Time // when its wait times out
}

// queue holds appends in order. Its memory is bounded by what the server has in flight.
type queue struct {
	all   []held
	taken int // number of appends popped from all
}

func (q *queue) len() int { return len(q.all) - q.taken }

func (q *queue) push(h held) { q.all = append(q.all, h) }

// first returns the first append; the queue must not be empty.
func (q *queue) first() *held { return &q.all[q.taken] }

// pop removes the first append. Once more have been popped than are left, it moves the rest, so
// each is moved about once.
func (q *queue) pop() {
	q.all[q.taken] = held{}
	q.taken++
	if q.taken > q.len() {
		n := copy(q.all, q.all[q.taken:])
		clear(q.all[n:])
		q.all, q.taken = q.all[:n], 0
	}
	if cap(q.all) > 1<<10 && len(q.all) == 0 {
		q.all = nil
	}
}
