package client

import (
	"context"
	"errors"
	"time"
)

// Appends that come one at a time, each after the answer to the one before, do not
// need the lane's goroutines: an append that finds nothing under way leads. It writes
// its line and reads its answer by itself, on the goroutine that waits anyway. Each
// goroutine that is woken instead has the runtime wake a thread, and takes a
// processor from the server where both are on one machine (docs/PERFORMANCE-NOTES.md).
//
// For that the reading goroutine leaves its turn vacant once a few answers have come
// one at a time. It takes it back when somebody appends who does not lead, when he
// who leads leaves something to be read, and when nothing has been appended for a
// while: somebody has to notice the end of the connection.

// turn is whose turn it is to read.
type turn int

const (
	readersTurn turn = iota // the reading goroutine's
	vacant                  // nobody's: the next append may lead
	leadersTurn             // that of an append that leads
)

const (
	// leadAfter is after how many answers in a row that came one at a time the turn
	// is left vacant.
	leadAfter = 4
	// vacantMax is for how long at most, but twice, it is vacant without an append.
	vacantMax = 50 * time.Millisecond
)

// takeTurn reports whether the caller may lead. If so it is its turn until passTurn.
func (l *lane) takeTurn() bool {
	l.mu.Lock()
	if l.turn != vacant || l.first < len(l.calls) || l.cause != nil {
		l.mu.Unlock()
		return false
	}
	l.turn = leadersTurn
	l.mu.Unlock()
	// Nobody has watched the connection meanwhile: it may have ended.
	n, err := l.direct.readNow(l.in.buf[l.in.hi:])
	if n == 0 && err == nil {
		return true
	}
	if l.in.err = l.received(n, err); l.in.err != nil {
		l.end(l.in.err) // so that this append goes over another connection
	}
	l.passTurn()
	return false
}

// passTurn ends the turn of an append that has led.
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

// lead reads answers until that of the caller has come, which done puts into w, or one
// that is not for a goroutine that waits, or ctx ends, or the lane. The caller has the
// turn, and writes if it has to write what is in line.
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

// errKicked: the context of the append that leads has ended, not the connection.
var errKicked = errors.New("kicked")

// leaveTurn reports whether the reading goroutine has left its turn vacant, where the
// next append may lead.
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

// awaitTurn waits until it is the reading goroutine's turn again.
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
