package replicated

import (
	"context"
	"time"
)

// Clients that wait for one append before making the next come in crowds: a message answers all of its
// clients at once, and they are back within a moment. If the lane always sent whatever had queued up
// meanwhile, there would be two crowds forever, each waiting while the other's message is under way. A
// message costs every node a sync and over a millisecond of processor time, however little it holds, so
// one message for both crowds is far cheaper: docs/PERFORMANCE-NOTES.md has figures. A lone client never
// waits.

// returning is the entries that the lane expects after a message has been acknowledged.
type returning struct {
	entries int       // those of the message, and those queued by then
	until   time.Time // when the lane stops waiting for them
}

// gatherMost bounds how long the lane waits. Clients that need longer are too far away to be back within
// a moment.
const gatherMost = 5 * time.Millisecond

// answering notes that the appends of b are about to be completed.
func (n *lane) answering(b *batch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.back.entries = n.queued + b.entries()
}

// answered notes that those appends have been completed. took is how long storing them took.
func (n *lane) answered(took time.Duration) {
	n.back.until = time.Now().Add(min(took/2, gatherMost))
}

// gather waits until as many entries are queued as the lane expects, for at most half as long as the last
// message took. It does not wait if nothing is queued.
func (n *lane) gather(ctx context.Context) {
	var timer *time.Timer
	for {
		n.mu.Lock()
		queued := n.queued
		n.mu.Unlock()
		if queued == 0 || queued >= n.back.entries {
			return
		}
		left := time.Until(n.back.until)
		if left <= 0 {
			return
		}
		if timer == nil {
			timer = time.NewTimer(left)
			defer timer.Stop()
		}
		select {
		case <-n.wake:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
