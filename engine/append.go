package engine

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"tcp-log-server/segment"
)

// batchMax is how many bytes of entries go into one batch at most, unless one
// append alone is larger. A reader that wants one entry reads and verifies the
// whole batch that holds it.
const batchMax = 1 << 20

// submission is what one call of Append gave.
type submission struct {
	entries []byte
	count   int
	done    func(first uint64, err error)
}

// queue holds the submissions that wait for the committer.
type queue struct {
	mu      sync.Mutex
	waiting []submission
	spare   []submission // for waiting, once that is taken
	closed  bool
	wake    chan struct{} // holds a token when there may be something to take
}

// push adds a submission; false means that the queue is closed.
func (q *queue) push(s submission) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.waiting = append(q.waiting, s)
	first := len(q.waiting) == 1
	q.mu.Unlock()
	if first {
		q.poke()
	}
	return true
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns what waits, in order; open is false once nothing will ever be
// added.
func (q *queue) take() (taken []submission, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, !q.closed
	}
	taken = q.waiting
	q.waiting, q.spare = q.spare, nil
	return taken, !q.closed
}

// recycle gives the memory of submissions that are done with back to the queue.
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

// Append gives count entries to the log: canonical JSON, each followed by a
// newline, in entries, which belongs to the log until done runs. Entries of all
// calls take effect in the order of the calls, those of one call side by side
// and in one batch, so either all of them or none.
//
// Append returns at once. done runs once, in the order of the calls, on a
// goroutine of the log's own: it must not block, since all others wait for it.
// When err is nil the entries are
// durable at first, first+1, …; otherwise err wraps ErrNotStored or ErrUnknown.
// An append of no entries is in order: its done runs when its turn has come.
func (l *Log) Append(entries []byte, count int, done func(first uint64, err error)) {
	if !l.queue.push(submission{entries, count, done}) {
		done(0, fmt.Errorf("%w: %w", ErrNotStored, ErrClosed))
	}
}

// commit is the committer: it takes everything that waits, as few batches as
// possible, until the queue is closed and empty.
func (l *Log) commit() {
	defer close(l.outcomes)
	batch := make([]byte, segment.BatchHeaderSize, segment.BatchHeaderSize+64<<10)
	for open := true; open; {
		<-l.queue.wake
		for {
			// Those that are about to append may do so: one batch instead of two.
			runtime.Gosched()
			var taken []submission
			taken, open = l.queue.take()
			if len(taken) == 0 {
				break
			}
			for rest := taken; len(rest) > 0; {
				n := fit(rest)
				batch = l.commitGroup(batch, rest[:n])
				rest = rest[n:]
			}
		}
	}
}

// fit is how many of the submissions go into the next batch: at least one.
func fit(waiting []submission) int {
	size := 0
	for i, s := range waiting {
		size += len(s.entries)
		if size > batchMax && i > 0 {
			return i
		}
	}
	return len(waiting)
}

// outcome is what has become of the submissions of one batch.
type outcome struct {
	group []submission
	first uint64 // the index of the first entry, when err is nil
	err   error
}

// outcomesMax is how many batches may be durable and not yet acknowledged.
const outcomesMax = 8

// commitGroup commits the group as one batch and moves the head; the outcome
// goes to the acknowledger, and the next batch need not wait for it. It returns
// the buffer for the next batch.
func (l *Log) commitGroup(batch []byte, group []submission) []byte {
	batch = batch[:segment.BatchHeaderSize]
	count := 0
	for _, s := range group {
		batch = append(batch, s.entries...)
		count += s.count
	}
	first := l.head.Load() + 1
	err := l.commitBatch(batch, count)
	if err == nil {
		l.head.Store(first + uint64(count) - 1)
	}
	l.outcomes <- outcome{group, first, err}
	if cap(batch) > 4*batchMax {
		batch = make([]byte, segment.BatchHeaderSize, batchMax)
	}
	return batch
}

// acknowledge is the acknowledger: it runs the completions of each batch, and
// then shows the batch to followers.
func (l *Log) acknowledge() {
	for o := range l.outcomes {
		next := o.first
		for _, s := range o.group {
			if o.err != nil {
				s.done(0, o.err)
				continue
			}
			s.done(next, nil)
			next += uint64(s.count)
		}
		if next > o.first {
			l.publish(next - 1)
		}
		l.queue.recycle(o.group)
	}
}

// commitBatch makes one batch durable. Its errors are what completions get.
func (l *Log) commitBatch(batch []byte, count int) error {
	if count == 0 {
		return nil
	}
	if err := l.Err(); err != nil {
		return fmt.Errorf("%w: %w: %w", ErrNotStored, ErrFailed, err)
	}
	if size := len(batch) - segment.BatchHeaderSize; size > segment.MaxBody {
		return fmt.Errorf("%w: an append of %d bytes is larger than a batch may be: %d", ErrNotStored, size, segment.MaxBody)
	}
	now := time.Now()
	l.last.Store(now.UnixNano())
	err := l.store.commit(batch, count, now)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, segment.ErrSync):
		l.fail(err)
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	l.log.Error().Err(err).Str("event", "refused").Int("entries", count).Msg("a batch was refused")
	return fmt.Errorf("%w: %w", ErrNotStored, err)
}
