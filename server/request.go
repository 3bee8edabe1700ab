package server

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"strconv"
	"time"

	"github.com/zeebo/blake3"

	"errors"
	"fmt"
	"strings"

	"tcp-log-server/internal/where"
	"tcp-log-server/server/internal/message"
)

// request is a read in progress: what is yet to be sent, and how.
type request struct {
	next     uint64 // the cursor: the next index to look at
	through  uint64 // the last index to look at, MaxUint64 if there is none
	snapshot uint64 // the head when the read was parsed
	current  bool   // {"current":true} has been sent: the read follows

	time, hash bool
	stamped    int64  // the time in stamp
	stamp      []byte // its text, for the next line of the same time

	// For a read with a filter. Without one, through alone is the bound.
	where *where.Filter
	left  uint64 // how many more lines may be sent, MaxUint64 for any number
	scans bool   // when next is beyond through, enough entries have been examined

	told   uint64    // the peer knows the outcome for every entry through this
	seen   uint64    // told when appendAt last looked
	toldAt time.Time // when that value was first seen
}

// firstIndex returns the index at which a read begins, with head as its snapshot.
func firstIndex(ctx context.Context, s *Server, q *message.Query, head uint64) (uint64, error) {
	switch {
	case q.From > 0:
		return q.From, nil
	case q.Last > 0:
		return head - min(head, q.Last) + 1, nil
	}
	return s.Since(ctx, q.Since)
}

// newRequest returns the request of a read that begins at index first.
func newRequest(q *message.Query, first, head uint64) *request {
	r := &request{
		next: first, through: cmp.Or(q.Through, math.MaxUint64), snapshot: head,
		time: q.Time, hash: q.Hash, where: q.Where, left: math.MaxUint64,
		told: first - 1, seen: first - 1, toldAt: time.Now(),
	}
	if q.Where == nil {
		r.through = min(r.through, end(first, q.Count))
		return r
	}
	r.left = cmp.Or(q.Count, r.left)
	if last := end(first, q.Scan); last < r.through {
		r.through, r.scans = last, true
	}
	return r
}

// end returns the last index of count entries from first on, MaxUint64 for a count of 0.
func end(first, count uint64) uint64 {
	if count == 0 || count-1 > math.MaxUint64-first {
		return math.MaxUint64
	}
	return first + (count - 1)
}

// plain reports whether the read's lines are just those of the tail cache.
func (r *request) plain() bool { return r.where == nil && !r.time && !r.hash }

// appendRun appends the read's lines for a run, as the function appendRun does. n is how many
// entries have been handled.
func (r *request) appendRun(dst []byte, first uint64, count int, entries []byte, at int64, err error, limit int) (out []byte, n int, rest []byte) {
	if r.plain() || err != nil {
		count = int(min(uint64(count), r.left))
		out, n, rest = appendRun(dst, first, count, entries, err, limit)
		r.sent(first+uint64(n)-1, n)
		return out, n, rest
	}
	for rest = entries; n < count && r.left > 0 && (n == 0 || len(dst) < limit); {
		var line []byte
		if r.where == nil {
			line, rest, _ = bytes.Cut(rest, newline)
		} else {
			var passed int
			if passed, line, rest = r.where.Next(rest); line == nil {
				return dst, count, nil
			}
			n += passed
		}
		dst = r.appendLine(dst, first+uint64(n), at, line)
		n++
		r.sent(first+uint64(n)-1, 1)
	}
	return dst, n, rest
}

var newline = []byte{'\n'}

// appendCached appends what the read needs of a line of the tail cache: that of the entry at index,
// which was stored at time at.
func (r *request) appendCached(dst, line []byte, index uint64, at int64) []byte {
	entry, readable := entryOf(line)
	switch {
	case !readable:
		dst = append(dst, line...)
	case r.where != nil && !r.where.Match(entry):
		return dst
	default:
		dst = r.appendLine(dst, index, at, entry)
	}
	r.sent(index, 1)
	return dst
}

// entryOf returns the entry in a line, unless the line says that it cannot be read.
func entryOf(line []byte) (entry []byte, readable bool) {
	const name = `,"entry":`
	i := bytes.IndexByte(line, ',')
	if !bytes.HasPrefix(line[i:], []byte(name)) {
		return nil, false
	}
	return line[i+len(name) : len(line)-len("}\n")], true
}

// appendLine appends a line with the members that the read asked for.
func (r *request) appendLine(dst []byte, index uint64, at int64, entry []byte) []byte {
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendUint(dst, index, 10)
	if r.time {
		dst = append(dst, `,"time":`...)
		if at != r.stamped || r.stamp == nil {
			r.stamped, r.stamp = at, appendTime(r.stamp[:0], at)
		}
		dst = append(dst, r.stamp...)
	}
	if r.hash {
		sum := blake3.Sum256(entry)
		dst = appendHash(append(dst, `,"hash":`...), sum[:])
	}
	dst = append(dst, `,"entry":`...)
	dst = append(dst, entry...)
	return append(dst, "}\n"...)
}

// sent notes that n lines were gathered, the last of them for index. If that was all that the read
// may have, it ends there.
func (r *request) sent(index uint64, n int) {
	r.told = index
	if r.left == math.MaxUint64 {
		return
	}
	if r.left -= uint64(n); r.left == 0 {
		r.through, r.scans = index, false
	}
}

// owesAt reports whether the peer of a read with a filter must be told how far the read is.
func (r *request) owesAt() bool { return r.where != nil && r.told < r.next-1 }

