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
	// Time is when the entry was stored, by the server's clock, in a read WithTime.
	Time time.Time
	// Hash is the BLAKE3 hash of the entry in hexadecimal, in a read WithHash.
	Hash string
}

// Read yields the entries from index from on, at most count of them or, if count is 0, all
// through the head. It does not wait for new entries: it ends at the head that the log has when
// the server receives the request. With Since or Last, which say where it begins, from must be
// 0.
//
// An *EntryError takes the place of an entry that the server cannot read, and the read
// continues. Any other error is the last thing yielded: ctx's cause, ErrClosed, ErrLost,
// ErrUnauthorized, ErrNeedsTLS, ErrServer, ErrProtocol, ErrUnsupported, the error of a dial, or
// one that says what is wrong with the options.
func (c *Client) Read(ctx context.Context, from, count uint64, options ...ReadOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		q, err := newQuery(from, count, options)
		r := cursor{client: c, query: q, next: from}
		var s *stream
		if err == nil {
			s, err = r.begin(ctx)
		}
		if err == nil {
			_, err = r.run(ctx, s, true, yield)
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// Follow yields the entries from index from on, and then each as it is appended, until ctx ends,
// the client is closed, or one of the errors below occurs. With Since or Last, which say where
// it begins, from must be 0.
//
// If the connection is lost, or the server stops, Follow reconnects, as often as it takes, and
// continues with the entry after the last one it has yielded: none is missed and none comes
// twice. Options.OnRetry is called then.
//
// An *EntryError takes the place of an entry that the server cannot read, and Follow continues.
// Any other error is the last thing yielded: ctx's cause, ErrClosed, ErrUnauthorized,
// ErrNeedsTLS, ErrServer, ErrProtocol, ErrUnsupported, ErrDiverged, or one that says what is
// wrong with the options.
func (c *Client) Follow(ctx context.Context, from uint64, options ...ReadOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		q, err := newQuery(from, 0, options)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		r := cursor{client: c, query: q, next: from}
		for attempt := 0; !r.complete(); attempt++ {
			before := r.next
			s, err := r.begin(ctx)
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
			c.pause(ctx, err, wait)
		}
	}
}

// pause reports err to OnRetry, and waits, but not beyond the end of ctx or the client.
func (c *Client) pause(ctx context.Context, err error, wait time.Duration) {
	if c.opts.OnRetry != nil {
		c.opts.OnRetry(err, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
}

// lasting reports whether reconnecting would not help.
func lasting(err error) bool {
	if errors.Is(err, errTooMany) {
		return false
	}
	for _, target := range []error{ErrClosed, ErrUnauthorized, ErrNeedsTLS, ErrServer, ErrProtocol, ErrDiverged, ErrUnsupported} {
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
	query  query
	// next is the index of the next entry to yield, or a lower one; 0 while it is not known
	// where the read begins.
	next uint64

	// The last entry that was yielded, if any: a read that continues over another connection
	// requests it first, to verify that the log is the same.
	last    json.RawMessage
	lastAt  uint64 // its index, 0 if there is none
	damaged bool   // it could not be read

	lost bool // OnRetry has been called, OnResume not yet
}

// complete reports whether there is nothing left to read.
func (r *cursor) complete() bool { return r.query.through > 0 && r.next > r.query.through }

// begin starts a read at the cursor. A read that resumes starts with the last entry.
func (r *cursor) begin(ctx context.Context) (*stream, error) {
	s, err := r.client.open(ctx)
	if err == nil {
		if err = r.request(ctx, s); err != nil {
			s.close()
		}
	}
	return s, err
}

// request sends over s the request that starts the read.
func (r *cursor) request(ctx context.Context, s *stream) error {
	from := r.next
	switch {
	case r.lastAt == 0:
	case r.query.where == nil:
		from = r.lastAt
	default: // many may have been examined since
		s.write(readRequest(r.lastAt, 1))
		if err := r.compare(ctx, s); err != nil {
			return err
		}
		if m, err := s.next(ctx); err != nil {
			return err
		} else if m.kind != headLine {
			return errUnasked
		}
	}
	// The server could find the last entries itself, but a read that loses its connection before
	// the first entry must not begin elsewhere afterwards.
	last := r.next == 0 && r.query.last > 0
	if len(r.query.needs) == 0 && !last {
		s.write(r.query.request(from))
		return nil
	}
	ask := []byte(askLine)
	if !last {
		ask = append(ask, r.query.request(from)...)
	}
	s.write(ask)
	f, err := s.features(ctx)
	if err == nil {
		err = f.check(r.query.needs)
	}
	if err != nil || !last {
		return err
	}
	if f.rights == "write" {
		return fmt.Errorf("%w: this token may not read", ErrUnauthorized)
	}
	if f.head == nil {
		return fmt.Errorf("%w: the server does not tell its head, which Last needs", ErrUnsupported)
	}
	r.next = *f.head + 1 - min(r.query.last, *f.head)
	s.write(r.query.request(r.next))
	return nil
}

// run yields the entries received over s until the read ends. stopped means that yield wants no
// more or the read is complete; with toHead it is complete at the snapshot.
func (r *cursor) run(ctx context.Context, s *stream, toHead bool, yield func(Entry, error) bool) (stopped bool, err error) {
	defer s.close()
	if r.lastAt > 0 {
		if r.query.where == nil {
			if err := r.compare(ctx, s); err != nil {
				return false, err
			}
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
			if m.index != r.next && !(m.index > r.next && r.query.skips(r.next)) {
				return false, fmt.Errorf("%w: entry %d came where %d should", ErrProtocol, m.index, r.next)
			}
			r.next, r.lastAt = m.index+1, m.index
			if m.kind == damagedLine {
				r.last, r.damaged = nil, true
				if !yield(Entry{Index: m.index}, &EntryError{Index: m.index, Text: m.text}) {
					return true, nil
				}
				continue
			}
			r.last, r.damaged = m.value, false
			if !yield(Entry{Index: m.index, Value: m.value, Time: m.time, Hash: m.hash}, nil) {
				return true, nil
			}
		case atLine:
			if m.index >= r.next {
				r.next = m.index + 1
			}
			if r.query.progress != nil {
				r.query.progress(r.next)
			}
		case currentLine:
			if toHead {
				return true, nil
			}
		case headLine:
			return true, nil
		default:
			return false, errUnasked
		}
	}
}

// resumed notes that a line has been received.
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
		return fmt.Errorf("%w: it ends before entry %d", ErrDiverged, r.lastAt)
	case m.kind != entryLine && m.kind != damagedLine || m.index != r.lastAt:
		return fmt.Errorf("%w: entry %d did not come first", ErrProtocol, r.lastAt)
	case m.kind == entryLine && !r.damaged && !bytes.Equal(m.value, r.last):
		return fmt.Errorf("%w: entry %d is different", ErrDiverged, r.lastAt)
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
			return false, errUnasked
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
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	s.write(request)
	for done := false; err == nil && !done; {
		var m message
		if m, err = s.next(ctx); err == nil {
			done, err = take(m)
		}
	}
	return err
}
