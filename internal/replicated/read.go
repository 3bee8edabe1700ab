package replicated

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// reading is the callback of Read.
type reading func(first uint64, count int, entries []byte, time int64, err error) error

// Read passes the entries from..through to fn, as server.Log says. The newest come from memory, others
// from any up-to-date replica. An entry whose message no node has whole is passed as an error. If no node
// answers, the read ends with an UnavailableError.
func (l *Log) Read(ctx context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error {
	if head := l.Known(); through > head {
		return fmt.Errorf("a read through %d, and the head is %d", through, head)
	}
	for from <= through {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		r, oldest := l.counter.recently(from)
		if r.count > 0 {
			next, err := r.pass(from, through, fn)
			if err != nil {
				return err
			}
			from = next
			continue
		}
		last := through
		if oldest > 0 {
			last = min(through, oldest-1)
		}
		next, err := l.readStored(ctx, from, last, fn)
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

// pass passes the entries of r within from..through to fn. It returns the index after them. Package server
// counts what fn gets as what a stalled reader holds, so a small part of r is copied: the rest can be
// freed.
func (r *run) pass(from, through uint64, fn reading) (next uint64, err error) {
	if r.last() < from {
		return from, nil
	}
	entries, first := r.entries, r.first
	for ; first < from; first++ {
		entries = entries[lineEnd(entries):]
	}
	last := r.last()
	if last > through {
		n := 0
		for i := first; i <= through; i++ {
			n += lineEnd(entries[n:])
		}
		entries, last = entries[:n], through
	}
	if len(entries) < len(r.entries)/2 {
		entries = bytes.Clone(entries)
	}
	return last + 1, fn(first, int(last-first+1), entries, r.time, nil)
}

// lineEnd returns the length of the first line of b with its newline.
func lineEnd(b []byte) int { return bytes.IndexByte(b, '\n') + 1 }

// errEnough ends a walk along the stream.
var errEnough = errors.New("enough")

// readStored is Read from the stream. It returns the index after the last entry passed, which is
// through+1 unless err is not nil.
func (l *Log) readStored(ctx context.Context, from, through uint64, fn reading) (next uint64, err error) {
	at, err := l.seekIndex(ctx, from)
	if err != nil {
		return from, err
	}
	next = from
	kept := share{of: &l.budget} // by the walker's window
	defer func() { kept.give(kept.bytes) }()
	w := l.walkFrom(at, 0)
	var gap *LostError // the messages from this one on cannot be read
	err = l.fetchRun(ctx, at.seq+1, l.throughMessage(through), func(seq uint64, m *message, err error) error {
		if err == nil && gap != nil {
			// A later message tells how many entries the gap has.
			if m.hint.seq < gap.Seq {
				return nil
			}
			if err := passGap(m.hint.index, &next, through, gap, fn); err != nil {
				return err
			}
			if next > through {
				return errEnough
			}
			w, gap = l.walkFrom(m.hint, kept.bytes), nil
			err = l.readAgain(ctx, w, seq, &next, through, fn)
		}
		if err == nil {
			kept.take(windowBytes - kept.bytes)
			w.most = kept.bytes
			err = readStep(ctx, w, m, &next, through, fn)
		}
		var lost *LostError // the message itself, or one needed to tell what it adds
		if errors.As(err, &lost) {
			gap, err = &LostError{seq, lost.Err}, nil
		} else if err == nil && seq%keepEvery == 0 {
			l.places.add(w.at)
		}
		return err
	})
	if gap != nil && err == nil { // no later message tells
		err = passGap(through, &next, through, gap, fn)
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return next, err
}

// throughMessage returns a message that is not before the one with the entry at index, nor long after it.
func (l *Log) throughMessage(index uint64) uint64 {
	last := l.counted().seq
	if _, hi, ok := l.places.around(func(p place) bool { return p.index < index }); ok {
		last = min(last, hi.seq+lookback) // a few more, whose hints tell what is lost before them
	}
	return last
}

// readStep passes the next message of w, and its entries from next on to fn.
func readStep(ctx context.Context, w *walker, m *message, next *uint64, through uint64, fn reading) error {
	v, err := w.step(ctx, m)
	if err != nil {
		return err
	}
	if v.count > 0 && v.last() >= *next {
		if *next, err = v.pass(*next, through, fn); err != nil {
			return err
		}
	}
	if *next > through {
		return errEnough
	}
	return nil
}

// passGap passes an error for the entries from next through last, up to the end of the read.
func passGap(last uint64, next *uint64, through uint64, gap error, fn reading) error {
	last = min(last, through)
	if last < *next {
		return nil
	}
	first := *next
	*next = last + 1
	return fn(first, int(last-first+1), nil, 0, gap)
}

// readAgain walks from w to the message before seq, which follows a gap at some distance.
func (l *Log) readAgain(ctx context.Context, w *walker, seq uint64, next *uint64, through uint64, fn reading) error {
	return l.walked(ctx, w.at.seq+1, seq-1, func(_ uint64, m *message) error {
		return readStep(ctx, w, m, next, through, fn)
	})
}

// Since returns the index of the first entry that was stored at time or later, as server.Log says.
func (l *Log) Since(ctx context.Context, time int64) (index uint64, err error) {
	end := l.counted()
	switch {
	case end.index == 0 || time <= 0:
		return 1, nil
	case end.time < time:
		return end.index + 1, nil
	}
	if index, ok := l.counter.since(time); ok {
		return index, nil
	}
	at, err := l.seekTime(ctx, time)
	if err != nil {
		return 0, err
	}
	w := l.walkFrom(at, 0) // it is near
	err = l.fetchRun(ctx, at.seq+1, end.seq, func(_ uint64, m *message, err error) error {
		if err != nil {
			return err
		}
		v, err := w.step(ctx, m)
		if err == nil && v.count > 0 && v.time >= time {
			index, err = v.first, errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) {
		err = nil
	} else if err == nil {
		index = end.index + 1
	}
	return index, err
}
