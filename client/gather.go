package client

import (
	"runtime"
	"time"
)

// gather is the state of a lane on which lines gather: it is busy, and who ends the
// gathering writes them.
//
// Many answers come in one read, and those who get them often append again at once:
// goroutines that have waited, and callbacks. Their lines go out as one write when the
// last of them has appended, or the reading goroutine has given them the time to.
type gather struct {
	on      bool
	due     int  // how many of those that were answered have not appended again
	calling bool // callbacks run, for which nobody else shall wait
}

// ends notes an append, which waits for its answer or does not, and ends the gathering
// if it is the last that is due.
func (g *gather) ends(waits bool) bool {
	g.due--
	g.on = g.due > 0 && !(waits && g.calling)
	return !g.on
}

// gatherMax is how long callbacks may take until what they have gathered is written, and
// no more gathers. Tests change it.
var gatherMax = 200 * time.Microsecond

const (
	// gatherCheck is after how many callbacks the time is looked at.
	gatherCheck = 8
	// dueMax is how long the reading goroutine lets others run after the last append
	// of those that are due.
	dueMax = 5 * time.Microsecond
)

// awaitDue lets those run who have just got their answers, for as long as they append,
// and writes what has gathered unless the last of them has.
func (l *lane) awaitDue() {
	before, seen := -1, time.Time{}
	for {
		l.mu.Lock()
		l.gather.calling = false
		gathers, due := l.gather.on, l.gather.due
		l.mu.Unlock()
		now := time.Now()
		switch {
		case !gathers:
			return
		case due != before:
			before, seen = due, now
		case now.Sub(seen) > dueMax:
			l.writeGathered()
			return
		}
		runtime.Gosched()
	}
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

// writeNow writes what has gathered, as much as the connection takes at once, and leaves
// the rest and what comes meanwhile to the writing goroutine. The caller is who made
// the lane busy.
func (l *lane) writeNow() {
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
	} else {
		l.keep(out)
	}
	over := n == len(out) && len(l.out) == 0
	if over {
		l.busy = false
	}
	l.mu.Unlock()
	if !over {
		l.wake <- struct{}{} // has room: busy says that nobody else has sent
	}
}
