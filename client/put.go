package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Write is a write with all options. The zero value of each field except Entries asks for
// nothing.
type Write struct {
	// Entries are stored next to each other, all of them or none. There is at least one; the
	// server bounds their total size. Each is a JSON object, array or null.
	Entries [][]byte
	// If, unless nil, is the index that the last entry of the log must have when the write's
	// turn comes, 0 for an empty log. The first entry gets the index after it. If the head is
	// another, nothing is stored, and the error is a *ConditionError.
	If *uint64
	// Once stores the entry only if the log does not hold an equal one, whenever and however
	// that was written. So it is safe to send again, and the client does: after a lost
	// connection, and after an answer that it is not stored because of the server's state,
	// until there is another answer or the context ends. It takes one entry, and no If.
	Once bool
	// Receipt asks for the hashes and the time.
	Receipt bool
}

// Result says where a Write is stored.
type Result struct {
	Index uint64 // of the entry, or of the first of several, which the others follow
	// Seen says that the log already held the entry, at Index: a write with Once has stored
	// nothing.
	Seen bool
	// With Receipt, Hashes has the BLAKE3 hash of each entry in hexadecimal, and Time is when
	// they were stored, by the server's clock.
	Hashes []string
	Time   time.Time

	count uint64 // of the entries
}

// AppendIf appends entry as Append does, but only if the index of the last entry is head when
// its turn comes, 0 for an empty log. The entry then gets the index head+1. Otherwise nothing
// is stored, and the error is a *ConditionError with the head, which is also an ErrRefused.
//
// After an ErrUnknown it is safe to repeat the call: it does not store the entry twice. If it
// then ends with a ConditionError, the entry at head+1 tells whether the first call stored it.
func (c *Client) AppendIf(ctx context.Context, head uint64, entry []byte) (index uint64, err error) {
	r, err := c.Put(ctx, Write{Entries: [][]byte{entry}, If: &head})
	return r.Index, err
}

// AppendOnce appends entry as Append does, unless the log already holds an equal entry,
// whenever and however that was written. Then it returns the index of the first such entry, and
// seen is true; an unanswered attempt of this call may have stored it. Entries are equal if
// their canonical forms are: the order of members and white space do not count.
//
// AppendOnce sends entry again until it is answered: over a new connection after a lost one,
// and on the same one if the server says that it cannot store it now, as with a full disk.
// Options has the waits in between. So give ctx an end. If that comes first, the error is
// ErrUnknown if the entry may be stored, else ErrRefused or ErrNotSent, and wraps ctx's cause.
// It returns at once if another attempt cannot help: the server does not accept the entry or
// lacks the feature, a right is missing, or the client is closed.
func (c *Client) AppendOnce(ctx context.Context, entry []byte) (index uint64, seen bool, err error) {
	r, err := c.Put(ctx, Write{Entries: [][]byte{entry}, Once: true})
	return r.Index, r.Seen, err
}

// AppendAll appends the entries next to each other and returns the index of the first. All of
// them are stored, in one batch on disk, or none: an error is one of Append and applies to all
// alike. The server bounds their total size.
func (c *Client) AppendAll(ctx context.Context, entries ...[]byte) (first uint64, err error) {
	r, err := c.Put(ctx, Write{Entries: entries})
	return r.Index, err
}

// Put makes a write and returns where it is stored once the server has it on disk. Its errors
// are those of Append and, with Once, of AppendOnce.
//
// Unless it only appends one entry, the server must have those of the features "entries", "if",
// "once" and "receipt" that the write needs. Put asks the server for its features, over the
// connection that the write takes, before the first such write on each connection. If a feature
// is missing, nothing is sent, and the error wraps ErrNotSent and ErrUnsupported and says what
// is missing.
func (c *Client) Put(ctx context.Context, write Write) (Result, error) {
	l, err := write.line()
	if err != nil {
		return Result{}, notSent(err)
	}
	if write.Once {
		return c.once.put(ctx, l)
	}
	w := c.waiters.Get().(*waiter)
	more := new(Result) // which a late answer may set
	index, answered, err := c.await(ctx, l, more, w)
	if answered {
		c.waiters.Put(w)
	}
	if !answered {
		return Result{}, err
	}
	return l.result(index, more, err)
}

// PutAsync is Put for a caller that sends more before it knows the outcome, as AppendAsync is
// for Append. What AppendAsync says about done and the order holds here, with two exceptions.
// If a write needs a feature, PutAsync waits for the server to say that it has it. And writes
// with Once, which may be sent again, are stored in the order of their calls, but in no
// particular order with others; ctx ends their attempts, and done may run on another goroutine
// of the client.
func (c *Client) PutAsync(ctx context.Context, write Write, done func(Result, error)) error {
	l, err := write.line()
	if err != nil {
		return notSent(err)
	}
	if write.Once {
		return c.once.send(ctx, l, done)
	}
	more := new(Result)
	_, _, err = c.send(ctx, l, call{more: more, done: func(index uint64, err error) {
		done(l.result(index, more, err))
	}}, nil)
	return err
}

// line returns what the write sends.
func (w *Write) line() (*line, error) {
	l := &line{checked: true, several: len(w.Entries) > 1, count: len(w.Entries)}
	switch {
	case len(w.Entries) == 0:
		return nil, usage("a write has no entry, want at least one")
	case w.Once && w.If != nil:
		return nil, usage("a write has both Once and If, want one of them")
	case w.Once && l.several:
		return nil, usage("a write with Once has %d entries, want one", len(w.Entries))
	}
	for i, entry := range w.Entries {
		entry, err := check(entry)
		switch {
		case err != nil && l.several:
			return nil, fmt.Errorf("entry %d of %d: %w", i+1, len(w.Entries), err)
		case err != nil:
			return nil, err
		case !l.several:
			l.value = entry
		case i == 0:
			l.value = append(append(l.value, '['), entry...)
		default:
			l.value = append(append(l.value, ','), entry...)
		}
	}
	var rest strings.Builder
	if l.several {
		l.value = append(l.value, ']')
		l.needs = append(l.needs, "entries")
	}
	if w.If != nil {
		rest.WriteString(`,"if":` + strconv.FormatUint(*w.If, 10))
		l.needs, l.head = append(l.needs, "if"), *w.If
	}
	if w.Once {
		rest.WriteString(`,"once":true`)
		l.needs = append(l.needs, "once")
	}
	if w.Receipt {
		rest.WriteString(`,"receipt":true`)
		l.needs = append(l.needs, "receipt")
	}
	l.rest = rest.String()
	return l, nil
}

// result returns the result of a write for an answer.
func (l *line) result(index uint64, more *Result, err error) (Result, error) {
	var condition *ConditionError
	switch {
	case errors.As(err, &condition):
		condition.Want = l.head
		return Result{}, err
	case err != nil:
		return Result{}, err
	case l.several && more.count != uint64(l.count):
		return Result{}, unknown(fmt.Errorf("%w: %d entries are stored, want %d", ErrProtocol, more.count, l.count))
	}
	r := *more
	r.Index = index
	return r, nil
}
