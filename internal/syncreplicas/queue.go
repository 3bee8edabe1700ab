package syncreplicas

import (
	"time"

	"tcp-log-server/appends"
)

// held is an append that the log below is done with.
type held struct {
	last   uint64 // the last index that its reply acknowledges, 0 if there is none
	stored appends.Result
	err    error
	done   func(appends.Result, error)
	due    time.Time // until when it waits
}

// queue holds appends in their order. What it takes is bounded by what the server has in flight.
type queue struct {
	all   []held
	taken int // of all
}

func (q *queue) len() int { return len(q.all) - q.taken }

func (q *queue) push(h held) { q.all = append(q.all, h) }

// first returns the first, of at least one.
func (q *queue) first() *held { return &q.all[q.taken] }

// pop removes the first. What is left is moved once more has been taken than is left, so that
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
