package engine

import (
	"errors"
	"sync/atomic"
	"time"

	"tcp-log-server/segment"
)

// proveAfter is the shortest time for which the log must have been idle before its last
// batch is proved: see segment.Writer.Prove. It may take twice as long.
const proveAfter = 250 * time.Millisecond

// prover decides when the committer proves the last batch. While appends come in, all
// that it costs them is a look at pending.
type prover struct {
	pending atomic.Bool // a batch has not been proved
	// The committer owns the rest.
	timer *time.Timer
	armed bool
	head  uint64 // when the timer last fired
}

// note records that there is a batch to prove. It reports whether the committer has yet
// to learn of it.
func (p *prover) note() bool { return !p.pending.Load() && !p.pending.Swap(true) }

// await waits until the committer may have something to commit, and meanwhile proves the
// last batch once the log has been idle. It leads while it does that: an append that
// comes in waits for that one sync, as for any.
func (l *Log) await() {
	p := &l.prover
	for {
		if !p.armed && p.pending.Load() {
			p.timer.Reset(proveAfter)
			p.armed = true
		}
		select {
		case <-l.queue.wake:
			return
		case <-p.timer.C:
		}
		p.armed = false
		if head := l.head.Load(); head != p.head {
			p.head = head
			continue
		}
		if !l.queue.lead() {
			continue
		}
		l.prove()
		p.pending.Store(false)
		l.queue.rest()
	}
}

// prove proves the last batch. Only the leader calls it.
func (l *Log) prove() {
	if l.Err() != nil {
		return
	}
	// A full disk prevents the proof, which does no harm.
	if err := l.store.prove(); errors.Is(err, segment.ErrSync) {
		l.fail(err)
	}
}
