package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Stats describes what a log holds, and what it has done since it was opened.
type Stats struct {
	Head    uint64 // index of the last durable entry
	Settled uint64 // index of the last entry with an index record on disk
	First   uint64 // first index in a segment here
	// Archived is the last entry whose segment was removed here because the archive has it, 0
	// if there is none; Evicted is how many segments were removed for that reason since the
	// log was opened.
	Archived, Evicted uint64
	Loose             int // blob files, -1 when LooseMax is -1 and they are not counted
	// Packed is how many entries live in segments that stay, as far as is known. A segment is
	// found to stay when blobs are no longer written, or when it is due to be removed and not
	// all of its entries are found in blobs.
	Packed uint64
	// Unsettled is how many entries wait for the settler: 0 where there is none.
	Unsettled uint64
	// Stalled is why the settler's last attempt failed, nil if it succeeded. If the store of
	// blobs cannot be reached, it wraps ErrUnavailable.
	Stalled  error
	Segments int   // segment files, including the open one
	Bytes    int64 // of the segments' batches and of the index's records; blobs are not counted
	// DiskUsed and DiskFree are bytes of the segments' file system, at most a second old: free
	// for the server, whatever is reserved for root. Both are 0 if unknown.
	DiskUsed, DiskFree int64

	Entries uint64 // appended since the log was opened
	Written uint64 // their bytes, in canonical form and each with its newline
	Batches uint64 // in which they were committed
	// Syncing is the total time of the writes and syncs of these batches.
	Syncing time.Duration
	Rate    float64 // entries per second over the last 5 whole seconds
	Refused uint64  // batches that were not stored, or whose outcome is unknown
	Failed  bool    // a sync has failed: see Log.Err
}

// Store returns the random name of the log, in hexadecimal. A log in memory gets a new one
// each time it is opened.
func (l *Log) Store() string { return l.store.name().String() }

// Stats returns the current counts. They include every append whose completion has run. The
// call takes a little time for each segment.
func (l *Log) Stats() Stats {
	l.counts.pace.mu.Lock()
	head := l.head.Load()
	rate := l.counts.pace.rate(time.Since(l.opened), head)
	l.counts.pace.mu.Unlock()
	s := Stats{
		Head:    head,
		Entries: head - l.counts.from,
		Written: l.counts.written.Load(),
		Batches: l.counts.batches.Load(),
		Syncing: time.Duration(l.counts.syncing.Load()),
		Rate:    rate,
		Refused: l.counts.refused.Load(),
		Failed:  l.Err() != nil,
	}
	l.store.stats(&s)
	return s
}

// refusalLasts is how long a refused batch speaks for the next one: a client that was told to
// send nothing would otherwise never learn that there is room again.
const refusalLasts = 30 * time.Second

// hangs is how long a batch takes when the disk hangs: slow ones take a second.
const hangs = 10 * time.Second

// Refusing returns why an append would not be stored now, as far as is known, nil if it would.
// The error wraps ErrFailed once a sync has failed, ErrFenced after Fence, and ErrClosed after
// Close; that the log is a replica does not count. Otherwise it says that the disk has not
// answered for 10 s, or why the last batch was not stored, until one is stored or none has
// been tried for 30 s. Refusing does not wait for the disk.
func (l *Log) Refusing() error {
	if err := l.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if err := l.standing.fence(); err != nil {
		return err
	}
	closed, leading, since := l.queue.state()
	if closed {
		return ErrClosed
	}
	// A leader that has just begun has not reached its batch yet.
	took := min(time.Since(l.opened)-time.Duration(l.lastStart.Load()), time.Since(since))
	if leading && took > hangs {
		return fmt.Errorf("the disk has not answered for %v", took.Round(time.Second))
	}
	if r := l.counts.refusal.Load(); r != nil && time.Since(r.at) < refusalLasts {
		return r.err
	}
	return nil
}

// counts are a log's counts of its own work. The leader, see queue, writes them.
type counts struct {
	from    uint64 // the head when the log was opened
	written atomic.Uint64
	batches atomic.Uint64
	syncing atomic.Int64 // ns
	refused atomic.Uint64
	refusal atomic.Pointer[refusal] // of the last batch, nil if it was stored
	pace    pace
}

// refusal is why and when a batch was not stored.
type refusal struct {
	err error
	at  time.Time
}

// begin starts counting after head.
func (c *counts) begin(head uint64) { c.from, c.pace.heads[0] = head, head }

// stored counts a batch with that many bytes of entries and that duration.
func (c *counts) stored(bytes int, took time.Duration) {
	c.written.Add(uint64(bytes))
	c.batches.Add(1)
	c.syncing.Add(int64(took))
	if c.refusal.Load() != nil {
		c.refusal.Store(nil)
	}
}

// refuse counts a batch that was not stored.
func (c *counts) refuse(err error, now time.Time) {
	c.refused.Add(1)
	c.refusal.Store(&refusal{err: err, at: now})
}

// rateSpan is how many whole seconds a rate is taken over.
const rateSpan = 5

// pace remembers the head at the beginning of each of the last seconds. A second without a
// batch costs nothing, and one with batches a single lock.
type pace struct {
	mu     sync.Mutex           // for all but the leader
	second int64                // in which the last batch was committed, counted from when the log was opened
	heads  [rateSpan + 1]uint64 // at the beginning of second and of those before it, by their number
}

// note notes that a batch is about to be committed after head. The leader calls it.
func (p *pace) note(since time.Duration, head uint64) {
	if second := int64(since / time.Second); second != p.second {
		p.mu.Lock()
		p.advance(second, head)
		p.mu.Unlock()
	}
}

// advance moves on to second, at whose beginning the head was head.
func (p *pace) advance(second int64, head uint64) {
	for s := max(p.second+1, second-rateSpan); s <= second; s++ {
		p.heads[s%int64(len(p.heads))] = head
	}
	p.second = second
}

// rate returns how many entries per second were committed in the last rateSpan whole seconds,
// or in as many as there have been. The caller holds mu, and read the clock and the head while
// holding it.
func (p *pace) rate(since time.Duration, head uint64) float64 {
	second := int64(since / time.Second)
	span := min(second, rateSpan)
	if span == 0 {
		return 0
	}
	now := pace{second: p.second, heads: p.heads}
	now.advance(second, head)
	at := func(s int64) uint64 { return now.heads[s%int64(len(now.heads))] }
	return float64(at(second)-at(second-span)) / float64(span)
}
