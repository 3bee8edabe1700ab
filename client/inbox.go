package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// inbox is what has been received on a pipeline. The goroutine that reads owns it (lead.go).
type inbox struct {
	buf      []byte
	hi       int     // how much of buf has been received and not handled
	replies  []reply // those being handled
	left     []reply // replies left by a leader: the callbacks of others do not run on its goroutine
	answered bool    // an answer has come
	err      error   // why nothing more will come
}

// replyBuffer is the smallest size of the buffer that answers are read into.
const replyBuffer = 32 << 10

// receive reads once and completes the calls that are answered. The error says why the pipeline
// ends.
func (p *pipeline) receive() error {
	n, err := p.source.Read(p.in.buf[p.in.hi:])
	return p.received(n, err)
}

// received handles the result of a read.
func (p *pipeline) received(n int, err error) error {
	in := &p.in
	in.hi += n
	in.replies = in.replies[:0]
	if p.client.opts.TLS == nil && answersTLS(in.buf[:in.hi]) {
		return ErrNeedsTLS
	}
	lo := 0
	for {
		i := bytes.IndexByte(in.buf[lo:in.hi], '\n')
		if i < 0 {
			break
		}
		r, ok := parseReply(in.buf[lo : lo+i])
		lo += i + 1
		if ok && (r.stat != nil || r.fault != "") && p.tells(&r) {
			in.answered = true
			continue
		}
		if !ok || r.stat != nil {
			p.answer(in.replies)
			return fmt.Errorf("%w: the answer to an append is %.100q", ErrProtocol, in.buf[lo-i-1:lo])
		}
		if r.fault != "" {
			p.answer(in.replies)
			return faultError(r.fault)
		}
		in.replies = append(in.replies, r)
		in.answered = true
	}
	if err := p.answer(in.replies); err != nil {
		return err
	}
	in.hi = copy(in.buf, in.buf[lo:in.hi])
	if in.hi == len(in.buf) {
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	if err != nil {
		return p.readEnd(err)
	}
	return nil
}

// readEnd returns why the pipeline ended when a read has failed with err.
func (p *pipeline) readEnd(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.interrupted && errors.Is(err, os.ErrDeadlineExceeded) {
		return errInterrupted
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the server")
	}
	// A write may have failed before the explaining alert was read.
	if err = lost(err); p.cause != nil && !errors.Is(err, ErrUnauthorized) {
		return p.cause
	}
	return err
}

// answer completes the oldest calls, which the replies belong to.
func (p *pipeline) answer(replies []reply) error {
	if len(replies) == 0 {
		return nil
	}
	cost, waiting := int64(0), 0
	p.mu.Lock()
	if len(replies) > p.taken-p.first {
		p.mu.Unlock()
		return fmt.Errorf("%w: there are more answers than appends", ErrProtocol)
	}
	for i := range replies {
		c := &p.calls[p.first+i]
		if replies[i].id != c.id {
			p.mu.Unlock()
			return fmt.Errorf("%w: an answer has id %d, want %d", ErrProtocol, replies[i].id, c.id)
		}
		replies[i].done, replies[i].waits = c.done, c.waits
		if c.more != nil && replies[i].more != nil {
			*c.more = *replies[i].more
		}
		cost += c.cost
		if c.waits {
			waiting++
		}
	}
	p.first += len(replies)
	if p.lone++; waiting != 1 || len(replies) > 1 || !p.answeredAll() {
		p.lone = 0
	}
	if p.first > len(p.calls)/2 {
		n := copy(p.calls, p.calls[p.first:])
		clear(p.calls[n:]) // releases done
		p.calls, p.taken, p.first = p.calls[:n], p.taken-p.first, 0
	}
	// The next appends of the callers that now have their answers go out as one write, by this
	// goroutine or the last of them. Waking the writing goroutine would make the runtime wake a
	// thread.
	leads, calls := p.reads == byLeader, waiting < len(replies)
	gathers := (calls || waiting > 1) && !p.busy && !leads
	if gathers {
		p.busy = true
		p.gather.begin(len(replies), calls)
	}
	p.mu.Unlock()
	p.client.room.Release(cost)
	var begun time.Time
	if gathers && calls {
		begun = time.Now()
	}
	for i, r := range replies {
		if leads && !r.waits {
			p.in.left = replies[i:]
			break
		}
		r.done(r.index, r.err)
		if i%gatherCheck == 0 && !begun.IsZero() && time.Since(begun) > gatherMax {
			p.writeGathered() // others must not wait for done
			begun = time.Time{}
		}
	}
	if gathers {
		p.awaitDue()
	}
	return nil
}
