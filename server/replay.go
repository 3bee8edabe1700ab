package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// errStopped ends the reading of history when the connection is ending.
var errStopped = errors.New("stopped")

// history gathers the entries up to the snapshot, sending as it goes, and then
// either ends the read or turns it into one that follows.
func (o *output) history() error {
	r := o.read
	o.server.readers.join(&o.cursor, r.next, r.through)
	if last := min(r.snapshot, r.through); r.next <= last {
		// The replies to this connection's writes up to the snapshot come before
		// their entries, so wait until they are here: a matter of microseconds.
		if err := o.await(r.snapshot); err != nil {
			return err
		}
		o.collect()
		if err := o.reply(math.MaxUint64); err != nil {
			return err
		}
		o.begin()
		err := o.replay(last)
		for errors.Is(err, errPause) {
			if err = o.pause(); err == nil {
				err = o.replay(last)
			}
		}
		if errors.Is(err, errStopped) {
			o.endRead()
			return nil
		}
		if err != nil {
			return err
		}
	}
	if r.next > r.through {
		return o.head()
	}
	if err := o.reply(r.snapshot); err != nil {
		return err
	}
	o.out = append(o.out, "{\"current\":true}\n"...)
	r.current = true
	o.cursor.following.Store(true)
	o.server.tail.join()
	return nil
}

// replay gathers and sends the entries from the cursor through last. The error is
// errPause where it is to go on from the cursor once the socket takes more.
func (o *output) replay(last uint64) error {
	if err := o.startReading(); err != nil {
		return err
	}
	defer o.endReading()
	r := o.read
	var stop error
	err := o.server.log.Read(o.ctx, r.next, last, func(first uint64, count int, entries []byte, err error) error {
		o.gather()
		if err != nil {
			o.server.counts.damaged.Add(uint64(count))
		}
		for count > 0 {
			var n int
			o.out, n, entries = appendRun(o.out, first, count, entries, err, flushAt)
			if stop = o.resume(err); stop != nil {
				return stop
			}
			first, count = first+uint64(n), count-n
			r.next = first
			if stop = o.flushHistory(); stop != nil {
				return stop
			}
		}
		return nil
	})
	if o.turn != (time.Time{}) {
		o.endTurn()
	}
	if err != nil && stop == nil && o.ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", errLog, err)
	}
	return err
}

// flushHistory sends what a replay has gathered, and with it the replies that
// have come meanwhile: they never wait for history. Longer replays take turns;
// a turn is over before the socket is waited for.
func (o *output) flushHistory() error {
	if len(o.out) < flushAt {
		return nil
	}
	n := 0
	if o.socket != nil {
		var err error
		n, err = o.socket.writeNow(o.out)
		o.server.counts.sent.Add(uint64(n))
		if err != nil {
			return err
		}
	}
	if o.turn != (time.Time{}) {
		o.endTurn()
	}
	select {
	case o.server.warm <- struct{}{}:
		defer func() { <-o.server.warm }()
	default:
		if o.socket != nil {
			o.compact(n)
			return errPause
		}
		// The log keeps what it reads from meanwhile, as for the warm ones.
		o.kept = readKept
		defer func() { o.kept = 0 }()
	}
	o.endReading()
	o.out = o.out[:copy(o.out, o.out[n:])]
	if err := o.flush(); err != nil {
		return err
	}
	if err := o.nextTurn(); err != nil {
		return err
	}
	return o.startReading()
}

// nextTurn goes on with a replay, the lines of which have been sent so far.
func (o *output) nextTurn() error {
	if o.skip == 0 { // nothing may come into the middle of a line
		o.collect()
		if o.ending > endInput {
			return errStopped
		}
		if err := o.reply(math.MaxUint64); err != nil {
			return err
		}
	}
	o.begin()
	var err error
	o.turn, err = o.server.turns.take(o.ctx)
	return err
}

func (o *output) endTurn() {
	o.server.turns.end(o.turn)
	o.turn = time.Time{}
}

// await waits until all appends through index have been acknowledged.
func (o *output) await(index uint64) error {
	for {
		head, moved := o.server.log.Acked()
		if head >= index {
			return nil
		}
		select {
		case <-moved:
		case <-o.ctx.Done():
			return context.Cause(o.ctx)
		}
	}
}
