package server

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// lookAt is how many bytes of entries a replay examines in one turn, even if it finds none to
// send; this takes about as long as sending flushAt bytes.
const lookAt = 512 << 10

// readKeeps is how many bytes a log is taken to keep for a Read that is under way: package segment
// reads so far ahead.
const readKeeps = 512 << 10

// keeps returns how many bytes a log keeps for a Read that passes on entries. A long run has a buffer
// of its own.
func keeps(entries []byte) int {
	if len(entries) <= readKeeps {
		return readKeeps
	}
	return readKeeps + len(entries)
}

var (
	// errStopped ends the reading of history when the connection is ending.
	errStopped = errors.New("stopped")
	// errLetGo ends a Read whose replay is to continue with another, in its next turn.
	errLetGo = errors.New("let go")
)

// history gathers the entries up to the snapshot, sending as it goes, and then either ends the
// read or turns it into one that follows.
func (w *writer) history() error {
	r, s := w.read, w.conn.server
	s.readers.join(&w.cursor, r.next, r.through)
	if last := min(r.snapshot, r.through); r.next <= last {
		// The replies to this connection's writes come before their entries, so wait until they
		// are here: a matter of microseconds, unless the log is on several machines and this
		// one is behind.
		switch err := w.awaitAcks(last); {
		case errors.Is(err, errStopped):
			w.endRead()
			return nil
		case err != nil:
			return err
		}
		w.collect()
		if err := w.reply(math.MaxUint64); err != nil {
			return err
		}
		err := w.replay(last)
		if errors.Is(err, errStopped) {
			w.endRead()
			return nil
		}
		if err != nil {
			return err
		}
	}
	if r.next > r.through {
		return w.head()
	}
	if err := w.reply(r.snapshot); err != nil {
		return err
	}
	w.out = append(w.out, "{\"current\":true}\n"...)
	r.current = true
	w.cursor.following.Store(true)
	s.tail.join()
	return nil
}

// replay gathers and sends the entries from the cursor through last. Between two writes it
// sends the replies that have arrived meanwhile: they never wait for history. Longer replays
// take turns. While memory is short, a replay lets go of what the log has read for it after each turn,
// and reads it again in the next: there may be thousands.
func (w *writer) replay(last uint64) error {
	turn := replayTurn{replayThrottle: w.conn.server.throttle}
	defer turn.end()
	reads := turn.readsFrom(w.conn.server.near, w.read.next)
	select {
	case reads <- struct{}{}:
	default:
		if err := w.awaitPlace(reads); err != nil {
			return err
		}
	}
	turn.reading = reads
	for {
		err := w.replayRun(&turn, last)
		if !errors.Is(err, errLetGo) {
			return err
		}
		turn.end() // not before nothing is kept
		if err := w.awaitTurn(&turn); err != nil || w.read.next > min(last, w.read.through) {
			return err
		}
	}
}

// replayRun gathers and sends the entries from the cursor through last with one Read. The error is
// errLetGo if the replay is to continue once it has waited.
func (w *writer) replayRun(turn *replayTurn, last uint64) error {
	c, r := w.conn, w.read
	var stop error
	looked := 0 // bytes of entries since the turn began
	err := c.server.log.Read(c.ctx, r.next, last, func(first uint64, count int, entries []byte, at int64, err error) error {
		w.grow()
		damaged := err != nil
		err = c.server.failures.forPeer(err)
		kept := keeps(entries)
		for count > 0 {
			if r.next > r.through {
				stop = errEnough // enough lines, which only the filter can tell
				return stop
			}
			var n int
			before := len(entries)
			w.out, n, entries = r.appendRun(w.out, first, count, entries, at, err, flushAt)
			first, count = first+uint64(n), count-n
			r.next = first
			if damaged {
				c.server.counts.damaged.Add(uint64(n))
			}
			if looked += before - len(entries); len(w.out) < flushAt && looked < lookAt {
				continue
			}
			looked = 0
			if stop = w.flushReplay(turn, kept); stop != nil {
				return stop
			}
		}
		return nil
	})
	switch {
	case errors.Is(stop, errEnough):
		return nil
	case stop != nil:
		return stop
	case err != nil:
		return c.readError(err)
	}
	return nil
}

