package replicated

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// The index of an entry is how many entries the messages before it hold, so finding one takes
// places whose counts are known. Every message has such a place in its header, a little before
// itself: finding an index is an interpolation between those.

// near is how many messages are walked rather than interpolated over.
const near = 32

// keepEvery is how far apart the places are that are kept, in messages, of those that the log
// passes anyway.
const keepEvery = 1024

// places are the places of the stream that are known, in order.
type places struct {
	mu  sync.Mutex
	all []place
}

// add adds a place.
func (p *places) add(at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, found := slices.BinarySearchFunc(p.all, at, func(a, b place) int { return compare(a.seq, b.seq) })
	if !found {
		p.all = slices.Insert(p.all, i, at)
	}
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// around returns the last known place that is before the one looked for, and the first that is
// not; ok is false if there is none such.
func (p *places) around(before func(place) bool) (lo, hi place, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.all, struct{}{}, func(at place, _ struct{}) int {
		if before(at) {
			return -1
		}
		return 1
	})
	if i > 0 {
		lo = p.all[i-1]
	}
	if ok = i < len(p.all); ok {
		hi = p.all[i]
	}
	return lo, hi, ok
}

// seek returns a place that is before the one looked for, and no more than some messages before
// it. before tells of a place whether it is; end is a place that is not. fraction says of two
// places around it about where between them it is, from 0 to 1.
func (l *Log) seek(ctx context.Context, end place, before func(place) bool, fraction func(lo, hi place) float64) (place, error) {
	lo, hi, ok := l.places.around(before)
	if !ok || hi.seq > end.seq {
		hi = end
	}
	for try := 0; hi.seq-lo.seq > near; try++ {
		span := hi.seq - lo.seq
		at := lo.seq + 1 + min(span-1, uint64(fraction(lo, hi)*float64(span)))
		if try%2 == 1 { // interpolation can be led astray for long, halving cannot
			at = lo.seq + (span+1)/2
		}
		at = min(max(at, lo.seq+near/2), hi.seq)
		m, err := l.fetch(ctx, at)
		var lost *LostError
		if errors.As(err, &lost) && at > lo.seq+near/2 { // another will do
			m, err = l.fetch(ctx, at-1)
		}
		if err != nil {
			return place{}, err
		}
		switch p := m.hint; {
		case p.seq <= lo.seq || p.seq >= hi.seq:
			// It was sent long before it was stored. Those right before hi say more, or all is walked.
			if try > 16 {
				return lo, nil
			}
		default:
			l.places.add(p)
			if before(p) {
				lo = p
			} else {
				hi = p
			}
		}
	}
	return lo, nil
}

// seekIndex returns a place before the entry at index.
func (l *Log) seekIndex(ctx context.Context, index uint64) (place, error) {
	return l.seek(ctx, l.counted(), func(p place) bool { return p.index < index }, func(lo, hi place) float64 {
		return float64(index-1-lo.index) / float64(hi.index-lo.index)
	})
}

// seekMessage returns a place before the message seq, or right after it.
func (l *Log) seekMessage(ctx context.Context, seq uint64) (place, error) {
	return l.seek(ctx, l.counted(), func(p place) bool { return p.seq < seq }, func(lo, hi place) float64 {
		return float64(seq-1-lo.seq) / float64(hi.seq-lo.seq)
	})
}

// seekTime returns a place before the first entry that was stored at time or later.
func (l *Log) seekTime(ctx context.Context, time int64) (place, error) {
	return l.seek(ctx, l.counted(), func(p place) bool { return p.seq == 0 || p.time < time }, func(lo, hi place) float64 {
		return float64(time-lo.time) / float64(hi.time-lo.time)
	})
}

// hashesBetween returns the hashes of the entries in the messages after the first since, through
// the first seq.
func (l *Log) hashesBetween(ctx context.Context, since, seq uint64) (map[hash]struct{}, error) {
	at, err := l.seekMessage(ctx, since+1)
	if err != nil {
		return nil, err
	}
	set := make(map[hash]struct{})
	w := newWalker(at, l.hashesBetween)
	err = l.fetchRun(ctx, at.seq+1, seq, func(got uint64, m *message, err error) error {
		if err != nil {
			return err
		}
		v, err := w.step(ctx, m)
		if err == nil && !v.void && got > since {
			addHashes(set, m.body)
		}
		return err
	})
	return set, err
}
