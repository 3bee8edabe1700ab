package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"

	"tcp-log-server/internal/pieces"
	"tcp-log-server/segment"
)

// ErrReplica: the log was opened as a replica, see Config.ReplicaOf, so it takes entries only
// from its source. Appends that get it also get ErrNotStored.
var ErrReplica = errors.New("the log is a replica, which takes no appends of its own")

// ReplicaBatch is a batch of entries that a log's source stored together.
type ReplicaBatch struct {
	// Entries are Count entries in canonical form, each followed by a newline; empty if they
	// are Lost.
	Entries []byte
	Count   int
	// Time is when the source stored them, in µs since 1970 UTC.
	Time int64
	// Lost says that the source has recorded the entries as lost: they keep their indices.
	Lost bool
}

// replicaMemory is how much memory a log keeps for the next call of Replicate, in bytes.
const replicaMemory = 16 << 20

// replication is one call of Replicate.
type replication struct {
	first   uint64
	batches []ReplicaBatch
	size    int // of all batches including their headers
}

// Replicate stores batches of the log's source. The first entry has index first, which must be
// one more than the head. Replicate returns once the batches are durable. Batches that fit
// into the open segment take one write and one sync. The times are stored as they are, and so
// go back where the source's do.
//
// It checks that there are as many entries as Count says, and that each looks like canonical
// JSON, but not that it is: the source has checked that. The bytes of the batches are not
// retained.
//
// After an error, the head tells how many of the batches, from the first on, were stored
// nevertheless. If the error wraps ErrNotStored, the others were not stored and can be given
// again; if it wraps ErrUnknown, the log has failed, and the next start will tell.
func (l *Log) Replicate(first uint64, batches []ReplicaBatch) error {
	r := &replication{first: first, batches: batches}
	done := make(chan error, 1)
	s := submission{replica: r, done: func(_ Result, err error) { done <- err }}
	for i := range batches {
		b := &batches[i]
		if err := b.check(); err != nil {
			return fmt.Errorf("%w: entries from %d: %w", ErrNotStored, first, err)
		}
		first += uint64(b.Count)
		r.size += segment.BatchHeaderSize + len(b.Entries)
	}
	l.hand(s, true)
	return <-done
}

// check refuses a batch that could not be read back.
func (b *ReplicaBatch) check() error {
	switch size := len(b.Entries); {
	case b.Count < 1 || b.Count > math.MaxUint32:
		return fmt.Errorf("a batch has %d entries, want 1 to %d", b.Count, uint32(math.MaxUint32))
	case b.Lost && size > 0:
		return fmt.Errorf("a batch of lost entries has %d bytes, want none", size)
	case b.Lost:
		return nil
	case size > segment.MaxBody:
		return fmt.Errorf("a batch of %d bytes is larger than one may be: %d", size, segment.MaxBody)
	case bytes.IndexByte(b.Entries, 0) >= 0:
		return errors.New("a batch has a zero byte, which canonical JSON has not")
	}
	count := 0
	for rest := b.Entries; len(rest) > 0; count++ {
		n := bytes.IndexByte(rest, '\n')
		if n < 0 {
			return fmt.Errorf("a batch of %d entries does not end with a newline", b.Count)
		}
		if !looksCanonical(rest[:n]) {
			return fmt.Errorf("entry %d of a batch, of %d bytes, is no object, array or null in canonical JSON", count+1, n)
		}
		rest = rest[n+1:]
	}
	if count != b.Count {
		return fmt.Errorf("a batch has %d entries, its count is %d", count, b.Count)
	}
	return nil
}

// looksCanonical reports whether an entry begins and ends like a canonical one.
func looksCanonical(entry []byte) bool {
	if len(entry) < segment.MinLine-1 {
		return false
	}
	switch first, last := entry[0], entry[len(entry)-1]; first {
	case '{':
		return last == '}'
	case '[':
		return last == ']'
	}
	return string(entry) == "null"
}

// commitReplica is commitGroup for a call of Replicate. It moves the head itself, and shows it
// to followers, after every write: nobody else waits for these entries.
func (l *Log) commitReplica(c committed, r *replication) committed {
	switch {
	case l.standing.source == "":
		c.err = fmt.Errorf("%w: the log was not opened as a replica", ErrNotStored)
		return c
	case l.standing.fence() != nil:
		c.err = fmt.Errorf("%w: %w", ErrNotStored, l.standing.fence())
		return c
	case r.first != c.first:
		c.err = fmt.Errorf("%w: the next index of the log is %d, but the batches begin at %d", ErrNotStored, c.first, r.first)
		return c
	}
	buf := l.batch[:0]
	if cap(buf) < r.size {
		buf = make([]byte, 0, r.size)
	}
	specs := make([]segment.BatchSpec, 0, len(r.batches))
	for i := range r.batches {
		b := &r.batches[i]
		buf = pieces.Append(append(buf, make([]byte, segment.BatchHeaderSize)...), b.Entries)
		specs = append(specs, segment.BatchSpec{Size: len(b.Entries), Count: b.Count, Time: b.Time})
	}
	if cap(buf) <= replicaMemory {
		l.batch = buf
	}
	for rest := r.batches; len(rest) > 0; {
		n, err := l.writeReplica(buf, specs)
		if err != nil {
			c.err = err
			return c
		}
		l.replicated(rest[:n])
		for _, s := range specs[:n] {
			buf = buf[segment.BatchHeaderSize+s.Size:]
		}
		rest, specs = rest[n:], specs[n:]
	}
	return c
}

// writeReplica makes as many of the batches durable as one write takes, and returns how many.
func (l *Log) writeReplica(batches []byte, specs []segment.BatchSpec) (n int, err error) {
	if err := l.Err(); err != nil {
		l.counts.refused.Add(1)
		return 0, fmt.Errorf("%w: %w: %w", ErrNotStored, ErrFailed, err)
	}
	began := l.beginBatch()
	n, err = l.store.commitAll(batches, specs)
	if err != nil {
		return 0, l.refuseBatch(err, began, len(specs))
	}
	count, size := 0, 0
	for _, s := range specs[:n] {
		count, size = count+s.Count, size+s.Size
		l.clock.last = max(l.clock.last, s.Time)
	}
	l.batchStored(count, size, time.Since(began))
	return n, nil
}

// replicated moves the head past batches that are durable.
func (l *Log) replicated(batches []ReplicaBatch) {
	next := l.head.Load() + 1
	h := l.hashes.Load()
	if h != nil && !h.recent.collecting {
		h = nil
	}
	for i := range batches {
		b := &batches[i]
		switch {
		case h == nil:
		case b.Lost:
			// They have no hashes, so a map has no place for them: a table is made from the
			// log.
			h.stop(errReplicaLost)
			h = nil
		default:
			h.recent.addAll(&submission{entries: b.Entries}, next)
			h.committed(committed{first: next, count: b.Count, time: b.Time})
		}
		next += uint64(b.Count)
	}
	l.head.Store(next - 1)
	l.publish(next - 1)
}

// errReplicaLost: the log has to determine again which entries it holds.
var errReplicaLost = errors.New("the source has lost entries")
