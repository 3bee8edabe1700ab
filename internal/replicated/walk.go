package replicated

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
)

// The order of the stream decides which entries of a message are in the log, and everyone who walks along
// it reaches the same verdicts:
//
//   - A message is void if its gateway had counted more messages than precede it: the stream has lost
//     some of these.
//   - A message with appends.Expect is void unless the head before it is the expected one.
//   - A message with appends.Once is void if lookback messages or more lie between those that its
//     gateway had searched and the message itself. Its gateway sends its entries again.
//   - Of any other message with appends.Once, an entry counts unless a message that is not void holds
//     it among those after the messages that its gateway had searched.
//
// So a verdict needs the place of the message and, for appends.Once, the few messages before it. It never
// needs the verdict on a message before that place, except whether it is void, and the place says so.
// Without these bits, a walker would have to start far earlier to find out, and earlier still for the
// messages that it meets there.

// run is what a message adds to the log.
type run struct {
	seq     uint64
	first   uint64 // index of its first entry
	count   int
	time    int64
	entries []byte
}

// memory returns roughly how many bytes r takes: its entries are part of a message.
func (r *run) memory() int { return messageOverhead + len(r.entries) }

func (r *run) last() uint64 { return r.first + uint64(r.count) - 1 }

// verdict is the outcome of a message at its place.
type verdict struct {
	run
	kind   appends.Kind
	before place // its place
	void   bool  // none of it is in the log
	stray  bool  // because its gateway had counted messages that the stream has lost
	// With appends.Once, fresh says for each entry of the message whether it counts; nil if all do.
	fresh []bool
}

// hash is the BLAKE3-256 of an entry, without the newline.
type hash = [32]byte

// walker walks along the stream and decides what its messages add to the log.
type walker struct {
	at place
	// window holds, for appends.Once, the latest messages that are not void and have entries: all of
	// those after the first since messages.
	window []passed
	since  uint64
	bytes  int // that the window takes
	most   int // and may take
	// hashing: the window has only the hashes of its messages, so it needs all entries hashed but no
	// memory for their bodies.
	hashing bool
	// fetch passes the messages from..through to fn, in order.
	fetch func(ctx context.Context, from, through uint64, fn func(seq uint64, m *message) error) error
}

// passed is a message that a walker has passed: its body, or the hashes of its entries once they were
// needed.
type passed struct {
	seq    uint64
	body   []byte
	hashes map[hash]struct{}
}

// hashBytes is roughly what a hash takes in a map.
const hashBytes = 64

// bytes returns roughly how many bytes p takes.
func (p *passed) bytes() int { return len(p.body) + hashBytes*len(p.hashes) }

// windowBytes is roughly how many bytes of messages a walker of old ones keeps.
const windowBytes = 2 << 20

// step passes the message after w.at. The entries of the verdict may be part of m.body, which must not
// change any more.
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
		p := passed{seq: v.seq, body: m.body}
		if w.hashing {
			p.body, p.hashes = nil, hashesOf(m.body)
		}
		w.window = append(w.window, p)
		w.bytes += p.bytes()
	}
	for len(w.window) > 0 && (w.bytes > w.most || w.window[0].seq+lookback < w.at.seq) {
		w.since = w.window[0].seq
		w.bytes -= w.window[0].bytes()
		w.window[0] = passed{}
		w.window = w.window[1:]
	}
	return v, nil
}

// sift removes from v the entries of a message with appends.Once that are already in the log.
func (w *walker) sift(ctx context.Context, m *message, v *verdict) error {
	sums := make([]hash, 0, m.count)
	stored := make(map[hash]bool, m.count) // whether the log has the entry
	for sum := range entryHashes(m.body) {
		sums = append(sums, sum)
		stored[sum] = false
	}
	err := w.lookBack(ctx, m.arg, func(body []byte) {
		for sum := range entryHashes(body) {
			if _, asked := stored[sum]; asked {
				stored[sum] = true
			}
		}
	})
	if err != nil {
		return fmt.Errorf("message %d: what came before it: %w", v.seq, err)
	}
	for i := range w.window {
		p := &w.window[i]
		if p.seq <= m.arg {
			continue
		}
		if p.hashes == nil {
			w.bytes -= p.bytes()
			p.body, p.hashes = nil, hashesOf(p.body)
			w.bytes += p.bytes()
		}
		for sum := range stored {
			if _, has := p.hashes[sum]; has {
				stored[sum] = true
			}
		}
	}
	fresh := make([]bool, 0, m.count)
	rest, kept := m.body, 0 // v.entries is the first kept bytes of m.body until an entry is left out
	for _, sum := range sums {
		n := lineEnd(rest)
		seen := stored[sum]
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
			stored[sum] = true // gateways do not send duplicates, but nothing depends on that
			kept += n
		}
		if fresh = append(fresh, !seen); v.fresh != nil {
			v.fresh = fresh
		}
		rest = rest[n:]
	}
	return nil
}

// lookBack passes the bodies of the messages after the first since that are in the log but no longer in
// the window to fn. They are at most lookback before w.at.
func (w *walker) lookBack(ctx context.Context, since uint64, fn func(body []byte)) error {
	if since >= w.since {
		return nil
	}
	return w.fetch(ctx, since+1, w.since, func(seq uint64, m *message) error {
		if m.count > 0 && !w.at.voids.has(w.at.seq-seq) {
			fn(m.body)
		}
		return nil
	})
}

// entryHashes yields the hashes of the entries of a body, in order.
func entryHashes(body []byte) iter.Seq[hash] {
	return func(yield func(hash) bool) {
		for len(body) > 0 {
			n := lineEnd(body)
			if !yield(blake3.Sum256(body[:n-1])) {
				return
			}
			body = body[n:]
		}
	}
}

// hashesOf returns the hashes of the entries of a body.
func hashesOf(body []byte) map[hash]struct{} {
	set := make(map[hash]struct{}, bytes.Count(body, newline))
	for sum := range entryHashes(body) {
		set[sum] = struct{}{}
	}
	return set
}
