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
const batchMax = 512 << 10

// submission is what one call of Append gave.
type submission struct {
	entries []byte
	count   int
	done    func(first uint64, err error)
	late    bool // came after Close: to be refused in its turn
}

// inlineMax is how many bytes of entries a caller of Append may commit itself. A
// caller with more has more to come, and better prepares that meanwhile.
const inlineMax = 16 << 10

// queue holds the submissions that wait, and says who may commit: one at a time,
// the committer or a caller of Append.
type queue struct {
	mu      sync.Mutex
	waiting []submission
	spare   []submission // for waiting, once that is taken
	leading bool         // somebody commits
	closed  bool
	ended   bool          // and the committer is done with all that came before
	wake    chan struct{} // holds a token when the committer may have something to do
}

// push adds a submission, unless nobody commits and nothing is under way: then
// lead is true, and the caller has to commit it and to call yield. ok is false
// if the queue is closed.
func (q *queue) push(s submission) (lead, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return false, false
	}
	if q.closed {
		s.late = true
		q.waiting = append(q.waiting, s)
		return false, true
	}
	if !q.leading && len(q.waiting) == 0 && len(s.entries) <= inlineMax {
		q.leading = true
		return true, true
	}
	q.waiting = append(q.waiting, s)
	if !q.leading && len(q.waiting) == 1 {
		q.poke()
	}
	return false, true
}

// yield ends what push began.
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

// take returns what waits, in order, for the committer to commit. It leads from
// the first take that returns anything, which it says by mine in the next, to the
// first that returns nothing. ended is true once nothing will ever be added.
func (q *queue) take(mine bool) (taken []submission, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.leading && !mine {
		return nil, false // yield will wake the committer
	}
	if len(q.waiting) == 0 {
		q.leading = false
		q.ended = q.closed
		return nil, q.closed
	}
	q.leading = true
	taken = q.waiting
	q.waiting, q.spare = q.spare, nil
	return taken, false
}

// recycle takes back the memory of submissions that are done with.
func (q *queue) recycle(done []submission) {
	clear(done)
	q.mu.Lock()
	defer q.mu.Unlock()
	if cap(done) > cap(q.spare) {
		q.spare = done[:0]
	}
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
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
// done runs once, in the order of the calls. It must not block, since all others
// wait for it. When err is nil the entries are durable at first, first+1, …;
// otherwise err wraps ErrNotStored or ErrUnknown. An append of no entries is in
// order: its done runs when its turn has come.
//
// Append does not wait for others. But while nothing else is under way it
// commits a small append itself, since a sync is quicker than waking another
// goroutine for it and being woken: then done has run when it returns. Otherwise
// done runs on a goroutine of the log's own.
func (l *Log) Append(entries []byte, count int, done func(first uint64, err error)) {
	s := submission{entries: entries, count: count, done: done}
	lead, ok := l.queue.push(s)
	switch {
	case !ok:
		done(0, fmt.Errorf("%w: %w", ErrNotStored, ErrClosed))
	case lead:
		l.inline[0] = s
		l.commitGroup(l.inline[:])
		l.inline[0] = submission{}
		l.queue.yield()
	}
}

// commit is the committer: it takes everything that waits, as few batches as
// possible, until the queue is closed and empty.
func (l *Log) commit() {
	for ended := false; !ended; {
		<-l.queue.wake
		for mine := false; ; mine = true {
			// Those that are about to append may do so: one batch instead of two.
			runtime.Gosched()
			var taken []submission
			if taken, ended = l.queue.take(mine); len(taken) == 0 {
				break
			}
			for rest := taken; len(rest) > 0; {
				n := fit(rest)
				l.commitGroup(rest[:n])
				rest = rest[n:]
			}
			l.queue.recycle(taken)
		}
	}
}

// fit is how many of the submissions go into the next batch: at least one.
func fit(waiting []submission) int {
	size := 0
	for i, s := range waiting {
		size += len(s.entries)
		if i > 0 && (size > batchMax || s.late != waiting[0].late) {
			return i
		}
	}
	return len(waiting)
}

// commitGroup commits the group as one batch, and then, strictly in this order:
// moves the head, runs the completions, shows the head to followers. Who calls it
// leads.
//
// The next batch waits for the completions, which send the replies. That takes
// time from the disk and gives more than it takes: those who are answered first
// have their next entries in the next batch, and a sync costs as much of the
// processor as ten replies.
func (l *Log) commitGroup(group []submission) {
	batch := append(l.batch[:0], make([]byte, segment.BatchHeaderSize)...)
	count := 0
	for _, s := range group {
		batch = append(batch, s.entries...)
		count += s.count
	}
	if cap(batch) <= 4*batchMax {
		l.batch = batch
	}
	next := l.head.Load() + 1
	err := error(nil)
	if group[0].late {
		err = fmt.Errorf("%w: %w", ErrNotStored, ErrClosed)
	} else {
		err = l.commitBatch(batch, count)
	}
	if err != nil {
		for _, s := range group {
			s.done(0, err)
		}
		return
	}
	head := next + uint64(count) - 1
	l.head.Store(head)
	for _, s := range group {
		s.done(next, nil)
		next += uint64(s.count)
	}
	if count > 0 {
		l.publish(head)
	}
}

// commitBatch makes one batch durable. Its errors are what completions get.
func (l *Log) commitBatch(batch []byte, count int) error {
	if count == 0 {
		return nil
	}
	if err := l.Err(); err != nil {
		l.counts.refused.Add(1)
		return fmt.Errorf("%w: %w: %w", ErrNotStored, ErrFailed, err)
	}
	size := len(batch) - segment.BatchHeaderSize
	if size > segment.MaxBody {
		l.counts.refused.Add(1)
		return fmt.Errorf("%w: an append of %d bytes is larger than a batch may be: %d", ErrNotStored, size, segment.MaxBody)
	}
	now := time.Now()
	since := now.Sub(l.opened)
	l.last.Store(int64(since))
	l.counts.pace.note(since, l.head.Load())
	err := l.store.commit(batch, count, now)
	if err == nil {
		l.counts.stored(size)
		if l.onBatch != nil {
			l.onBatch(count, size, time.Since(now))
		}
		return nil
	}
	l.counts.refuse(err, now)
	switch {
	case errors.Is(err, segment.ErrSync):
		l.fail(err)
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	// Once a second is enough to know of a full disk.
	if now.Sub(l.refused) > time.Second {
		l.refused = now
		l.log.Error().Err(err).Str("event", "refused").Int("entries", count).Msg("a batch was refused; appends are accepted again once it can be written")
	}
	return fmt.Errorf("%w: %w", ErrNotStored, err)
}
