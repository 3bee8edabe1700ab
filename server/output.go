package server

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"
)

// flushAt is how many bytes are gathered for one write to the socket.
const flushAt = 128 << 10

// output is the writing side of a connection: it alone sends. It gathers lines
// in out, in the order that the protocol promises:
//
//   - Lines that answer no write, nor are of a read, go first.
//   - While no read is running, and while one goes through history, replies go
//     out as they come.
//   - {"current":true} comes before the reply to any write beyond the snapshot
//     once history is through.
//   - While following, replies and entries go out by their index, the reply to
//     a write right before its entry.
type output struct {
	*conn
	out     []byte
	scratch []byte

	acks    []*group // to be replied to, in order
	read    *request
	moved   <-chan struct{} // closed once the head that was followed to has moved on
	feed    []byte          // lines from read.next through feedEnd
	feedEnd uint64

	// While a replay gathers: out[lead:] are lines, of which the first is that of
	// index base, but for its first cut bytes, which have been sent before. skip is
	// what is to become cut with the next line.
	lead      int
	base      uint64
	cut, skip int
	mayRead   bool // it is one of readingMax
	kept      int  // bytes that the log keeps for it while it waits for the peer

	turn    time.Time // when the turn of a replay began; zero while it has none
	ending  ending    // as of the last collect
	waiting int       // groups that were pending then

	cursor cursor // of read, for Server.Stats
}

// buffers are for out while it is large.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, flushAt+flushAt/2); return &b }}

// run sends what there is to send until the connection's end.
func (o *output) run() error {
	defer o.endFollow()
	o.send.Lock()
	defer o.send.Unlock()
	for {
		o.collect()
		if err := o.advance(); err != nil {
			return err
		}
		if o.finished() {
			if o.ending == endInvalid {
				o.out = append(o.out, errorLine(errNotJSON.Error())...)
			}
			return o.flush()
		}
		if err := o.flush(); err != nil {
			return err
		}
		if err := o.rest(); err != nil {
			return err
		}
	}
}

// rest waits until there is something to send. Meanwhile others may.
func (o *output) rest() error {
	o.spare()
	o.plain = o.read == nil && len(o.acks) == 0
	o.send.Unlock()
	defer o.send.Lock()
	select {
	case <-o.wake:
	case <-o.moved:
	case <-o.ctx.Done():
		return context.Cause(o.ctx)
	}
	return nil
}

// collect takes over what the other goroutines have left for this one.
func (o *output) collect() {
	o.mu.Lock()
	asides := int64(len(o.asides))
	o.out = append(append(o.out, o.unsaid...), o.asides...)
	o.unsaid, o.asides = nil, nil
	if o.prepared == nil {
		o.acks = append(o.acks, o.acked...)
		clear(o.acked)
		o.acked = o.acked[:0]
	}
	if o.request != nil {
		o.read, o.request = o.request, nil
	}
	o.ending, o.waiting = o.end, o.pending+len(o.acked)
	o.mu.Unlock()
	if asides > 0 {
		o.sent(asides)
	}
}

// finished reports whether everything that is due has been gathered.
func (o *output) finished() bool {
	return o.ending != endNot && o.waiting == 0 && len(o.acks) == 0 &&
		(o.read == nil || o.read.current || o.ending != endInput)
}

// advance gathers what can be sent now.
func (o *output) advance() error {
	if o.read != nil && !o.read.current {
		if err := o.history(); err != nil {
			return err
		}
	}
	if o.read != nil && o.read.current {
		if err := o.follow(); err != nil {
			return err
		}
	}
	if o.read == nil {
		return o.reply(math.MaxUint64)
	}
	return nil
}

