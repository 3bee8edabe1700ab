package engine

import (
	"errors"
	"fmt"
	"time"

	"tcp-log-server/segment"
)

// batchMax is the largest batch, in bytes of entries, unless a single append is larger. A
// reader that wants one entry reads and verifies the whole batch that holds it.
const batchMax = 512 << 10

// Append gives count entries to the log: in entries, which the log owns until done runs,
// canonical JSON, each an object, an array or null, followed by a newline. Entries of all
// calls take effect in the order of the calls. Those of one call are adjacent and in one
// batch, so either all of them are stored or none.
//
// on says whether the entries are stored; see Condition. With Once the entries that are
// stored are still adjacent.
//
// done runs once, in the order of the calls. It must not block, since all others wait for
// it. When err is nil the entries are durable, and Result says where; otherwise err is a
// *ConditionError, or wraps ErrNotStored or ErrUnknown. An append of no entries is valid:
// its done runs in its turn.
//
// Append does not wait for others. But while nothing else is under way it commits a small
// append itself, since a sync is quicker than waking another goroutine and being woken by
// it: then done has run when Append returns. Otherwise done runs on a goroutine of the
// log.
func (l *Log) Append(entries []byte, count int, on Condition, done func(Result, error)) {
	s := newSubmission(entries, count, on, done)
	l.prepareHashes(&s)
	l.hand(s, true)
}

// Submit is Append for a caller that has other things to do than wait for a sync: done
// always runs on a goroutine of the log, unless the log has been closed.
func (l *Log) Submit(entries []byte, count int, on Condition, done func(Result, error)) {
	s := newSubmission(entries, count, on, done)
	l.prepareHashes(&s)
	l.hand(s, false)
}

// hand gives s to the committer, or commits it if the committer is idle and the caller
// willing.
func (l *Log) hand(s submission, willing bool) {
	if l.submit(s, willing) {
		l.inline[0] = s
		c := l.commitGroup(l.inline[:])
		l.complete(c)
		l.prepare(c, func() {})
		if c.err == nil && l.prover.note() {
			l.queue.poke()
		}
		l.inline[0] = submission{}
		l.queue.yield()
	}
}

// newSubmission marks for refusal, in its turn, what could not be read back: a batch in
// which a reader finds another number of entries must not be acknowledged.
func newSubmission(entries []byte, count int, on Condition, done func(Result, error)) submission {
	s := submission{entries: entries, count: count, on: on, done: done}
	switch size := len(entries); {
	case size > segment.MaxBody:
		s.err = fmt.Errorf("%w: an append of %d bytes is larger than a batch may be: %d", ErrNotStored, size, segment.MaxBody)
	case count < 0, size < segment.MinLine*count, count == 0 && size > 0:
		s.err = fmt.Errorf("%w: %d entries in %d bytes: an entry is an object, an array or null, in canonical JSON, and a newline", ErrNotStored, count, size)
	}
	return s
}

// submit adds s to the queue. If lead is true, which happens only if the caller is
// willing, the caller must commit s.
func (l *Log) submit(s submission, willing bool) (lead bool) {
	lead, ok := l.queue.push(s, willing)
	if !ok {
		s.done(Result{}, fmt.Errorf("%w: %w", ErrNotStored, ErrClosed))
	}
	return lead
}

// commit is the committer: it commits everything that waits, in as few batches as
// possible, until the queue is closed and empty.
//
// The next batch waits for the completions of the last, which send the replies. The disk
// idles meanwhile, but it is worth it: clients that are answered first have their next
// entries in the next batch, and a sync costs as much processor time as ten replies.
func (l *Log) commit() {
	next := func() []submission { return l.queue.take(&l.hooks, l.await) }
	for taken := next(); taken != nil; taken = next() {
		for rest := taken; len(rest) > 0; {
			n := fit(rest)
			l.hooks.beforeWait()
			c := l.commitGroup(rest[:n])
			l.hooks.beforeReplies()
			l.complete(c)
			l.prepare(c, l.hooks.beforeWait)
			if c.err == nil {
				l.prover.note()
			}
			rest = rest[n:]
		}
		l.queue.recycle(taken)
	}
	l.hooks.beforeWait()
}

// fit returns how many of the submissions go into the next batch: at least one.
func fit(waiting []submission) int {
	size := 0
	for i, s := range waiting {
		size += len(s.entries)
		if i > 0 && (size > batchMax || s.alone() || waiting[0].alone()) {
			return i
		}
	}
	return len(waiting)
}

