package replicated

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What the consumer of the tail leaves out, or brings damaged or late, is fetched: an own message that
// has been acknowledged says how far the stream goes at least, and so does every question to the leader.

const (
	// tailLate is how long the tail may be behind what is known to be stored before it is fetched.
	tailLate = 100 * time.Millisecond
	// tailLatest is how long it may at most, while it goes on by itself.
	tailLatest = 3200 * time.Millisecond
)

// wakeTail has the tail look for what is missing.
func (l *Log) wakeTail() {
	select {
	case l.missing <- struct{}{}:
	default:
	}
}

// knowLast notes that the stream goes through seq at least.
func (l *Log) knowLast(seq uint64) {
	for {
		known := l.last.Load()
		if seq <= known || l.last.CompareAndSwap(known, seq) {
			return
		}
	}
}

// fill fetches what the tail is missing, until ctx is done. Where the tail brings it meanwhile, fill is
// more patient the next time: it would only fill a link on which the same messages come slowly already.
func (l *Log) fill(ctx context.Context) {
	behind, patience := time.Now(), tailLate // since when the tail may have been, and for how long it may
	at := l.counted().seq
	timer := time.NewTicker(tailLate)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.missing:
		case <-timer.C:
		}
		now, last := l.counted().seq, l.last.Load()
		if now >= last || now != at {
			at, behind = now, time.Now()
			l.stuck.Store(nil)
			if now >= last {
				patience = tailLate
			}
			continue
		}
		if time.Since(behind) < patience {
			continue
		}
		needed, err := l.fillFrom(ctx, now+1, last)
		if at, behind = l.counted().seq, time.Now(); needed {
			patience = tailLate
		} else if err == nil {
			patience = min(2*patience, tailLatest)
		}
		if err != nil && ctx.Err() == nil {
			l.lost(err)
			if at == now {
				l.stuck.Store(&err)
			}
		}
	}
}

// fillFrom fetches messages, until the tail has brought one of them first. It returns whether one was needed.
func (l *Log) fillFrom(ctx context.Context, from, through uint64) (needed bool, err error) {
	err = l.walked(ctx, from, through, func(seq uint64, m *message) error {
		if seq <= l.counted().seq {
			return errEnough
		}
		needed = true
		return l.pass(seq, m, nil)
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return needed, err
}

// stuckBy returns why the message after those that have been counted cannot be, nil if nothing is
// known to be wrong.
func (l *Log) stuckBy() error {
	if err := l.stuck.Load(); err != nil {
		return *err
	}
	return nil
}

// isForeign reports whether err says that what is stored as a message is none, by all nodes that answer.
func isForeign(err error) bool {
	var lost *LostError
	return errors.As(err, &lost) && errors.Is(lost, errMessage)
}

// unreadable returns an error that wraps ErrStream if the log ends before a message that no node has whole:
// another program has sent it, or it is damaged everywhere. Nothing after it has been acknowledged by anyone.
func (l *Log) unreadable() error {
	if err := l.stuckBy(); isForeign(err) {
		return fmt.Errorf("%w any more, it ends before a message that is none: %w: see docs/CLUSTER.md, \"A message that is none\"", ErrStream, err)
	}
	return nil
}

// awaitOpened waits until this gateway has counted the message seq, or it is known that nobody can: then the
// log can be read, and takes no appends.
func (l *Log) awaitOpened(ctx context.Context, seq uint64) error {
	for {
		step, cancel := context.WithTimeout(ctx, 4*tailLate)
		err := l.awaitCounted(step, seq)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := l.unreadable(); err != nil {
			l.stats.mu.Lock()
			l.stats.unfit = err
			l.stats.mu.Unlock()
			l.lane.hold(err)
			return nil
		}
	}
}
