package engine

import (
	"context"
	"time"
)

// clock gives batches their times. No batch is earlier than the one before it, so a log
// is sorted by time too: while the machine's clock is behind the last batch, as after a
// jump back, that batch's time is repeated. The leader owns it.
type clock struct {
	now  func() time.Time // the machine's
	last int64            // the time of the last batch, in µs since 1970 UTC
}

// stamp returns the time for a batch that is committed now.
func (c *clock) stamp() time.Time {
	c.last = max(c.last, c.now().UnixMicro())
	return time.UnixMicro(c.last)
}

// lastTime returns the time of the last entry of a store that has just been recovered, in
// µs since 1970 UTC; 0 in an empty log, and where it cannot be read.
func (d *disk) lastTime() (at int64) {
	last := d.open.Last()
	if last == 0 {
		return 0
	}
	timeAt, done := d.times(context.Background())
	defer done()
	at, _ = timeAt(last) // reads report what is wrong with the entry
	return at
}
