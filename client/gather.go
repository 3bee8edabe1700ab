package client

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Many answers come in one read, and those who get them often append again at once:
// goroutines that have waited, and callbacks. Their lines go out as one write when the
// last of them has appended, or the reading goroutine has given them the time to.

// gatherMax is how long callbacks may take until what they have gathered is written, and
// no more gathers. Tests change it.
var gatherMax = 200 * time.Microsecond

const (
	// gatherCheck is after how many callbacks the time is looked at.
	gatherCheck = 8
	// dueRounds is how often the reading goroutine lets others run after the last
	// append of those that are due: some microseconds, if there is nobody to run.
	dueRounds = 20
	// writeRounds is how often at most who writes for others does, before he goes on
	// with what he is there for.
	writeRounds = 4
)

// gather is the state of a lane on which lines gather: it is busy, and who ends the
// gathering writes them.
type gather struct {
	on      bool
	calling bool         // callbacks run, for which nobody else shall wait
	due     atomic.Int32 // how many of those that were answered have not appended again; set under mu
}

// begin begins the gathering of what so many calls bring about that were answered.
func (g *gather) begin(answered int, calling bool) {
	g.on, g.calling = true, calling
	g.due.Store(int32(answered))
}

// ends notes an append, which waits for its answer or does not, and ends the gathering
// if it is the last that is due.
func (g *gather) ends(waits bool) bool {
	g.on = g.due.Add(-1) > 0 && !(waits && g.calling)
	return !g.on
}

// awaitDue lets those run who have just got their answers, for as long as they append,
// and writes what has gathered unless the last of them has.
func (l *lane) awaitDue() {
	if l.gather.calling {
		l.mu.Lock()
		l.gather.calling = false
		l.mu.Unlock()
	}
	before := int32(0)
	for round := 0; round < dueRounds; round++ {
		runtime.Gosched()
		due := l.gather.due.Load() // without mu, for which they would have to wait
		if due <= 0 {
			break
		}
		if due != before {
			before, round = due, 0
		}
	}
	l.writeGathered()
}

// writeGathered writes what has gathered, if the lane still gathers.
func (l *lane) writeGathered() {
	l.mu.Lock()
	gathers := l.gather.on
	l.gather.on = false
	l.mu.Unlock()
	if gathers {
		l.flush()
	}
}

// flush has what has gathered written. The caller is who made the lane busy, or who
// ended its gathering.
func (l *lane) flush() {
	if l.direct == nil {
		l.wake <- struct{}{} // has room: busy says that nobody else has sent
		return
	}
	l.writeNow()
}

// writeNow writes what has gathered, as much as the connection takes at once, and some of
// what comes meanwhile. The rest it leaves to the writing goroutine. The caller is who
// made the lane busy.
func (l *lane) writeNow() {
	for range writeRounds {
		l.mu.Lock()
		out := l.take()
		l.mu.Unlock()
		if out == nil {
			return
		}
		n := l.direct.writeNow(out)
		l.mu.Lock()
		if n < len(out) {
			l.rest = out[n:]
			l.mu.Unlock()
			break
		}
		l.keep(out)
		over := len(l.out) == 0
		if over {
			l.busy = false
		}
		l.mu.Unlock()
		if over {
			return
		}
	}
	l.wake <- struct{}{} // has room: busy says that nobody else has sent
}