// appendAt appends {"at":N} if the peer does not know how far the read is, and no line has told it
// for at least after.
func (r *request) appendAt(dst []byte, after time.Duration) []byte {
	if r.where == nil {
		return dst
	}
	now := time.Now()
	if r.seen != r.told {
		r.seen, r.toldAt = r.told, now
	}
	if !r.owesAt() || now.Sub(r.toldAt) < after {
		return dst
	}
	r.told, r.seen, r.toldAt = r.next-1, r.next-1, now
	dst = append(dst, `{"at":`...)
	dst = strconv.AppendUint(dst, r.told, 10)
	return append(dst, "}\n"...)
}

// tellAt gathers {"at":N} if it is due.
func (w *writer) tellAt() { w.out = w.read.appendAt(w.out, w.conn.server.atAfter) }

// catchUp is how many entries behind the head a read that is not plain takes turns with the
// replays.
const catchUp = 4096

// derive gathers the lines from the cursor through last for a read that is not plain.
func (w *writer) derive(last, head uint64) error {
	r := w.read
	if head-r.next >= catchUp {
		if err := w.flush(); err != nil {
			return err
		}
		if w.conn.outbox.ending() > endInput {
			w.endRead()
			return nil
		}
		turn := replayTurn{replayThrottle: w.conn.server.throttle}
		defer turn.end()
		if near := w.conn.server.near; turn.readsFrom(near, r.next) == turn.far {
			if err := turn.startReading(w.conn.ctx, near, r.next); err != nil {
				return err
			}
		} else if err := turn.start(w.conn.ctx); err != nil {
			return err
		}
	}
	for looked := 0; r.next <= min(last, r.through) && len(w.out) < flushAt && looked < lookAt; r.next++ {
		if err := w.load(head); err != nil {
			return err
		}
		for len(w.times) > 1 && w.times[1].first <= r.next {
			w.times = w.times[1:]
		}
		var line []byte
		line, w.feed = cutLine(w.feed)
		looked += len(line)
		w.out = r.appendCached(w.out, line, r.next, w.times[0].time)
	}
	w.tellAt()
	return nil
}

// filterFree is how many bytes of a filter do not count toward Config.MaxHeld.
const filterFree = 16 << 10

// holdFilter counts the memory of a read's filter, which may be nil, toward Config.MaxHeld. The
// peer keeps it for as long as it likes, like output that it does not take: when memory is short,
// its connection is among the first to be cut.
func (c *conn) holdFilter(f *where.Filter) {
	if f != nil && f.Size() > filterFree {
		c.filter.await()
		c.server.memory.hold(&c.filter, int64(f.Size()))
	}
}

// dropFilter undoes holdFilter.
func (c *conn) dropFilter() { c.server.memory.hold(&c.filter, 0) }

// askMax is how long to wait for a distantLog's head, or for the place of a time.
const askMax = 10 * time.Second

// Head returns the head of the log as a read that arrives now must see it. If the log has to ask
// other machines, this takes a few seconds at most, and their errors are returned as a *ReadError
// whose Later is true.
func (s *Server) Head(ctx context.Context) (uint64, error) { return s.bounded(ctx, s.log.Head) }

// Since is the log's Since, with the errors of Head.
func (s *Server) Since(ctx context.Context, time int64) (index uint64, err error) {
	return s.bounded(ctx, func(ctx context.Context) (uint64, error) { return s.log.Since(ctx, time) })
}

// bounded asks the log, for at most askMax if it is a distantLog.
func (s *Server) bounded(ctx context.Context, ask func(context.Context) (uint64, error)) (uint64, error) {
	if s.known == nil {
		return ask(ctx)
	}
	asking, cancel := context.WithTimeout(ctx, s.askMax)
	defer cancel()
	n, err := ask(asking)
	switch {
	case err == nil:
		return n, nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case asking.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%sthe other machines of the log have not answered for %v", notNow, s.askMax)
	}
	text := s.failures.forPeer(err).Error()
	if !strings.HasPrefix(text, notNow) {
		text = notNow + text
	}
	return 0, &ReadError{text, err}
}

// nearHead returns the head of the log as far as it is known without asking other machines.
func (s *Server) nearHead(ctx context.Context) (uint64, error) {
	if s.known != nil {
		return s.known(), nil
	}
	return s.log.Head(ctx)
}

// prepareAsking makes a read of a distantLog ask for what it needs, once everything that arrived
// with it has been acted on. Meanwhile the connection continues to take writes and send their
// replies. The caller has checked that no read is running. The error says why the connection was
// cut.
func (c *conn) prepareAsking(m message.Message) error {
	if err := c.lockWithRoom(); err != nil { // room for an error in place of the read
		return err
	}
	c.outbox.mu.Unlock()
	c.holdFilter(m.Query.Where)
	ctx, id := c.untilShutdown(), bytes.Clone(m.ID)
	c.outbox.mu.Lock()
	c.outbox.ask = func() { c.asking.Go(func() { c.askRead(ctx, id, m.Query) }) }
	c.outbox.mu.Unlock()
	return nil
}

// askRead asks for the snapshot and the beginning of a read, and hands the read to the writer. If
// they are unavailable now, the peer is told so and may read again. If ctx is done, the connection
// is about to end without the read.
func (c *conn) askRead(ctx context.Context, id []byte, q *message.Query) {
	s, o := c.server, &c.outbox
	head, err := s.Head(ctx)
	var first uint64
	if err == nil {
		first, err = firstIndex(ctx, s, q, head)
	}
	if err == nil {
		o.mu.Lock()
		o.request = newRequest(q, first, head)
		o.mu.Unlock()
		o.poke()
		return
	}
	c.dropFilter()
	var line []byte
	if unread, ok := errors.AsType[*ReadError](err); ok {
		line = appendFault(nil, id, unread.Text)
	}
	o.mu.Lock()
	o.reading = false
	o.asides = append(o.asides, line...)
	o.unsent += int64(len(line))
	o.mu.Unlock()
	o.poke()
}
