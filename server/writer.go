package server

import (
	"context"
	"errors"
	"math"
	"strconv"
	"sync"
	"time"
)

const (
	// flushAt is how many bytes are gathered for one write to the socket.
	flushAt = 128 << 10
	// heldMin is how many bytes of output may wait for a peer without counting toward
	// Config.MaxHeld.
	heldMin = 16 << 10
)

// buffers holds writers' buffers while they are large.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, flushAt+flushAt/2); return &b }}

// writer sends a connection's output, except for replies that are sent directly
// (outbox.go). It gathers lines in out, in the order that the protocol promises:
//
//   - Lines that answer no write and belong to no read go first.
//   - While no read is running, and while one goes through history, replies go out as
//     they come.
//   - {"current":true} comes before the reply to any write beyond the snapshot, once
//     history is through.
//   - While following, replies and entries go out by their index, the reply to a write
//     right before its entry.
type writer struct {
	conn *conn

	// send is held by whoever sends: the writer while it has anything to do, or the log's
	// goroutine that acknowledges. It guards everything below.
	send        sync.Mutex
	repliesOnly bool // only replies are to be sent

	out   []byte
	stuck share // what out, and what the log keeps for a replay, take while waiting
	kept  int   // what the log keeps for a replay that waits

	acks     []*group // to be replied to, in order
	ending   ending   // as of the last collect
	awaiting int      // groups that were pending then
	asking   bool     // a read had been accepted then that was not ready to start
	onReply  func(Outcome)

	replica *replica // once the connection is a replication stream

	read    *request
	cursor  cursor          // of read, for Server.Stats
	moved   <-chan struct{} // closed once the head has moved past the followed one
	feed    []byte          // lines from read.next through feedEnd
	feedEnd uint64
	times   []runTime // of feed
}

// run sends output until the connection ends.
func (w *writer) run() error {
	defer w.endFollow()
	w.send.Lock()
	defer w.send.Unlock()
	for {
		w.collect()
		if err := w.advance(); err != nil {
			return w.tellWhy(err)
		}
		if w.finished() {
			if w.ending == endInvalid {
				w.out = appendFault(w.out, nil, w.conn.outbox.why.Error()) // set before ending was
			}
			return w.flush()
		}
		if err := w.flush(); err != nil {
			return err
		}
		if err := w.wait(); err != nil {
			return err
		}
	}
}

// tellWhy sends a last line if err says that entries are not available now, and returns
// err. Any other error of the log ends the connection without a line, as it always has. A
// Conversation reports it in its own way.
func (w *writer) tellWhy(err error) error {
	if unread, ok := errors.AsType[*ReadError](err); ok && unread.Later() && !w.conn.relayed {
		w.out = appendFault(w.out, nil, unread.Text)
		if err := w.flush(); err != nil {
			return err
		}
	}
	return err
}

// wait waits until there is something to send. Meanwhile others may send.
func (w *writer) wait() error {
	w.shrink()
	w.repliesOnly = w.read == nil && len(w.acks) == 0
	var quiet <-chan time.Time
	switch {
	case w.read != nil && w.read.owesAt():
		timer := time.NewTimer(time.Until(w.read.toldAt.Add(w.conn.server.atAfter)))
		defer timer.Stop()
		quiet = timer.C
	case w.replica != nil:
		timer := time.NewTimer(time.Until(w.replica.toldAt.Add(headEvery)))
		defer timer.Stop()
		quiet = timer.C
	}
	w.send.Unlock()
	defer w.send.Lock()
	select {
	case <-w.conn.outbox.wake:
	case <-w.moved:
	case <-quiet:
	case <-w.conn.ctx.Done():
		return context.Cause(w.conn.ctx)
	}
	return nil
}

// collect takes over the contents of the outbox.
func (w *writer) collect() {
	o := &w.conn.outbox
	o.mu.Lock()
	asides := int64(len(o.asides))
	w.out = append(append(w.out, o.rest...), o.asides...)
	o.rest, o.asides = nil, nil
	if o.prepared == nil {
		w.acks = append(w.acks, o.acked...)
		clear(o.acked)
		o.acked = o.acked[:0]
	}
	if o.request != nil {
		w.read, o.request = o.request, nil
	}
	w.asking = o.reading && w.read == nil
	w.replica = o.replica
	w.ending, w.awaiting = o.end, o.pending+len(o.acked)
	o.mu.Unlock()
	if asides > 0 {
		o.sent(asides)
	}
}

// finished reports whether everything that is due has been gathered.
func (w *writer) finished() bool {
	return w.ending != endNot && w.awaiting == 0 && len(w.acks) == 0 &&
		(w.read == nil && !w.asking || w.read != nil && w.read.current || w.ending != endInput) || w.replica != nil && w.replica.over
}

// advance gathers what can be sent now.
func (w *writer) advance() error {
	if w.replica != nil {
		return w.ship()
	}
	if w.read != nil && !w.read.current {
		if err := w.history(); err != nil {
			return err
		}
	}
	if w.read != nil && w.read.current {
		if err := w.follow(); err != nil {
			return err
		}
	}
	if w.read == nil {
		return w.reply(math.MaxUint64)
	}
	return nil
}