// reply gathers the replies of all groups up to the first that goes beyond
// index last.
func (o *output) reply(last uint64) error {
	for len(o.acks) > 0 && o.acks[0].last() <= last {
		g := o.acks[0]
		o.scratch = g.replies(o.scratch, func(line []byte, _ uint64) { o.out = append(o.out, line...) })
		o.drop()
		if err := o.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

// drop lets go of the first of acks, which has been replied to.
func (o *output) drop() {
	g := o.acks[0]
	o.sent(g.size())
	o.acks[0] = nil
	o.acks = o.acks[1:]
	if len(o.acks) == 0 {
		o.acks = nil
	}
	g.release()
}

// follow gathers the entries up to the head, and the replies among them.
func (o *output) follow() error {
	if o.ending > endInput {
		o.endRead()
		return nil
	}
	head, moved := o.server.log.Acked()
	o.moved = moved
	o.collect()
	for o.read != nil && len(o.acks) > 0 && o.acks[0].last() <= head {
		g := o.acks[0]
		var err error
		o.scratch = g.replies(o.scratch, func(line []byte, index uint64) {
			if index > 0 && err == nil {
				err = o.stream(index-1, head)
			}
			o.out = append(o.out, line...)
			if index > 0 && err == nil {
				err = o.stream(index, head)
			}
		})
		o.drop()
		if err != nil {
			return err
		}
	}
	return o.stream(head, head)
}

// stream gathers the entries from the cursor through last, which is at most
// head, and ends the read when it has all of its entries.
func (o *output) stream(last, head uint64) error {
	for o.read != nil && o.read.next <= min(last, o.read.through) {
		r := o.read
		last := min(last, r.through)
		if len(o.feed) == 0 {
			var err error
			if o.feed, o.feedEnd, err = o.server.tail.lines(o.ctx, r.next, head); err != nil {
				if o.ctx.Err() == nil {
					err = fmt.Errorf("%w: %w", errLog, err)
				}
				return err
			}
		}
		if o.feedEnd <= last && len(o.feed) >= heldMin {
			// As it is: nobody needs a copy.
			if err := o.flush(); err != nil {
				return err
			}
			feed := o.feed
			r.next, o.feed = o.feedEnd+1, nil
			if err := o.write(feed, min(len(feed), tailBlock)); err != nil {
				return err
			}
		} else if o.feedEnd <= last {
			o.out = append(o.out, o.feed...)
			r.next, o.feed = o.feedEnd+1, nil
		} else {
			var line []byte
			line, o.feed = cutLine(o.feed)
			o.out = append(o.out, line...)
			r.next++
		}
		if err := o.flushFull(); err != nil {
			return err
		}
		if r.next > r.through {
			return o.head()
		}
	}
	return nil
}

// head ends a read that has all its entries.
func (o *output) head() error {
	head, err := o.server.log.Head(o.ctx)
	if err != nil {
		return err
	}
	o.out = append(o.out, `{"head":`...)
	o.out = strconv.AppendUint(o.out, head, 10)
	o.out = append(o.out, "}\n"...)
	o.endRead()
	return nil
}

// endRead makes the connection one that reads no more, and may read again.
func (o *output) endRead() {
	o.endFollow()
	o.read = nil
	o.mu.Lock()
	o.reading = false
	o.mu.Unlock()
}

// endFollow lets go of what a read holds, and one that follows.
func (o *output) endFollow() {
	if o.read != nil {
		o.server.readers.leave(&o.cursor)
	}
	if o.read != nil && o.read.current {
		o.server.tail.leave()
	}
	o.feed, o.moved = nil, nil
}

// flushFull sends what has been gathered if it is worth a write.
func (o *output) flushFull() error {
	if len(o.out) < flushAt {
		return nil
	}
	return o.flush()
}

// gather readies out for a lot of lines.
func (o *output) gather() {
	if cap(o.out) < flushAt {
		b := *buffers.Get().(*[]byte)
		o.out = append(b[:0], o.out...)
	}
}

// spare gives a large buffer back while there is nothing to send.
func (o *output) spare() {
	switch n := cap(o.out); {
	case n >= flushAt && n <= 4*flushAt:
		b := o.out[:0]
		buffers.Put(&b)
		o.out = nil
	case n > 4<<10:
		o.out = nil
	}
}

// flush writes what has been gathered.
func (o *output) flush() error {
	var err error
	if len(o.out) > 0 {
		err = o.write(o.out, cap(o.out))
		o.out = o.out[:0]
	}
	if o.read != nil {
		o.cursor.sent.Store(o.read.next - 1)
	}
	return err
}

// write writes b. As long as the peer does not take it, held bytes of memory are
// the connection's to answer for.
func (o *output) write(b []byte, held int) error {
	if o.socket != nil {
		n, err := o.socket.writeNow(b)
		o.server.counts.sent.Add(uint64(n))
		if b = b[n:]; len(b) == 0 || err != nil {
			return err
		}
	}
	if held > heldMin {
		o.hold(&o.stuck, int64(held+o.kept))
		defer o.hold(&o.stuck, 0)
	}
	_, err := o.nc.Write(b)
	return err
}
