package server

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// replayThrottle makes replays take turns. They can keep the processors busy without end, and
// there can be many at once; appends are short, and a client waits for each. So only a few
// replays read, encode and send at once, and while appends arrive, each turn is followed by a
// rest during which no other replay takes the place.
//
// A replay of entries that are far away, in the archive or in a store of blobs, may wait for an
// answer for half a minute. So it takes no turn and has a place of a separate kind, though it
// rests like the others: it holds up no replay that reads from the local disk.
type replayThrottle struct {
	slots   chan struct{} // for turns
	reads   chan struct{} // for reading, which takes memory
	far     chan struct{} // for reading what is far away
	opened  time.Time
	written atomic.Int64 // when a write was last submitted, in ns since opened
}

const (
	// replaysReading is how many replays may read at once. They wait only for the disk.
	replaysReading = 32
	// replaysFar is how many replays may read distant entries at once.
	replaysFar = 16
	// appending is how long after the last write replays still give way.
	appending = 20 * time.Millisecond
	// restFactor is how many times longer than its turn a rest is.
	restFactor = 4
	// restMax bounds a rest, however long its turn took on a busy machine.
	restMax = 4 * time.Millisecond
)

func newReplayThrottle() *replayThrottle {
	return &replayThrottle{
		slots:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		reads:  make(chan struct{}, replaysReading),
		far:    make(chan struct{}, replaysFar),
		opened: time.Now(),
	}
}

// appended notes that a write was submitted.
func (t *replayThrottle) appended() { t.written.Store(int64(time.Since(t.opened))) }

// readsFrom returns the kind of place that a read from index takes. near may be nil: nothing is
// far away then.
func (t *replayThrottle) readsFrom(near func() uint64, index uint64) chan struct{} {
	if near != nil && index < near() {
		return t.far
	}
	return t.reads
}

// replayTurn is one replay's place in the throttle.
type replayTurn struct {
	*replayThrottle
	slot    bool          // it has a turn
	reading chan struct{} // the kind of place it has; nil while it may not read
	began   time.Time     // start of the turn that a rest follows; zero if none does
}

// startReading waits until this replay may read from index. The beginning of a replay needs no
// turn, so short reads do not wait. The error says why the connection was cut.
func (t *replayTurn) startReading(ctx context.Context, near func() uint64, index uint64) error {
	reads := t.readsFrom(near, index)
	select {
	case reads <- struct{}{}:
		t.reading = reads
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start waits for a turn. The error says why the connection was cut.
func (t *replayTurn) start(ctx context.Context) error {
	select {
	case t.slots <- struct{}{}:
		t.slot, t.began = true, time.Now()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end ends a turn, after its rest, if there is one.
func (t *replayTurn) end() {
	if t.reading == t.reads {
		t.endReading()
	}
	if !t.began.IsZero() {
		now := time.Now()
		if now.Sub(t.opened)-time.Duration(t.written.Load()) < appending {
			time.Sleep(min(restFactor*now.Sub(t.began), restMax))
		}
		t.began = time.Time{}
	}
	if t.slot {
		<-t.slots
		t.slot = false
	}
	t.endReading() // reads of distant entries have no turn and rest while they keep their place
}

// endReading gives up the place for reading.
func (t *replayTurn) endReading() {
	if t.reading != nil {
		<-t.reading
		t.reading = nil
	}
}
