package replicated

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tcp-log-server/appends"
)

// A gateway sends its appends on a subject of its own, its lane, one message at a time. Each message
// names its predecessor in the lane, so one that is sent again is stored once, however late the first
// copy arrives. A refusal proves nothing: while two servers believe that they lead, one refuses what the
// other stores. So a message is sent again until an acknowledgement, or the lane itself, shows that it is
// stored.

// lane sends the appends of this gateway.
type lane struct {
	log     *Log
	id      uint64
	subject string

	mu     sync.Mutex
	queue  []*appended // not in a message yet
	queued int         // the entries of queue
	order  []*appended // not completed yet, in the order of the calls
	// Why the lane takes no appends; nil for reasons that do not hold.
	ended  error // the log is closing
	unsure error // the outcome of an earlier append is unknown
	unfit  error // the stream can no longer hold a log
	wake   chan struct{}

	completing sync.Mutex // held while completions run

	sending atomic.Pointer[batch] // the batch under way; the tail may deliver it before its acknowledgement

	// Owned by the sending goroutine.
	number  uint64   // of the last message
	last    uint64   // its sequence number in the stream, 0 before the first
	waiting []*batch // acknowledged, and not counted at the last look
	back    returning
}

// Append gives entries to the log, as server.Log says.
func (l *Log) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	if !l.lane.push(&appended{entries: entries, count: count, on: on, done: done}) {
		l.lane.complete()
	}
}

// Submit is like Append, but never calls done before it returns.
func (l *Log) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	if !l.lane.push(&appended{entries: entries, count: count, on: on, done: done}) && !l.spawn(l.lane.complete) {
		go l.lane.complete() // the log is closed
	}
}

// MaxAppend returns how many bytes of entries one append may hold: as many as fit into a message.
func (l *Log) MaxAppend() int { return int(l.conn.MaxPayload()) - headerSize - natsHeader }

// push adds an append to the queue. It returns false if the append was refused; the caller must then call
// complete.
func (n *lane) push(a *appended) (taken bool) {
	if most := n.log.MaxAppend(); len(a.entries) > most {
		a.err = errTooLong(len(a.entries), most)
	} else if a.on.Kind == appends.Once {
		if a.err = n.log.once.ready(); a.err == nil {
			a.hash()
		}
	}
	n.mu.Lock()
	if a.err == nil {
		a.err = n.refusing()
	}
	a.resolved = a.err != nil
	taken = a.err == nil
	n.order = append(n.order, a)
	if taken {
		n.queue = append(n.queue, a)
		n.queued += a.count
	}
	n.mu.Unlock()
	if taken {
		n.poke()
	}
	return taken
}

// refusing returns why the lane takes no appends, nil if it takes them. The caller holds mu.
func (n *lane) refusing() error {
	for _, why := range []error{n.ended, n.unfit, n.unsure} {
		if why != nil {
			return fmt.Errorf("not stored: %w", why)
		}
	}
	return nil
}

func (n *lane) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// complete runs the completions that are due, in order.
func (n *lane) complete() {
	n.completing.Lock()
	defer n.completing.Unlock()
	for {
		n.mu.Lock()
		if len(n.order) == 0 || !n.order[0].resolved {
			if len(n.order) == 0 {
				n.order = nil
			}
			n.mu.Unlock()
			return
		}
		a := n.order[0]
		n.order[0] = nil
		n.order = n.order[1:]
		n.mu.Unlock()
		a.done(a.result, a.err)
	}
}

// waitingMax is how many messages may be acknowledged but not counted before the next is sent.
const waitingMax = 32

// run sends batches until ctx is done.
func (n *lane) run(ctx context.Context) {
	for {
		n.settle(ctx, waitingMax)
		n.gather(ctx)
		if ctx.Err() != nil {
			return
		}
		b := n.take()
		if b == nil {
			n.rest(ctx)
			continue
		}
		if !n.prepare(b) {
			continue
		}
		if b.message.kind == appends.Once {
			n.sendOnce(ctx, b)
		} else {
			n.send(ctx, b)
		}
	}
}

