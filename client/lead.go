package client

import (
	"context"
	"errors"
	"time"
)

// Appends that come one at a time, each after the answer to the one before, do not need the
// pipeline's goroutines: an append that finds nothing under way leads. It writes its line and
// reads its answer on its own goroutine, which would wait anyway. Waking another goroutine
// instead makes the runtime wake a thread, which takes a processor from the server if both
// are on one machine.
//
// So once a few answers have come one at a time, the reading goroutine lets
// appends lead. It reclaims the reading when an append cannot lead, when the leader leaves
// unread input, and when nothing has been appended for a while: some goroutine has to notice
// the end of the connection.

// reads says which goroutine reads from the connection.
type reads int

const (
	byReader reads = iota // the reading goroutine
	byNone                // none; the next append may lead
	byLeader              // the goroutine of the append that leads
)

const (
	// leadAfter is the number of consecutive answers that came one at a time after which
	// appends may lead.
	leadAfter = 4
	// idleMax is half of the longest time without a reading goroutine while nothing is
	// appended.
	idleMax = 50 * time.Millisecond
)

// tryLead reports whether the caller may lead. If so, it alone reads until endLead.
func (p *pipeline) tryLead() bool {
	p.mu.Lock()
	if p.reads != byNone || !p.answeredAll() || p.cause != nil {
		p.mu.Unlock()
		return false
	}
	p.reads = byLeader
	p.mu.Unlock()
	// No goroutine has watched the connection meanwhile: it may have ended.
	n, err := p.direct.TryRead(p.in.buf[p.in.hi:])
	if n == 0 && err == nil {
		return true
	}
	if p.in.err = p.received(n, err); p.in.err != nil {
		p.end(p.in.err) // so that this append goes over another connection
	}
	p.endLead()
	return false
}

// endLead lets the next append lead, or returns the reading to the reading goroutine.
func (p *pipeline) endLead() {
	p.mu.Lock()
	again := p.lone > 0 && p.answeredAll() && p.in.hi == 0 && p.in.err == nil && p.cause == nil
	p.reads = byReader
	if again {
		p.reads = byNone
	}
	p.mu.Unlock()
	if !again {
		p.reclaim <- struct{}{} // has room: it is received each time
	}
}

// lead reads until the caller's answer has come, which done puts into w, or one for a
// callback, or until ctx or the pipeline ends. tryLead has returned true; writes says whether
// the caller must write the queue.
func (p *pipeline) lead(ctx context.Context, w *waiter, writes bool) {
	if writes {
		p.writeNow()
	}
	stop, stopped := func() bool { return true }, make(chan struct{})
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() {
			p.mu.Lock()
			p.interrupted = true
			p.nc.SetReadDeadline(time.Unix(1, 0))
			p.mu.Unlock()
			close(stopped)
		})
	}
	for len(w.answered) == 0 && len(p.in.left) == 0 && p.in.err == nil {
		err := p.receive()
		if err == errInterrupted {
			break
		}
		p.in.err = err
	}
	if !stop() {
		<-stopped
		p.mu.Lock()
		p.interrupted = false
		p.nc.SetReadDeadline(p.deadline)
		p.mu.Unlock()
	}
	p.endLead()
}

// errInterrupted: the leader's context has ended, not the connection.
var errInterrupted = errors.New("interrupted")

// handOff lets the next append lead if answers come one at a time, and reports whether it
// did.
func (p *pipeline) handOff() bool {
	if p.direct == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lone < leadAfter || !p.answeredAll() || p.in.hi > 0 || p.cause != nil {
		return false
	}
	p.reads = byNone
	return true
}

// awaitReclaim waits until the reading goroutine has to read again.
func (p *pipeline) awaitReclaim() {
	tick := time.NewTimer(idleMax)
	defer tick.Stop()
	over, seen := p.over, uint64(0)
	for {
		select {
		case <-p.reclaim:
			return
		case <-over:
			over = nil // once is enough
		case <-tick.C:
			tick.Reset(idleMax)
		}
		p.mu.Lock()
		if p.reads == byReader {
			p.mu.Unlock()
			<-p.reclaim
			return
		}
		if p.reads == byNone && (p.next == seen || p.cause != nil) {
			p.reads = byReader
			p.mu.Unlock()
			return
		}
		seen = p.next
		p.mu.Unlock()
	}
}
