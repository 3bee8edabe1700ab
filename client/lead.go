package client

import (
	"context"
	"errors"
	"time"
)

// Appends that come one at a time, each after the answer to the one before, do not need the
// lane's goroutines: an append that finds nothing under way leads. It writes its line and
// reads its answer on its own goroutine, which would wait anyway. Each goroutine that is
// woken instead makes the runtime wake a thread, and takes a processor from the server if
// both are on one machine.
//
// So once a few answers have come one at a time, the reading goroutine leaves its turn
// vacant. It takes the turn back when an append cannot lead, when the leader leaves unread
// input, and when nothing has been appended for a while: something has to notice the end of
// the connection.

// turn is whose turn it is to read.
type turn int

const (
	readersTurn turn = iota // the reading goroutine's
	vacant                  // the next append may lead
	leadersTurn             // an append leads
)

const (
	// leadAfter is the number of answers in a row that came one at a time after which the
	// turn is left vacant.
	leadAfter = 4
	// vacantMax is half of the longest time that it stays vacant without an append.
	vacantMax = 50 * time.Millisecond
)

// takeTurn reports whether the caller may lead. If so, it has the turn until passTurn.
func (l *lane) takeTurn() bool {
	l.mu.Lock()
	if l.turn != vacant || l.first < len(l.calls) || l.cause != nil {
		l.mu.Unlock()
		return false
	}
	l.turn = leadersTurn
	l.mu.Unlock()
	// Nothing has watched the connection meanwhile: it may have ended.
	n, err := l.direct.TryRead(l.in.buf[l.in.hi:])
	if n == 0 && err == nil {
		return true
	}
	if l.in.err = l.received(n, err); l.in.err != nil {
		l.end(l.in.err) // so that this append goes over another connection
	}
	l.passTurn()
	return false
}

// passTurn ends the turn of a leader.
func (l *lane) passTurn() {
	l.mu.Lock()
	again := l.lone > 0 && l.first == len(l.calls) && l.in.hi == 0 && l.in.err == nil && l.cause == nil
	l.turn = readersTurn
	if again {
		l.turn = vacant
	}
	l.mu.Unlock()
	if !again {
		l.recall <- struct{}{} // has room: it is read for each turn
	}
}

// lead reads until the answer for the caller has come, which done puts into w, or one for a
// callback, or until ctx or the lane ends. The caller has the turn; writes says whether it
// has to write the queue.
func (l *lane) lead(ctx context.Context, w *waiter, writes bool) {
	if writes {
		l.writeNow()
	}
	stop, stopped := func() bool { return true }, make(chan struct{})
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() {
			l.mu.Lock()
			l.kicked = true
			l.nc.SetReadDeadline(time.Unix(1, 0))
			l.mu.Unlock()
			close(stopped)
		})
	}
	for len(w.answered) == 0 && len(l.in.left) == 0 && l.in.err == nil {
		err := l.receive()
		if err == errKicked {
			break
		}
		l.in.err = err
	}
	if !stop() {
		<-stopped
		l.mu.Lock()
		l.kicked = false
		l.nc.SetReadDeadline(l.deadline)
		l.mu.Unlock()
	}
	l.passTurn()
}

// errKicked: the leader's context has ended, not the connection.
var errKicked = errors.New("interrupted")

// leaveTurn leaves the turn vacant if the next append may lead, and reports whether it has.
func (l *lane) leaveTurn() bool {
	if l.direct == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lone < leadAfter || l.first < len(l.calls) || l.in.hi > 0 || l.cause != nil {
		return false
	}
	l.turn = vacant
	return true
}

// awaitTurn waits until it is the turn of the reading goroutine again.
func (l *lane) awaitTurn() {
	tick := time.NewTimer(vacantMax)
	defer tick.Stop()
	over, seen := l.over, uint64(0)
	for {
		select {
		case <-l.recall:
			return
		case <-over:
			over = nil // once is enough
		case <-tick.C:
			tick.Reset(vacantMax)
		}
		l.mu.Lock()
		if l.turn == readersTurn {
			l.mu.Unlock()
			<-l.recall
			return
		}
		if l.turn == vacant && (l.next == seen || l.cause != nil) {
			l.turn = readersTurn
			l.mu.Unlock()
			return
		}
		seen = l.next
		l.mu.Unlock()
	}
}
