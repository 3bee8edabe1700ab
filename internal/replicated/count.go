package replicated

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
)

// counter counts the log along the stream: it holds how far this gateway has counted, and the latest
// entries. Messages are passed in order, whether the lane that sent a message or the tail learns of it
// first.
type counter struct {
	mu     sync.Mutex
	walker *walker
	recent []run // the latest runs with entries, for reads at the head
	bytes  int
	own    map[uint64]*batch // sent by this gateway and acknowledged, but not passed yet; by message

	now   atomic.Pointer[place] // where the walker stands
	acked atomic.Pointer[mark]
	moved chan struct{} // closed when the walker moves; under mu
	sum   hash          // of the last message passed, zero if this gateway has passed none; under mu

	// passing is held while completions run, in order.
	passing sync.Mutex
	early   map[uint64]*message // messages that arrived before their predecessors
	earlier int                 // bytes of early
}

// mark is a head for followers.
type mark struct {
	head  uint64
	moved chan struct{} // closed once there is a later one
}

// recentBytes is roughly how many bytes of entries are kept for reads at the head.
const recentBytes = 16 << 20

func (c *counter) begin(at place, w *walker) {
	c.walker, c.own, c.early = w, make(map[uint64]*batch), make(map[uint64]*message)
	c.moved = make(chan struct{})
	c.now.Store(&at)
	c.acked.Store(&mark{at.index, make(chan struct{})})
}

// counted returns how far this gateway has counted.
func (l *Log) counted() place { return *l.counter.now.Load() }

// pass makes the message seq take effect. A message may be passed more than once. One that arrives before
// its predecessors is kept until they have come, as long as there are few. b is not nil if this gateway
// sent the message.
func (l *Log) pass(seq uint64, m *message, b *batch) error {
	c := &l.counter
	c.passing.Lock()
	defer c.passing.Unlock()
	at := c.now.Load().seq
	if b != nil && seq > at {
		c.own[seq] = b
	}
	switch {
	case seq <= at:
		return nil
	case seq > at+1:
		if c.early[seq] == nil && len(c.early) < earlyMax && c.earlier+len(m.body) <= earlyBytes {
			c.early[seq] = m
			c.earlier += len(m.body)
		}
		return nil
	}
	for m != nil {
		if err := l.passNext(m); err != nil {
			return err
		}
		seq++
		if m = c.early[seq]; m != nil {
			delete(c.early, seq)
			c.earlier -= len(m.body)
		}
	}
	return nil
}

// Limits on the messages kept that arrived before their predecessors. The others are fetched in their
// turn.
const (
	earlyMax   = 256
	earlyBytes = 16 << 20
)

// passNext passes the next message. The caller holds passing.
func (l *Log) passNext(m *message) error {
	c := &l.counter
	v, err := c.walker.step(l.ctx, m)
	if err != nil {
		return err
	}
	l.once.pass(&v)
	at := c.walker.at
	c.mu.Lock()
	if v.count > 0 {
		c.recent = append(c.recent, v.run)
		c.bytes += v.run.memory()
		for c.bytes > recentBytes && len(c.recent) > 1 {
			c.bytes -= c.recent[0].memory()
			c.recent[0] = run{}
			c.recent = c.recent[1:]
		}
	}
	c.now.Store(&at)
	c.sum = m.sum
	moved := c.moved
	c.moved = make(chan struct{})
	c.mu.Unlock()
	close(moved)
	l.stats.passed.Add(1)
	l.stats.written.Add(uint64(len(v.entries)))
	if at.seq%keepEvery == 0 {
		l.places.add(at)
	}
	b, acknowledged := c.own[v.seq]
	delete(c.own, v.seq)
	if b == nil { // it has not been acknowledged yet
		b = l.lane.sending.Load()
	}
	if b != nil && b.message.sum == m.sum {
		l.lane.passed(b, &v)
	} else if acknowledged {
		l.lane.replaced(b)
		l.log.Error().Str("event", "cluster").Uint64("message", v.seq).Msg("the cluster has lost a message that it acknowledged to this server: the stream has another in its place")
	}
	if a := c.acked.Load(); at.index > a.head {
		c.acked.Store(&mark{at.index, make(chan struct{})})
		close(a.moved)
	}
	return nil
}

// latest returns the last message that has been passed, and its sum, or zero if it was passed before
// Open.
func (c *counter) latest() (seq uint64, sum hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.Load().seq, c.sum
}

// awaitCounted waits until this gateway has counted the message seq.
func (l *Log) awaitCounted(ctx context.Context, seq uint64) error {
	c := &l.counter
	for {
		c.mu.Lock()
		at, moved := c.now.Load().seq, c.moved
		c.mu.Unlock()
		if at >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("message %d of the stream has not come yet, only those through %d: %w", seq, at, context.Cause(ctx))
		}
	}
}

// recently returns the run that holds the entry at index, if it is among the latest, and the index of the
// first entry that is kept, or 0 if there is none.
func (c *counter) recently(index uint64) (r run, oldest uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.recent) == 0 {
		return run{}, 0
	}
	oldest = c.recent[0].first
	if index < oldest {
		return run{}, oldest
	}
	lo, hi := 0, len(c.recent) // c.recent[lo] begins at index or before, c.recent[hi] after
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; c.recent[mid].first <= index {
			lo = mid
		} else {
			hi = mid
		}
	}
	return c.recent[lo], oldest
}

// since returns the index of the first entry that was stored at time or later. ok is false unless that
// entry is certainly among the latest.
func (c *counter) since(time int64) (index uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := sort.Search(len(c.recent), func(i int) bool { return c.recent[i].time >= time })
	if i == len(c.recent) || i == 0 && c.recent[0].first > 1 {
		return 0, false
	}
	return c.recent[i].first, true
}

// Acked returns the head that followers may see: done has run for every append of this gateway up to it.
func (l *Log) Acked() (head uint64, moved <-chan struct{}) {
	a := l.counter.acked.Load()
	return a.head, a.moved
}

// Known returns the head as this gateway knows it, without asking the cluster.
func (l *Log) Known() uint64 { return l.counted().index }
