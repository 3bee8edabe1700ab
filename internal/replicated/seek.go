package replicated

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
)

// The index of an entry is the number of entries in the messages before it, so finding one takes places
// whose counts are known. Every message names such a place, shortly before itself, in its header: finding
// an index is interpolation between these places.

// near is the distance in messages that is walked instead of interpolated.
const near = 32

// keepEvery is the distance, in messages, of the places that are kept as the log passes them.
const keepEvery = 1024

// placesMax is how many places are kept.
const placesMax = 1 << 13

// places holds the known places of the stream, in order.
type places struct {
	mu  sync.Mutex
	all []place
}

// add adds a place. If there are too many, it drops every other one.
func (p *places) add(at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, found := slices.BinarySearchFunc(p.all, at, func(a, b place) int { return cmp.Compare(a.seq, b.seq) })
	if found {
		return
	}
	p.all = slices.Insert(p.all, i, at)
	if len(p.all) > placesMax {
		for i := range len(p.all) / 2 {
			p.all[i] = p.all[2*i]
		}
		p.all = p.all[:len(p.all)/2]
	}
}

// around returns the last known place for which before is true, and the first for which it is not; ok is
// false if there is no such first.
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

// seekTries is how many useless messages in a row make seek leave the rest to walking.
const seekTries = 16

// seek returns the last place that it can find for which before is true, usually within near messages of
// the one looked for. before must be false for end. fraction estimates how far between two places the one
// looked for is, from 0 to 1.
func (l *Log) seek(ctx context.Context, end place, before func(place) bool, fraction func(lo, hi place) float64) (place, error) {
	lo, hi, ok := l.places.around(before)
	if !ok || hi.seq > end.seq {
		hi = end
	}
	for try, useless := 0, 0; hi.seq-lo.seq > near && useless < seekTries; try++ {
		span := hi.seq - lo.seq
		part := fraction(lo, hi)
		switch {
		case useless > 0: // spread over the span, each time elsewhere
			_, part = math.Modf(float64(useless) * math.Phi)
		case try%2 == 1: // interpolation can be led astray for long; halving cannot
			part = 0.5
		}
		at := lo.seq + 1 + uint64(min(max(part, 0), 1)*float64(span))
		at = min(max(at, lo.seq+near/2), hi.seq)
		m, err := l.fetch(ctx, at)
		var lost *LostError
		if err != nil && !errors.As(err, &lost) {
			return place{}, err
		}
		p := m.hint
		if err != nil || p.seq <= lo.seq || p.seq >= hi.seq {
			useless++ // unreadable, or sent long before it was stored
			continue
		}
		useless = 0
		l.places.add(p)
		if before(p) {
			lo = p
		} else {
			hi = p
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

// seekTime returns a place before the first entry that was stored at time or later.
func (l *Log) seekTime(ctx context.Context, time int64) (place, error) {
	return l.seek(ctx, l.counted(), func(p place) bool { return p.seq == 0 || p.time < time }, func(lo, hi place) float64 {
		return float64(time-lo.time) / float64(hi.time-lo.time)
	})
}

// walkFrom returns a walker at a place that keeps roughly this many bytes of messages.
func (l *Log) walkFrom(at place, most int) *walker {
	return &walker{at: at, since: at.seq, most: most, fetch: l.walked}
}

// walked implements walker.fetch.
func (l *Log) walked(ctx context.Context, from, through uint64, fn func(seq uint64, m *message) error) error {
	return l.fetchRun(ctx, from, through, func(seq uint64, m *message, err error) error {
		if err != nil {
			return err
		}
		return fn(seq, m)
	})
}