// flushReplay sends what a replay has gathered, and then the replies that have arrived
// meanwhile. The turn ends before it waits, during which the log keeps kept bytes; it returns with the
// next turn. The error is errLetGo if there is no room for these bytes; it still has its place then.
func (w *writer) flushReplay(turn *replayTurn, kept int) error {
	w.tellAt()
	if len(w.out) > 0 {
		n, err := w.conn.tryWrite(w.out)
		if err != nil {
			return err
		}
		w.out = w.out[:copy(w.out, w.out[n:])]
	}
	memory := w.conn.server.memory
	if !memory.offer(&w.stuck, int64(kept+cap(w.out))) {
		return errLetGo
	}
	turn.end()
	w.kept = kept
	defer func() {
		w.kept = 0
		memory.hold(&w.stuck, 0)
	}()
	return w.awaitTurn(turn)
}

// awaitTurn sends what has been gathered, and waits for the replay's next turn. Until then it sends the
// replies that arrive. The error is errStopped, or says why the connection was cut.
func (w *writer) awaitTurn(turn *replayTurn) error {
	if err := w.flush(); err != nil {
		return err
	}
	near := w.conn.server.near
	if reads := turn.readsFrom(near, w.read.next); reads == turn.far {
		if err := w.awaitPlace(reads); err != nil {
			return err
		}
		turn.reading, turn.began = reads, time.Now()
		return nil
	}
	if err := w.awaitPlace(turn.slots); err != nil {
		return err
	}
	turn.slot, turn.began = true, time.Now()
	return turn.startReading(w.conn.ctx, near, w.read.next)
}

// awaitPlace waits for a place in the throttle. Until it has one it sends the replies that
// arrive. The error is errStopped, or says why the connection was cut.
func (w *writer) awaitPlace(place chan<- struct{}) error {
	for {
		w.collect()
		if w.ending > endInput {
			return errStopped
		}
		if err := w.reply(math.MaxUint64); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
		if w.kept == 0 {
			w.shrink()
		}
		select {
		case place <- struct{}{}:
			return nil
		case <-w.conn.outbox.wake:
		case <-w.conn.ctx.Done():
			return context.Cause(w.conn.ctx)
		}
	}
}

// awaitAcks waits until all appends through index have been acknowledged. Until then it sends
// the replies that arrive. The error is errStopped, or says why the connection was cut.
func (w *writer) awaitAcks(index uint64) error {
	for {
		head, moved := w.conn.server.log.Acked()
		if head >= index {
			return nil
		}
		w.collect()
		if w.ending > endInput {
			return errStopped
		}
		if err := w.reply(math.MaxUint64); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
		select {
		case <-moved:
		case <-w.conn.outbox.wake:
		case <-w.conn.ctx.Done():
			return context.Cause(w.conn.ctx)
		}
	}
}

// readers are the reads that are running.
type readers struct {
	mu  sync.Mutex
	set map[*cursor]struct{}
}

// cursor is how far a read has got, as others may see it.
type cursor struct {
	through   uint64        // the last index to send; under mu of readers
	sent      atomic.Uint64 // every entry of the read up to here has been sent
	following atomic.Bool   // {"current":true} has been gathered
}

// join adds the read of c, from index next through index through.
func (r *readers) join(c *cursor, next, through uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set == nil {
		r.set = make(map[*cursor]struct{})
	}
	r.set[c] = struct{}{}
	c.through = through
	c.sent.Store(next - 1)
	c.following.Store(false)
}

// leave undoes join, if it was called.
func (r *readers) leave(c *cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.set, c)
}

// stats counts the reads and how much they have yet to send up to head.
func (r *readers) stats(s *Stats, head uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.set {
		if c.following.Load() {
			s.Followers++
		} else {
			s.Replays++
		}
		if last, sent := min(head, c.through), c.sent.Load(); sent < last {
			s.Behind += last - sent
			s.MostBehind = max(s.MostBehind, last-sent)
		}
	}
}
