package client

import (
	"bytes"
	"context"
	"fmt"

	"tcp-log-server/canonical"
)

// callCost is what an append adds to MaxInFlight besides its entry.
const callCost = 256

// waiter is where one Append waits.
type waiter struct {
	answered chan struct{} // holds a token once index and err are set
	index    uint64
	err      error
	done     func(index uint64, err error) // sets them; bound once
}

func newWaiter() *waiter {
	w := &waiter{answered: make(chan struct{}, 1)}
	w.done = func(index uint64, err error) {
		w.index, w.err = index, err
		w.answered <- struct{}{}
	}
	return w
}

// Append appends entry, which must be a JSON object, array or null, and returns its index
// once the server has it on disk. Appends of several goroutines are sent together and
// stored in no particular order; those of one goroutine are stored in the order of the
// calls.
//
// The error tells what became of the entry: ErrRefused and ErrNotSent mean that it is not
// stored, ErrUnknown that it may be. If ctx ends while the entry waits to be sent, the error
// is ErrNotSent; after that it is ErrUnknown. Append sends nothing twice; after a lost
// connection the next Append reconnects.
func (c *Client) Append(ctx context.Context, entry []byte) (index uint64, err error) {
	w := c.waiters.Get().(*waiter)
	index, answered, err := c.await(ctx, &line{value: entry}, nil, w)
	if answered {
		c.waiters.Put(w)
	}
	return index, err
}

// await sends a line with one or more entries and waits for the answer, which sets w, and
// more if it has more than an index. answered is false if ctx ended first, in which case the
// answer may still come.
func (c *Client) await(ctx context.Context, l *line, more *Result, w *waiter) (index uint64, answered bool, err error) {
	p, id, err := c.send(ctx, l, call{done: w.done, waits: true, more: more}, w)
	if err != nil {
		return 0, true, err
	}
	if ends := ctx.Done(); ends == nil {
		<-w.answered // a select takes twice the time
	} else {
		select {
		case <-w.answered:
		case <-ends:
			if p.withdraw(id) {
				return 0, false, notSent(context.Cause(ctx))
			}
			select {
			case <-w.answered: // at the same moment
			default:
				return 0, false, unknown(context.Cause(ctx))
			}
		}
	}
	return w.index, true, w.err
}

// AppendAsync is Append for a caller that sends more before it knows the outcome: it returns
// once entry is queued, and done receives what Append would have returned. The entries of one
// goroutine's calls are stored in the order of the calls. The caller may reuse entry once
// AppendAsync has returned.
//
// It waits while MaxInFlight bytes are under way, and for a connection, at most until ctx
// ends. If it returns an error, which wraps ErrNotSent, done does not run. Otherwise done
// runs once, in the order of the calls unless the connection is lost, on the goroutine that
// reads the answers. So done must not wait for other appends, nor call AppendAsync: that may
// wait for room that only further answers make, or for a connection that is not made before
// done has returned. Use another goroutine for that.
func (c *Client) AppendAsync(ctx context.Context, entry []byte, done func(index uint64, err error)) error {
	_, _, err := c.send(ctx, &line{value: entry}, call{done: done}, nil)
	return err
}

// send queues an append, once the server is known to have the features that it needs. If w,
// which waits for the append, is not nil, the append may lead: then w has its answer when
// send returns, unless ctx or the pipeline has ended.
func (c *Client) send(ctx context.Context, l *line, call call, w *waiter) (*pipeline, uint64, error) {
	if !l.checked {
		value, err := check(l.value)
		if err != nil {
			return nil, 0, notSent(err)
		}
		l.value = value
	}
	if ctx.Err() != nil {
		return nil, 0, notSent(context.Cause(ctx))
	}
	call.cost = c.cost(l)
	if err := c.makeRoom(ctx, call.cost); err != nil {
		return nil, 0, notSent(err)
	}
	for {
		p, err := c.connected(ctx)
		if err != nil {
			c.room.Release(call.cost)
			return nil, 0, notSent(err)
		}
		if len(l.needs) > 0 {
			if err := p.has(ctx, l.needs); err != nil {
				c.room.Release(call.cost)
				return nil, 0, notSent(err)
			}
		}
		leads := w != nil && p.tryLead()
		id, writes, ok := p.add(l, call, leads)
		switch {
		case ok && leads:
			p.lead(ctx, w, writes)
			return p, id, nil
		case ok:
			if writes {
				p.flush()
			}
			return p, id, nil
		case leads:
			p.endLead()
		}
	}
}

// cost returns how much of MaxInFlight a line takes.
func (c *Client) cost(l *line) int64 {
	return min(int64(len(l.value))+callCost, c.opts.MaxInFlight)
}

// makeRoom waits until another cost bytes may be under way.
func (c *Client) makeRoom(ctx context.Context, cost int64) error {
	if c.room.TryAcquire(cost) {
		return nil
	}
	wait, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()
	if err := c.room.Acquire(wait, cost); err != nil {
		return context.Cause(wait)
	}
	return nil
}

// check returns entry in a form that can be sent: on one line, without white space around it.
// An entry that is not JSON would make the server close the connection, and with it the other
// appends.
func check(entry []byte) ([]byte, error) {
	if n := len(entry); n == 0 || entry[0] <= ' ' || entry[n-1] <= ' ' {
		entry = bytes.Trim(entry, " \t\r\n")
	}
	if len(entry) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	if c := entry[0]; c != '{' && c != '[' && c != 'n' {
		if _, err := canonical.Skip(entry); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		kind := map[byte]string{'"': "a string", 't': "a boolean", 'f': "a boolean"}[c]
		if kind == "" {
			kind = "a number"
		}
		return nil, fmt.Errorf("%w: it is %s", ErrInvalid, kind)
	}
	n, err := canonical.Skip(entry)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if n < len(entry) {
		return nil, fmt.Errorf("%w: unexpected data after the entry, at byte %d", ErrInvalid, n)
	}
	if bytes.IndexByte(entry, '\n') >= 0 { // between tokens: JSON has none in strings
		entry = bytes.ReplaceAll(entry, []byte("\n"), []byte(" "))
	}
	return entry, nil
}