// committed is a group of submissions that has been committed, or could not be.
type committed struct {
	group []submission
	first uint64 // the index of its first entry
	count int    // its entries
	time  int64  // when they were stored, in µs since 1970 UTC
	err   error
}

// commitGroup commits the group as one batch and moves the head. Only the leader calls it;
// the results are passed to complete in order.
func (l *Log) commitGroup(group []submission) committed {
	c := committed{group: group, first: l.head.Load() + 1}
	switch refused := group[0].err; {
	case refused != nil: // it is alone in its group
		if !errors.Is(refused, ErrClosed) {
			l.counts.refused.Add(1)
		}
		c.err = refused
		return c
	case l.isRefusing():
		c.err = fmt.Errorf("%w: %w", ErrNotStored, ErrClosed)
		return c
	case group[0].replica != nil:
		return l.commitReplica(c, group[0].replica)
	}
	batch := append(l.batch[:0], make([]byte, segment.BatchHeaderSize)...)
	for i := range group {
		s := &group[i]
		batch = l.take(s, batch, c.first+uint64(c.count))
		c.count += s.stored
	}
	if cap(batch) <= 4*batchMax {
		l.batch = batch
	}
	c.time, c.err = l.commitBatch(batch, c.count)
	if h := l.hashes.Load(); h != nil && h.recent.collecting {
		h.committed(c)
	}
	if c.err == nil {
		l.head.Store(c.first + uint64(c.count) - 1)
	}
	return c
}

// complete runs the completions of a group and then shows the new head to followers. One
// goroutine at a time calls it, in the order of the commits.
func (l *Log) complete(c committed) {
	next := c.first
	for i := range c.group {
		s := &c.group[i]
		s.done(s.outcome(c, next))
		next += uint64(s.stored)
	}
	if c.err == nil && next > c.first {
		l.publish(next - 1)
	}
}

// prepare makes the store prepare for the commit after c, which has been completed;
// waiting is called before it may wait for the disk. After a failed commit it does
// nothing: a full disk is not asked for more.
func (l *Log) prepare(c committed, waiting func()) {
	if c.err != nil || !l.store.due() {
		return
	}
	waiting()
	l.store.prepare()
}

// commitBatch makes one batch durable and returns the time of the commit, in µs since 1970
// UTC. Its errors are passed to completions.
func (l *Log) commitBatch(batch []byte, count int) (at int64, err error) {
	if count == 0 {
		return 0, nil
	}
	if err := l.standing.refusesAppends(); err != nil {
		l.counts.refused.Add(1)
		return 0, fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	if err := l.Err(); err != nil {
		l.counts.refused.Add(1)
		return 0, fmt.Errorf("%w: %w: %w", ErrNotStored, ErrFailed, err)
	}
	began := l.beginBatch()
	stamp := l.clock.stamp()
	if err := l.store.commit(batch, count, stamp); err != nil {
		return 0, l.refuseBatch(err, began, count)
	}
	l.batchStored(count, len(batch)-segment.BatchHeaderSize, time.Since(began))
	return stamp.UnixMicro(), nil
}

// beginBatch notes that a batch is about to be written, and returns the time.
func (l *Log) beginBatch() time.Time {
	now := time.Now()
	since := now.Sub(l.opened)
	l.lastStart.Store(int64(since))
	l.counts.pace.note(since, l.head.Load())
	return now
}

// batchStored counts entries made durable by one write and one sync.
func (l *Log) batchStored(count, size int, took time.Duration) {
	l.counts.stored(size, took)
	if l.onBatch != nil {
		l.onBatch(count, size, took)
	}
}

// refuseBatch returns the error for the completions of a batch that was begun at now and
// could not be stored because of err.
func (l *Log) refuseBatch(err error, now time.Time, count int) error {
	l.counts.refuse(err, now)
	switch {
	case errors.Is(err, segment.ErrSync):
		l.fail(err)
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	case errors.Is(err, ErrMoved):
		l.fail(err)
		return fmt.Errorf("%w: %w: %w", ErrNotStored, ErrFailed, err)
	}
	// Logging a full disk once a second is enough.
	if now.Sub(l.refused) > time.Second {
		l.refused = now
		l.log.Error().Err(err).Str("event", "refused").Int("entries", count).Msg("a batch was refused; appends are accepted again once it can be written")
	}
	return fmt.Errorf("%w: %w", ErrNotStored, err)
}
