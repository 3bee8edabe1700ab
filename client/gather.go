package client

import (
	"runtime"
	"sync/atomic"
	"time"
)

// One read brings many answers, and the goroutines and callbacks that receive them often append
// again at once. Their lines go out as one write, when the last of them has appended or the
// reading goroutine has given them enough time.

// gatherMax is how long callbacks may run before the gathered lines are written and the gathering
// ends. Tests change it.
var gatherMax = 200 * time.Microsecond

const (
	// gatherCheck is the number of callbacks between two looks at the clock.
	gatherCheck = 8
	// dueRounds is how often the reading goroutine yields to others after the last append: a few
	// microseconds, if no other goroutine is ready.
	dueRounds = 20
	// writeRounds is how many writes a goroutine makes for others before it continues its own
	// work.
	writeRounds = 4
)

// gather is the state of a pipeline on which lines gather. The pipeline is busy, and the goroutine
// that ends the gathering writes them.
type gather struct {
	on      bool
	calling bool         // callbacks are running; a goroutine that appends does not wait for them
	due     atomic.Int32 // how many of the answered have not appended again; set under mu
}

// begin starts gathering the next appends of the answered calls.
func (g *gather) begin(answered int, calling bool) {
	g.on, g.calling = true, calling
	g.due.Store(int32(answered))
}

// ends notes an append and ends the gathering if it is the last one due. waits says whether the
// append waits for its answer.
func (g *gather) ends(waits bool) bool {
	g.on = g.due.Add(-1) > 0 && !(waits && g.calling)
	return !g.on
}

// awaitDue lets the goroutines run that have just got their answers, for as long as they append,
// and writes the gathered lines unless the last of them did.
func (p *pipeline) awaitDue() {
	if p.gather.calling {
		p.mu.Lock()
		p.gather.calling = false
		p.mu.Unlock()
	}
	before := int32(0)
	for round := 0; round < dueRounds; round++ {
		runtime.Gosched()
		due := p.gather.due.Load() // without mu, since they need it
		if due <= 0 {
			break
		}
		if due != before {
			before, round = due, 0
		}
	}
	p.writeGathered()
}

// writeGathered writes the gathered lines, if the pipeline still gathers.
func (p *pipeline) writeGathered() {
	p.mu.Lock()
	gathers := p.gather.on
	p.gather.on = false
	p.mu.Unlock()
	if gathers {
		p.flush()
	}
}

// flush writes the gathered lines, or wakes the writing goroutine to do so. The caller made the
// pipeline busy, or ended its gathering.
func (p *pipeline) flush() {
	if p.direct == nil {
		p.wake <- struct{}{} // never blocks: busy says that no other goroutine has sent
		return
	}
	p.writeNow()
}

// writeNow writes as much of the gathered lines as the connection takes without waiting, and some
// of those that arrive meanwhile. It leaves the rest to the writing goroutine. The caller made the
// pipeline busy.
func (p *pipeline) writeNow() {
	for range writeRounds {
		p.mu.Lock()
		out := p.take()
		p.mu.Unlock()
		if out == nil {
			return
		}
		n, _ := p.direct.TryWrite(out) // an error shows in the next write that can wait
		p.mu.Lock()
		if n < len(out) {
			p.rest = out[n:]
			p.mu.Unlock()
			break
		}
		p.keep(out)
		over := len(p.out) == 0 && p.asked != toAsk
		if over {
			p.busy = false
		}
		p.mu.Unlock()
		if over {
			return
		}
	}
	p.wake <- struct{}{} // never blocks: busy says that no other goroutine has sent
}
