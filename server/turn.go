package server

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// Replays are work without end for the processor, and there can be many at
// once; appends are short and somebody waits for each. So replays take turns:
// only so many may read, encode and send at once, and while appends come in each
// turn is followed by a rest that nobody else's replay uses.
type turns struct {
	slots    chan struct{}
	began    time.Time
	appended atomic.Int64 // when a write was last submitted, in ns since began
}

const (
	// appending is how long after the last write replays still make way.
	appending = 20 * time.Millisecond
	// restFor is how many times as long as a turn the rest after it is.
	restFor = 4
	// restMax bounds a rest, whatever a turn took on a busy machine.
	restMax = 4 * time.Millisecond
)

func newTurns() *turns {
	return &turns{began: time.Now(), slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// note notes that a write was submitted.
func (t *turns) note() { t.appended.Store(int64(time.Since(t.began))) }

// take waits for a turn. The error is why ctx is done.
func (t *turns) take(ctx context.Context) (began time.Time, err error) {
	select {
	case t.slots <- struct{}{}:
		return time.Now(), nil
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

// end ends a turn, after its rest.
func (t *turns) end(began time.Time) {
	now := time.Now()
	if now.Sub(t.began)-time.Duration(t.appended.Load()) < appending {
		time.Sleep(min(restFor*now.Sub(began), restMax))
	}
	<-t.slots
}
