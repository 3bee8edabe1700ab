package replicated

import (
	"bytes"
	"context"
	"fmt"

	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
)

// Which entries of a message are part of the log is decided by the order of the stream, and
// whoever walks along it comes to the same verdict:
//
//   - A message is void whose gateway had counted more messages than come before it: the stream has lost
//     some of these.
//   - A message with appends.Expect is void unless the head before it is the one that it expects.
//   - A message with appends.Once is void if more than lookback messages came between those that
//     its gateway had looked through and itself. Its gateway sends its entries again.
//   - Of any other message with appends.Once those entries count that no message holds which came
//     after those that its gateway had looked through and is not void.
//
// So a verdict needs the place that a message is at and, for appends.Once, the few messages
// before it. It never needs the verdict of a message before that place, except whether that is
// void, and the place says so. Without these bits a walker would have to begin far earlier to
// decide that, and earlier still for what it meets there.

// run is what a message adds to the log.
type run struct {
	seq     uint64
	first   uint64 // index of its first entry
	count   int
	time    int64
	entries []byte
}

func (r *run) last() uint64 { return r.first + uint64(r.count) - 1 }

// verdict is what became of a message at its place.
type verdict struct {
	run
	kind   appends.Kind
	before place // where it stood
	void   bool  // nothing of it is in the log
	stray  bool  // because its gateway had counted what the stream has lost
	// With appends.Once, fresh says of each entry of the message whether it counts; nil if all do.
	fresh []bool
}

// hash is the BLAKE3-256 of an entry, without the newline.
type hash = [32]byte

// walker walks along the stream and decides what its messages add to the log.
type walker struct {
	at place
	// window has the latest messages that are not void and hold entries, for appends.Once: all of
	// those after the first since messages.
	window []passed
	since  uint64
	bytes  int
	most   int // about how many bytes of messages it keeps
	// fetch passes the messages from..through to fn, in order.
	fetch func(ctx context.Context, from, through uint64, fn func(seq uint64, m *message) error) error
}

// passed is a message that a walker has passed.
type passed struct {
	seq    uint64
	body   []byte
	hashes map[hash]struct{} // of the body; nil until somebody needs them
}

// windowBytes is about how many bytes of messages a walker keeps that reads old ones.
const windowBytes = 2 << 20

// step passes the message after w.at. The entries of the verdict may be part of m.body, which
// must not change any more.
func (w *walker) step(ctx context.Context, m *message) (v verdict, err error) {
	v.before, v.kind = w.at, m.kind
	v.run = run{seq: w.at.seq + 1, first: w.at.index + 1, count: m.count, time: max(w.at.time, m.time), entries: m.body}
	switch {
	case m.stray:
		v.void, v.stray = true, true
	case m.kind == appends.Expect:
		v.void = m.arg != w.at.index
	case m.kind == appends.Once:
		if v.void = m.arg+lookback < v.seq; !v.void && m.count > 0 {
			err = w.sift(ctx, m, &v)
		}
	}
	if err != nil {
		return v, err
	}
	if v.void {
		v.count, v.entries = 0, nil
	}
	w.at.seq, w.at.index = v.seq, w.at.index+uint64(v.count)
	if v.count > 0 {
		w.at.time = v.time
	}
	w.at.voids.push(v.void)
	if !v.void && m.count > 0 {
		w.window = append(w.window, passed{seq: v.seq, body: m.body})
		w.bytes += len(m.body)
	}
	for len(w.window) > 1 && (w.bytes > w.most || w.window[0].seq+lookback < w.at.seq) {
		w.since = w.window[0].seq
		w.bytes -= len(w.window[0].body)
		w.window[0] = passed{}
		w.window = w.window[1:]
	}
	return v, nil
}

// sift takes out of v what is in the log already, of a message with appends.Once.
func (w *walker) sift(ctx context.Context, m *message, v *verdict) error {
	if err := w.lookBack(ctx, m.arg); err != nil {
		return fmt.Errorf("message %d: what came before it: %w", v.seq, err)
	}
	var sets []map[hash]struct{}
	for i := range w.window {
		p := &w.window[i]
		if p.seq <= m.arg {
			continue
		}
		if p.hashes == nil {
			p.hashes = hashesOf(p.body)
		}
		sets = append(sets, p.hashes)
	}
	own := make(map[hash]struct{}, m.count) // a gateway sends none twice, but nothing depends on that
	fresh := make([]bool, 0, m.count)
	kept := 0 // bytes of v.entries, which are m.body until something is missing
	for rest := m.body; len(rest) > 0; {
		n := lineEnd(rest)
		sum := blake3.Sum256(rest[:n-1])
		_, seen := own[sum]
		for i := 0; i < len(sets) && !seen; i++ {
			_, seen = sets[i][sum]
		}
		switch {
		case seen && v.fresh == nil: // the first that does not count
			v.fresh = fresh
			v.entries = bytes.Clone(m.body[:kept])
		case !seen && v.fresh != nil:
			v.entries = append(v.entries, rest[:n]...)
		}
		if seen {
			v.count--
		} else {
			own[sum] = struct{}{}
			kept += n
		}
		if fresh = append(fresh, !seen); v.fresh != nil {
			v.fresh = fresh
		}
		rest = rest[n:]
	}
	return nil
}

// lookBack has the window hold the messages after the first since. These are no more than
// lookback before w.at.
func (w *walker) lookBack(ctx context.Context, since uint64) error {
	if since >= w.since {
		return nil
	}
	var older []passed
	size := 0
	err := w.fetch(ctx, since+1, w.since, func(seq uint64, m *message) error {
		if m.count > 0 && !w.at.voids.has(w.at.seq-seq) {
			older = append(older, passed{seq: seq, body: m.body, hashes: hashesOf(m.body)})
			size += len(m.body)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.window, w.since, w.bytes = append(older, w.window...), since, w.bytes+size
	return nil
}

// hashesOf returns the hashes of the entries of a body.
func hashesOf(body []byte) map[hash]struct{} {
	set := make(map[hash]struct{}, bytes.Count(body, newline))
	for len(body) > 0 {
		n := lineEnd(body)
		set[blake3.Sum256(body[:n-1])] = struct{}{}
		body = body[n:]
	}
	return set
}