// sendOnce sends a batch with appends.Once, and waits until it has been counted: it may have to be looked
// up and sent again before any later append.
func (n *lane) sendOnce(ctx context.Context, b *batch) {
	if b.message.count > 0 {
		n.send(ctx, b)
	}
	n.settle(ctx, 0)
	if ctx.Err() != nil {
		return
	}
	n.mu.Lock()
	if b.message.count == 0 { // the log already holds everything
		at := n.log.counted()
		b.resolve(n.log.once, &verdict{run: run{first: at.index + 1}})
	}
	if b.stale && !b.told {
		n.queue = append(b.appends, n.queue...)
		n.queued += b.entries()
	}
	n.mu.Unlock()
	n.complete()
}

// rest waits until there may be something to do.
func (n *lane) rest(ctx context.Context) {
	var counted <-chan struct{}
	var late <-chan time.Time
	if len(n.waiting) > 0 {
		counted = n.waiting[0].counted
		if left := n.log.config.GiveUp - time.Since(n.waiting[0].acked); left > 0 {
			late = time.After(left)
		}
	}
	select {
	case <-n.wake:
	case <-counted:
	case <-late:
	case <-ctx.Done():
	}
}

// settle waits until at most this many acknowledged messages have not been counted. If that takes longer
// than appends may wait, it tells their callers.
func (n *lane) settle(ctx context.Context, most int) {
	for ctx.Err() == nil {
		for len(n.waiting) > 0 && n.waiting[0].isCounted() {
			n.waiting[0] = nil
			n.waiting = n.waiting[1:]
		}
		n.mu.Lock()
		if len(n.waiting) == 0 || !n.waiting[0].told {
			n.unsure = nil
		}
		n.mu.Unlock()
		if len(n.waiting) == 0 {
			n.waiting = nil
			return
		}
		if time.Since(n.waiting[0].acked) >= n.log.config.GiveUp {
			n.uncounted()
		}
		if len(n.waiting) <= most {
			return
		}
		n.rest(ctx)
	}
}

// uncounted tells the waiting callers that their entries are stored at unknown indices.
func (n *lane) uncounted() {
	why := n.log.stuckBy()
	if why == nil {
		why = errors.New("messages before it in the cluster have not arrived yet")
	}
	n.mu.Lock()
	for _, b := range n.waiting {
		if !b.told {
			n.tell(b, fmt.Errorf("outcome unknown: it is stored, but its index is not known: %w", why))
		}
	}
	n.unsure = fmt.Errorf("the index of an earlier append is not known yet: %w", why)
	n.drop(n.refusing())
	n.mu.Unlock()
	n.complete()
}

// drop fails the appends that have not been sent. The caller holds mu.
func (n *lane) drop(err error) {
	for _, a := range n.queue {
		a.fail(err)
	}
	n.queue, n.queued = nil, 0
}

// idle reports whether nothing waits for its completion.
func (n *lane) idle() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.order) == 0
}

// end makes the lane refuse appends from now on.
func (n *lane) end() {
	n.mu.Lock()
	n.ended = errClosed
	n.mu.Unlock()
}

// hold makes the lane refuse appends because of err, or take them again if err is nil.
func (n *lane) hold(err error) {
	n.mu.Lock()
	n.unfit = err
	n.mu.Unlock()
}

// abandon completes what is left once the log has ended: appends that were not sent, and those that were
// acknowledged at unknown places.
func (n *lane) abandon() {
	n.mu.Lock()
	n.drop(fmt.Errorf("not stored: %w", errClosed))
	for _, a := range n.order {
		if !a.resolved {
			a.fail(errors.New("outcome unknown: the server stopped before it knew its index"))
		}
	}
	n.mu.Unlock()
	n.complete()
}
