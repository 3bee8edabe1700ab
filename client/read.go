package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// Entry is an entry of the log.
type Entry struct {
	Index uint64
	// Value is the entry's JSON in canonical form. It does not change, but shares memory
	// with its neighbours, up to 64 KiB: clone a value that you keep for long.
	Value json.RawMessage
}

// Read yields the entries from index from on, at most count of them or, if count is 0, all
// through the head. It does not wait for new entries: it ends at the head that the log has
// when the server receives the request.
//
// An *EntryError takes the place of an entry that the server cannot read, and the read
// continues. Any other error is the last thing yielded: ctx's cause, ErrClosed, ErrLost,
// ErrUnauthorized, ErrNeedsTLS, ErrServer, ErrProtocol, or the error of a dial.
func (c *Client) Read(ctx context.Context, from, count uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := cursor{client: c, next: from}
		s, err := r.begin(ctx, count)
		if err == nil {
			_, err = r.run(ctx, s, true, yield)
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// Follow yields the entries from index from on, and then each as it is appended, until ctx
// ends, the client is closed, or one of the errors below occurs.
//
// If the connection is lost, or the server stops, Follow reconnects, as often as it takes,
// and continues with the entry after the last one it has yielded: none is missed and none
// comes twice. Options.OnRetry is called then.
//
// An *EntryError takes the place of an entry that the server cannot read, and Follow
// continues. Any other error is the last thing yielded: ctx's cause, ErrClosed, ErrUnauthorized,
// ErrNeedsTLS, ErrServer, ErrProtocol, or ErrDiverged.
func (c *Client) Follow(ctx context.Context, from uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := cursor{client: c, next: from}
		for attempt := 0; ; attempt++ {
			before := r.next
			s, err := r.begin(ctx, 0)
			if err == nil {
				var stopped bool
				if stopped, err = r.run(ctx, s, false, yield); stopped {
					return
				}
			}
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if ctx.Err() != nil || lasting(err) {
				yield(Entry{}, err)
				return
			}
			if r.next > before {
				attempt = 0
			}
			wait := c.backoff(attempt)
			r.lost = true
			if c.opts.OnRetry != nil {
				c.opts.OnRetry(err, wait)
			}
			pause := time.NewTimer(wait)
			select {
			case <-pause.C:
			case <-ctx.Done():
			case <-c.ctx.Done():
			}
			pause.Stop()
		}
	}
}

// lasting reports whether reconnecting would not help.
func lasting(err error) bool {
	if errors.Is(err, errTooMany) {
		return false
	}
	for _, target := range []error{ErrClosed, ErrUnauthorized, ErrNeedsTLS, ErrServer, ErrProtocol, ErrDiverged, errFrom} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// backoff returns how long to wait after the given number of failed attempts.
func (c *Client) backoff(attempt int) time.Duration {
	most := c.opts.MaxBackoff
	if attempt < 32 {
		if d := c.opts.MinBackoff << attempt; d > 0 {
			most = min(d, most)
		}
	}
	return most/2 + rand.N(most/2+1)
}

// cursor is the position of a read, over as many connections as it takes.
type cursor struct {
	client *Client
	next   uint64 // index of the next entry to yield

	// The last entry that was yielded, if any: a read that continues over another connection
	// starts with it, which shows that the log is the same.
	last    json.RawMessage
	seen    bool
	damaged bool // it could not be read

	lost bool // OnRetry has been told, OnResume not yet
}

var errFrom = errors.New("a read begins at index 1 or later, not at 0")

// begin starts a read at the cursor.
func (r *cursor) begin(ctx context.Context, count uint64) (*stream, error) {
	if r.next == 0 {
		return nil, errFrom
	}
	from := r.next
	if r.seen {
		from--
	}
	return r.client.open(ctx, readRequest(from, count))
}

// run yields what comes over s until the read ends. stopped means that yield wants no more
// or the read is complete, which with toHead it is at the snapshot.
func (r *cursor) run(ctx context.Context, s *stream, toHead bool, yield func(Entry, error) bool) (stopped bool, err error) {
	defer s.close()
	if r.seen {
		if err := r.compare(ctx, s); err != nil {
			return false, err
		}
		r.resumed()
	}
	for {
		m, err := s.next(ctx)
		if err != nil {
			return false, err
		}
		r.resumed()
		switch m.kind {
		case entryLine, damagedLine:
			if m.index != r.next {
				return false, fmt.Errorf("%w: entry %d came where %d should", ErrProtocol, m.index, r.next)
			}
			r.next++
			if m.kind == damagedLine {
				r.last, r.seen, r.damaged = nil, true, true
				if !yield(Entry{Index: m.index}, &EntryError{Index: m.index, Text: m.text}) {
					return true, nil
				}
				continue
			}
			r.last, r.seen, r.damaged = m.value, true, false
			if !yield(Entry{Index: m.index, Value: m.value}, nil) {
				return true, nil
			}
		case currentLine:
			if toHead {
				return true, nil
			}
		case headLine:
			return true, nil
		default:
			return false, fmt.Errorf("%w: an answer to a read that was not asked for", ErrProtocol)
		}
	}
}

// resumed notes that a line has come.
func (r *cursor) resumed() {
	if !r.lost {
		return
	}
	r.lost = false
	if r.client.opts.OnResume != nil {
		r.client.opts.OnResume()
	}
}

// compare checks the first line of a resumed read: the last entry again.
func (r *cursor) compare(ctx context.Context, s *stream) error {
	m, err := s.next(ctx)
	switch {
	case err != nil:
		return err
	case m.kind == currentLine:
		return fmt.Errorf("%w: it ends before entry %d", ErrDiverged, r.next-1)
	case m.kind != entryLine && m.kind != damagedLine || m.index != r.next-1:
		return fmt.Errorf("%w: entry %d did not come first", ErrProtocol, r.next-1)
	case m.kind == entryLine && !r.damaged && !bytes.Equal(m.value, r.last):
		return fmt.Errorf("%w: entry %d is different", ErrDiverged, r.next-1)
	}
	return nil
}

// Head returns the index of the last entry, 0 for an empty log.
func (c *Client) Head(ctx context.Context) (uint64, error) {
	// A read of one entry ends with the head, if there is one entry.
	var head uint64
	err := c.ask(ctx, readRequest(1, 1), func(m message) (bool, error) {
		head = m.index
		return m.kind == headLine || m.kind == currentLine, nil
	})
	return head, err
}

// Stat returns the status of the server, a JSON object. A server too old to have one
// answers with an error, which is an ErrServer.
func (c *Client) Stat(ctx context.Context) (json.RawMessage, error) {
	var stat json.RawMessage
	err := c.ask(ctx, []byte("{\"stat\":true}\n"), func(m message) (bool, error) {
		if m.kind != statLine {
			return false, fmt.Errorf("%w: an answer to a read that was not asked for", ErrProtocol)
		}
		stat = m.value
		return true, nil
	})
	if errors.Is(err, ErrServer) && !errors.Is(err, errTooMany) {
		err = fmt.Errorf("%w: it does not know the message {\"stat\":true}", err)
	}
	return stat, err
}

// ask sends a request and passes the lines that answer it to take, until take is done.
func (c *Client) ask(ctx context.Context, request []byte, take func(message) (done bool, err error)) error {
	s, err := c.open(ctx, request)
	if err != nil {
		return err
	}
	defer s.close()
	for done := false; err == nil && !done; {
		var m message
		if m, err = s.next(ctx); err == nil {
			done, err = take(m)
		}
	}
	return err
}
