package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// inbox is what has been received on a lane. It belongs to the goroutine whose turn it is to
// read (lead.go).
type inbox struct {
	buf      []byte
	hi       int     // how much of buf has been received and not handled
	replies  []reply // those being handled
	left     []reply // those that a leader has left: callbacks of others do not run on its goroutine
	answered bool    // an answer has come
	err      error   // why nothing more will come
}

// replyBuffer is the least size of the buffer that answers are read into.
const replyBuffer = 32 << 10

// receive reads once and completes the calls that are answered. The error says why the lane
// ends.
func (l *lane) receive() error {
	n, err := l.source.Read(l.in.buf[l.in.hi:])
	return l.received(n, err)
}

// received handles the result of a read.
func (l *lane) received(n int, err error) error {
	in := &l.in
	in.hi += n
	in.replies = in.replies[:0]
	lo := 0
	for {
		i := bytes.IndexByte(in.buf[lo:in.hi], '\n')
		if i < 0 {
			break
		}
		r, ok := parseReply(in.buf[lo : lo+i])
		lo += i + 1
		if !ok {
			l.answer(in.replies)
			return fmt.Errorf("%w: the answer to an append is %.100q", ErrProtocol, in.buf[lo-i-1:lo])
		}
		if r.fault != "" {
			l.answer(in.replies)
			return faultError(r.fault)
		}
		in.replies = append(in.replies, r)
		in.answered = true
	}
	if err := l.answer(in.replies); err != nil {
		return err
	}
	in.hi = copy(in.buf, in.buf[lo:in.hi])
	if in.hi == len(in.buf) {
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	if err != nil {
		return l.readEnd(err)
	}
	return nil
}

// readEnd returns why the lane ended when a read has failed with err.
func (l *lane) readEnd(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kicked && errors.Is(err, os.ErrDeadlineExceeded) {
		return errKicked
	}
	if l.cause != nil {
		return l.cause
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the server")
	}
	return lost(err)
}

// answer completes the calls that the replies belong to: the oldest ones.
func (l *lane) answer(replies []reply) error {
	if len(replies) == 0 {
		return nil
	}
	cost, waiting := int64(0), 0
	l.mu.Lock()
	if len(replies) > l.taken-l.first {
		l.mu.Unlock()
		return fmt.Errorf("%w: there are more answers than appends", ErrProtocol)
	}
	for i := range replies {
		c := &l.calls[l.first+i]
		if replies[i].id != c.id {
			l.mu.Unlock()
			return fmt.Errorf("%w: an answer has id %d, want %d", ErrProtocol, replies[i].id, c.id)
		}
		replies[i].done, replies[i].waits = c.done, c.waits
		cost += c.cost
		if c.waits {
			waiting++
		}
	}
	l.first += len(replies)
	if l.lone++; waiting != 1 || len(replies) > 1 || l.first < len(l.calls) {
		l.lone = 0
	}
	if l.first > len(l.calls)/2 {
		n := copy(l.calls, l.calls[l.first:])
		clear(l.calls[n:]) // releases done
		l.calls, l.taken, l.first = l.calls[:n], l.taken-l.first, 0
	}
	// What the callers that now have their answers append next goes out as one write, by
	// this goroutine or the last of them. Waking the writing goroutine would make the
	// runtime wake a thread.
	leads, calls := l.turn == leadersTurn, waiting < len(replies)
	gathers := (calls || waiting > 1) && !l.busy && !leads
	if gathers {
		l.busy = true
		l.gather.begin(len(replies), calls)
	}
	l.mu.Unlock()
	l.client.room.Release(cost)
	var begun time.Time
	if gathers && calls {
		begun = time.Now()
	}
	for i, r := range replies {
		if leads && !r.waits {
			l.in.left = replies[i:]
			break
		}
		r.done(r.index, r.err)
		if i%gatherCheck == 0 && !begun.IsZero() && time.Since(begun) > gatherMax {
			l.writeGathered() // others must not wait for done
			begun = time.Time{}
		}
	}
	if gathers {
		l.awaitDue()
	}
	return nil
}