// reply gathers the replies of all groups up to the first group that goes beyond index
// last.
func (w *writer) reply(last uint64) error {
	for len(w.acks) > 0 && w.acks[0].last <= last {
		for g := w.acks[0]; g.more(); {
			if w.onReply != nil {
				w.onReply(g.outcome())
			}
			w.out = g.appendReply(w.out)
		}
		w.dropAck()
		if err := w.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

// dropAck drops the first of acks, which has been replied to.
func (w *writer) dropAck() {
	g := w.acks[0]
	w.conn.outbox.sent(g.size())
	w.acks[0] = nil
	w.acks = w.acks[1:]
	if len(w.acks) == 0 {
		w.acks = nil
	}
	g.release()
}

// follow gathers the entries up to the head, and the replies among them.
func (w *writer) follow() error {
	if w.ending > endInput {
		w.endRead()
		return nil
	}
	head, moved := w.conn.server.log.Acked()
	w.moved = moved
	w.collect()
	for w.read != nil && len(w.acks) > 0 && w.acks[0].last <= head {
		for g := w.acks[0]; g.more(); {
			index := g.next().Index
			if index > 0 {
				if err := w.stream(index-1, head); err != nil {
					return err
				}
			}
			w.out = g.appendReply(w.out)
			if index > 0 {
				if err := w.stream(index, head); err != nil {
					return err
				}
			}
		}
		w.dropAck()
	}
	if err := w.stream(head, head); err != nil || w.read == nil {
		return err
	}
	w.tellAt()
	return nil
}

// stream gathers the entries from the cursor through last, which is at most head, and
// ends the read when it has all of its entries.
func (w *writer) stream(last, head uint64) error {
	for w.read != nil && w.read.next <= min(last, w.read.through) {
		r := w.read
		last := min(last, r.through)
		if err := w.load(head); err != nil {
			return err
		}
		if !r.plain() {
			if err := w.derive(last, head); err != nil || w.read == nil {
				return err
			}
		} else if w.feedEnd <= last && len(w.feed) >= heldMin {
			// Send it as it is: nobody needs a copy.
			if err := w.flush(); err != nil {
				return err
			}
			feed := w.feed
			r.next, w.feed = w.feedEnd+1, nil
			if err := w.write(feed, min(len(feed), tailBlock)); err != nil {
				return err
			}
		} else if w.feedEnd <= last {
			w.out = append(w.out, w.feed...)
			r.next, w.feed = w.feedEnd+1, nil
		} else {
			var line []byte
			line, w.feed = cutLine(w.feed)
			w.out = append(w.out, line...)
			r.next++
		}
		if err := w.flushFull(); err != nil {
			return err
		}
		if r.next > r.through {
			return w.head()
		}
	}
	return nil
}

// load fills feed with lines if it is empty.
func (w *writer) load(head uint64) (err error) {
	if len(w.feed) == 0 {
		w.feed, w.times, w.feedEnd, err = w.conn.server.tail.lines(w.conn.ctx, w.read.next, head)
	}
	if err != nil {
		return w.conn.readError(err)
	}
	return nil
}

// head ends a read that has all its entries.
func (w *writer) head() error {
	head, err := w.conn.server.nearHead(w.conn.ctx)
	if err != nil {
		return err
	}
	head = max(head, w.read.snapshot)
	w.out = append(w.out, `{"head":`...)
	w.out = strconv.AppendUint(w.out, head, 10)
	if w.read.scans {
		w.out = append(w.out, `,"next":`...)
		w.out = strconv.AppendUint(w.out, w.read.next, 10)
	}
	w.out = append(w.out, "}\n"...)
	w.endRead()
	return nil
}

// endRead ends the read, so that the connection may read again.
func (w *writer) endRead() {
	w.endFollow()
	if w.read.where != nil {
		w.conn.dropFilter()
	}
	w.read = nil
	o := &w.conn.outbox
	o.mu.Lock()
	o.reading = false
	o.mu.Unlock()
}

// endFollow releases what a read holds, including what a following read holds.
func (w *writer) endFollow() {
	if w.read != nil {
		w.conn.server.readers.leave(&w.cursor)
	}
	if w.read != nil && w.read.current {
		w.conn.server.tail.leave()
	}
	w.feed, w.times, w.moved = nil, nil, nil
}

// flushFull sends what has been gathered if it is worth a write.
func (w *writer) flushFull() error {
	if len(w.out) < flushAt {
		return nil
	}
	return w.flush()
}

// grow makes out large, for many lines.
func (w *writer) grow() {
	if cap(w.out) < flushAt {
		b := *buffers.Get().(*[]byte)
		w.out = append(b[:0], w.out...)
	}
}

// shrink returns a large buffer while there is nothing to send.
func (w *writer) shrink() {
	switch n := cap(w.out); {
	case n >= flushAt && n <= 4*flushAt:
		b := w.out[:0]
		buffers.Put(&b)
		w.out = nil
	case n > 4<<10:
		w.out = nil
	}
}

// flush writes what has been gathered.
func (w *writer) flush() error {
	var err error
	if len(w.out) > 0 {
		err = w.write(w.out, cap(w.out))
		w.out = w.out[:0]
	}
	if w.read != nil {
		w.cursor.sent.Store(w.read.next - 1)
	}
	return err
}

// write writes b. While the peer does not take it, the connection holds held bytes, beside what the log
// keeps for it.
func (w *writer) write(b []byte, held int) error {
	n, err := w.conn.tryWrite(b)
	if b = b[n:]; len(b) == 0 || err != nil {
		return err
	}
	if held += w.kept; held > heldMin {
		memory := w.conn.server.memory
		memory.hold(&w.stuck, int64(held))
		if w.kept == 0 {
			defer memory.hold(&w.stuck, 0)
		}
	}
	_, err = w.conn.nc.Write(b)
	return err
}
