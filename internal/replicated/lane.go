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

// A gateway sends what it is given on a subject of its own, its lane, one message at a time. Each
// names the one before it in the lane, so a message that is sent again is stored once, however
// late the first of its copies comes through. A refusal proves nothing: while two servers take
// themselves for the leader, one refuses what the other stores. So a message is sent again until
// an acknowledgement, or the lane itself, shows that it is stored.

// lane sends the appends of this gateway.
type lane struct {
	log     *Log
	id      uint64
	subject string

	mu     sync.Mutex
	queue  []*appended // not in a message yet
	queued int         // the entries of queue
	order  []*appended // not completed yet, in the order of the calls
	// Why nothing is taken, nil where that is no reason.
	ended  error // the log is closing
	unsure error // what has become of an earlier append is not known
	unfit  error // the stream cannot hold a log any more
	wake   chan struct{}

	completing sync.Mutex // held while completions run

	sending atomic.Pointer[batch] // what is on its way; it may come by the tail before it is acknowledged

	// Of the sending goroutine alone.
	number  uint64   // of the last message
	last    uint64   // where that is in the stream, 0 before the first
	waiting []*batch // acknowledged, and not counted when that was last looked at
	back    returning
}

// Append gives entries to the log, as server.Log says.
func (l *Log) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	if !l.lane.push(&appended{entries: entries, count: count, on: on, done: done}) {
		l.lane.complete()
	}
}

// Submit is Append whose done runs later.
func (l *Log) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	if !l.lane.push(&appended{entries: entries, count: count, on: on, done: done}) && !l.spawn(l.lane.complete) {
		go l.lane.complete() // the log is closed
	}
}

// MaxAppend returns how many bytes of entries one append may hold: what fits into a message.
func (l *Log) MaxAppend() int { return int(l.conn.MaxPayload()) - headerSize - natsHeader }

// push adds an append to the queue. It returns false if it was refused: then somebody has to call
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

// refusing returns why nothing is taken, nil if it is. The caller holds mu.
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

// complete runs the completions whose turn has come.
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

// waitingMax is how many messages may be acknowledged and not counted before the next is sent.
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

// sendOnce sends a batch with appends.Once, and waits until it has been counted: it may have to
// be looked up and sent again, before anything that was given to the log after it.
func (n *lane) sendOnce(ctx context.Context, b *batch) {
	if b.message.count > 0 {
		n.send(ctx, b)
	}
	n.settle(ctx, 0)
	if ctx.Err() != nil {
		return
	}
	n.mu.Lock()
	if b.message.count == 0 { // the log holds all of it
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

// rest waits until something may have to be done.
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

// settle waits until no more than most acknowledged messages have not been counted. Where that
// takes as long as appends wait, those who wait are told.
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

// uncounted tells those that wait that their entries are stored, and it is not known where.
func (n *lane) uncounted() {
	why := n.log.stuckBy()
	if why == nil {
		why = errors.New("what came before it in the cluster has not come yet")
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

// drop fails what has not been sent. The caller holds mu.
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

// end has nothing be taken any more.
func (n *lane) end() {
	n.mu.Lock()
	n.ended = errClosed
	n.mu.Unlock()
}

// hold has the lane take nothing because of err, or again if err is nil.
func (n *lane) hold(err error) {
	n.mu.Lock()
	n.unfit = err
	n.mu.Unlock()
}

// abandon completes what is left when the log has ended: what was not sent, and what was
// acknowledged while its place was not known.
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
