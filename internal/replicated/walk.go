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
//   - A message with appends.Expect counts if the head before it is the one that it expects.
//   - Of a message with appends.Once those entries count that no message holds which came after
//     those that its gateway had looked through. A message that does not count holds none; of
//     any other with appends.Once it makes no difference which of its entries counted, since
//     those that did not were in the log before.
//
// So a verdict needs the place that a message is at and, for appends.Once, the few messages
// before it, and never the whole log.

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
	before place // where it stood
	void   bool  // its condition was not met: nothing of it is in the log
	// With appends.Once, fresh says of each entry of the message whether it counts; nil if all do.
	fresh []bool
}

// hash is the BLAKE3-256 of an entry, without the newline.
type hash = [32]byte

// walker walks along the stream and decides what its messages add to the log.
type walker struct {
	at place
	// window has the latest messages that hold entries, for appends.Once: all after the first
	// since messages.
	window []passed
	since  uint64
	bytes  int
	// before returns the hashes of the entries in the messages after the first since, through
	// the first seq: of those that the window does not have any more.
	before func(ctx context.Context, since, seq uint64) (map[hash]struct{}, error)
}

// passed is a message that a walker has passed.
type passed struct {
	seq    uint64
	body   []byte
	hashes map[hash]struct{} // of the body; nil until somebody needs them
}

// windowBytes is about how many bytes of messages a walker keeps.
const windowBytes = 2 << 20

func newWalker(at place, before func(context.Context, uint64, uint64) (map[hash]struct{}, error)) *walker {
	return &walker{at: at, since: at.seq, before: before}
}

// step passes the message after w.at. The entries of the verdict may be part of m.body, which
// must not change any more.
func (w *walker) step(ctx context.Context, m *message) (v verdict, err error) {
	v.before = w.at
	v.run = run{seq: w.at.seq + 1, first: w.at.index + 1, count: m.count, time: max(w.at.time, m.time), entries: m.body}
	switch {
	case m.kind == appends.Expect && m.arg != w.at.index:
		v.void = true
	case m.kind == appends.Once && m.count > 0:
		err = w.sift(ctx, m, &v)
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
	if !v.void && m.count > 0 {
		w.window = append(w.window, passed{seq: v.seq, body: m.body})
		w.bytes += len(m.body)
	}
	for w.bytes > windowBytes && len(w.window) > 1 {
		w.since = w.window[0].seq
		w.bytes -= len(w.window[0].body)
		w.window[0] = passed{}
		w.window = w.window[1:]
	}
	return v, nil
}

// sift takes out of v what is in the log already, of a message with appends.Once.
func (w *walker) sift(ctx context.Context, m *message, v *verdict) error {
	var sets []map[hash]struct{}
	if m.arg < w.since {
		older, err := w.before(ctx, m.arg, w.since)
		if err != nil {
			return fmt.Errorf("message %d: what came before it: %w", v.seq, err)
		}
		sets = append(sets, older)
	}
	for i := range w.window {
		p := &w.window[i]
		if p.seq <= m.arg {
			continue
		}
		if p.hashes == nil {
			p.hashes = make(map[hash]struct{})
			addHashes(p.hashes, p.body)
		}
		sets = append(sets, p.hashes)
	}
	own := make(map[hash]struct{}, m.count) // a gateway sends none twice, but nothing depends on that
	v.fresh = make([]bool, 0, m.count)
	v.entries, v.count = nil, 0
	for rest := m.body; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		sum := blake3.Sum256(rest[:n-1])
		_, seen := own[sum]
		for i := 0; i < len(sets) && !seen; i++ {
			_, seen = sets[i][sum]
		}
		if !seen {
			own[sum] = struct{}{}
			v.entries = append(v.entries, rest[:n]...)
			v.count++
		}
		v.fresh = append(v.fresh, !seen)
		rest = rest[n:]
	}
	return nil
}

// addHashes adds the hashes of the entries of a body to set.
func addHashes(set map[hash]struct{}, body []byte) {
	for len(body) > 0 {
		n := bytes.IndexByte(body, '\n') + 1
		set[blake3.Sum256(body[:n-1])] = struct{}{}
		body = body[n:]
	}
}
