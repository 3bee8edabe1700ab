package engine

import (
	"errors"
	"sync/atomic"
	"time"

	"tcp-log-server/segment"
)

// proveAfter is how long the log must have been idle, at least, before its last batch is
// proved: see segment.Writer.Prove. It may be twice as long.
const proveAfter = 250 * time.Millisecond

// prover is when the committer proves the last batch. While appends come in all that it
// takes of them is a look at pending.
type prover struct {
	pending atomic.Bool // there is a batch that is not proved
	// The committer owns the rest.
	timer *time.Timer
	armed bool
	head  uint64 // when the timer last ran out
}

// note records that there is a batch to prove. It reports whether the committer does not
// know yet.
func (p *prover) note() bool { return !p.pending.Load() && !p.pending.Swap(true) }

// await waits until the committer may have something to commit, and meanwhile proves the
// last batch once the log has been idle. It leads then: an append that comes in waits
// for that one sync, as for any.
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
	// Without room there is no proof, and no harm.
	if err := l.store.prove(); errors.Is(err, segment.ErrSync) {
		l.fail(err)
	}
}
