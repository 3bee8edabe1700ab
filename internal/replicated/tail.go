package replicated

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Messages that the tail's consumer omits, or delivers damaged or late, are fetched. The acknowledgement
// of an own message shows how far the stream goes at least, and so does every answer of the leader.

const (
	// tailLate is how long the tail may lag before the missing messages are fetched.
	tailLate = 100 * time.Millisecond
	// tailLatest is the longest it may lag, as long as it advances by itself.
	tailLatest = 3200 * time.Millisecond
)

// wakeTail makes the tail look for missing messages.
func (l *Log) wakeTail() {
	select {
	case l.missing <- struct{}{}:
	default:
	}
}

// knowLast notes that the stream has at least the messages through seq.
func (l *Log) knowLast(seq uint64) {
	for {
		known := l.last.Load()
		if seq <= known || l.last.CompareAndSwap(known, seq) {
			return
		}
	}
}

// fill fetches messages that the tail is missing, until ctx is done. If the tail delivers them meanwhile,
// fill waits longer the next time: it would only load a link that already delivers them slowly.
func (l *Log) fill(ctx context.Context) {
	behind, patience := time.Now(), tailLate // since when the tail may have lagged, and for how long it may
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

// fillFrom fetches messages until the tail has delivered one of them first. It reports whether any was
// needed.
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

// stuckBy returns why the next message cannot be counted, nil if nothing is known to be wrong.
func (l *Log) stuckBy() error {
	if err := l.stuck.Load(); err != nil {
		return *err
	}
	return nil
}

// isForeign reports whether err means that what is stored as a message is not one, on all nodes that
// answer.
func isForeign(err error) bool {
	var lost *LostError
	return errors.As(err, &lost) && errors.Is(lost, errMessage)
}

// unreadable returns an error that wraps ErrStream if the log ends before a message that no node has
// whole: another program sent it, or it is damaged everywhere. Nobody has acknowledged anything after it.
func (l *Log) unreadable() error {
	if err := l.stuckBy(); isForeign(err) {
		return fmt.Errorf("%w any more: it ends before a message that is not part of one: %w: see docs/CLUSTER.md, \"A foreign message\"", ErrStream, err)
	}
	return nil
}

// awaitOpened waits until this gateway has counted the message seq, or it is known that nobody can: then
// the log can be read, but takes no appends.
func (l *Log) awaitOpened(ctx context.Context, seq uint64) error {
	for {
		step, cancel := context.WithTimeout(ctx, 4*tailLate)
		err := l.awaitCounted(step, seq)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := l.unreadable(); err != nil {
			l.lane.hold(err)
			return nil
		}
	}
}
