package client

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"tcp-log-server/canonical"
)

// once holds the writes with Once that are under way, and sends them again until they are
// answered. It keeps their order: when one has failed, no more are sent over the pipeline, and
// once all that were sent have their outcome, the remaining ones go out again over one
// pipeline, oldest first.
type once struct {
	client *Client

	mu        sync.Mutex
	writes    list.List // of *onceWrite, in the order of the calls
	pipeline  *pipeline // takes new writes; nil while they must wait for resend
	underway  int       // how many have been sent and have no outcome yet
	settled   sync.Cond // underway is 0
	resending bool      // resend runs
	attempts  int       // how often it has sent since the last answer
	told      bool      // OnRetry has been called, OnResume has not
}

// onceWrite is a write from its call until done runs.
type onceWrite struct {
	line *line
	cost int64 // of MaxInFlight
	done func(Result, error)
	stop func() bool // stops watching the context

	// Guarded by once.mu.
	place   *list.Element // nil once it has its outcome
	over    *pipeline     // it has been sent over this pipeline as id, and has no answer yet
	id      uint64
	more    *Result
	err     error // of the last attempt
	unknown bool  // an attempt may have stored the entry
	holds   bool  // it was abandoned before the end of an attempt, and holds its cost until then
}

func newOnce(c *Client) *once {
	o := &once{client: c}
	o.settled.L = &o.mu
	return o
}

// put makes a write and waits for its outcome.
func (o *once) put(ctx context.Context, l *line) (Result, error) {
	type outcome struct {
		result Result
		err    error
	}
	answer := make(chan outcome, 1)
	if err := o.begin(ctx, l, func(r Result, err error) { answer <- outcome{r, err} }); err != nil {
		return Result{}, err
	}
	a := <-answer
	return a.result, a.err
}

// send makes a write; when it returns, its entry belongs to the caller again.
func (o *once) send(ctx context.Context, l *line, done func(Result, error)) error {
	l.value = slices.Clone(l.value)
	return o.begin(ctx, l, done)
}

// begin makes a write.
func (o *once) begin(ctx context.Context, l *line, done func(Result, error)) error {
	if ctx.Err() != nil {
		return notSent(context.Cause(ctx))
	}
	w := &onceWrite{line: l, cost: o.client.cost(l), done: done}
	if err := o.client.makeRoom(ctx, w.cost); err != nil {
		return notSent(err)
	}
	o.mu.Lock()
	if o.pipeline != nil && !o.pipeline.ended.Load() {
		if err := o.pipeline.features.Load().check(l.needs); err != nil {
			o.mu.Unlock()
			o.client.room.Release(w.cost)
			return notSent(err)
		}
	}
	w.place = o.writes.PushBack(w)
	p, writes, sent := o.pipeline, false, false
	if p != nil {
		writes, sent = o.sendOver(p, w)
	}
	if !sent && !o.startResend() {
		o.writes.Remove(w.place)
		o.mu.Unlock()
		o.client.room.Release(w.cost)
		return notSent(ErrClosed)
	}
	if ctx.Done() != nil {
		w.stop = context.AfterFunc(ctx, func() { o.abandon(w, context.Cause(ctx)) })
	}
	o.mu.Unlock()
	if writes {
		p.flush()
	}
	return nil
}

// sendOver sends w over p. If sent is false, p has ended; if writes is true, the caller must
// flush it. The caller holds mu.
func (o *once) sendOver(p *pipeline, w *onceWrite) (writes, sent bool) {
	w.more = new(Result)
	done := func(index uint64, err error) { o.answered(w, index, err) }
	id, writes, sent := p.add(w.line, call{more: w.more, done: done}, false)
	if sent {
		w.over, w.id = p, id
		o.underway++
	}
	return writes, sent
}

// answered handles the outcome of an attempt.
func (o *once) answered(w *onceWrite, index uint64, err error) {
	o.mu.Lock()
	o.endAttempt(w)
	resumed := false
	switch {
	case w.place == nil: // abandoned
		o.mu.Unlock()
		o.client.room.Release(w.cost)
		return
	case err == nil:
		w.more.Index = index
		resumed, o.told, o.attempts = o.told, false, 0
	default:
		w.note(err)
		passes := w.passes(err)
		if passes && o.startResend() {
			o.mu.Unlock()
			return
		}
		if err = w.failure(err); passes {
			err = w.given(ErrClosed)
		}
	}
	o.remove(w)
	o.mu.Unlock()
	if resumed && o.client.opts.OnResume != nil {
		o.client.opts.OnResume()
	}
	o.finish(w, err)
}

// abandon ends a write whose context has ended.
func (o *once) abandon(w *onceWrite, cause error) {
	o.mu.Lock()
	if w.place == nil {
		o.mu.Unlock()
		return
	}
	switch {
	case w.over == nil:
	case w.over.withdraw(w.id):
		o.endAttempt(w)
	default:
		w.unknown = true
		w.holds = true
	}
	o.remove(w)
	err := w.given(cause)
	o.mu.Unlock()
	o.finish(w, err)
}

// endAttempt notes that no attempt of w is under way. The caller holds mu.
func (o *once) endAttempt(w *onceWrite) {
	w.over = nil
	if o.underway--; o.underway == 0 {
		o.settled.Broadcast()
	}
}

// remove removes w from the list. The caller holds mu and calls finish after that.
func (o *once) remove(w *onceWrite) {
	o.writes.Remove(w.place)
	w.place = nil
}

// finish reports the outcome of a write that has been removed.
func (o *once) finish(w *onceWrite, err error) {
	if w.stop != nil {
		w.stop()
	}
	if !w.holds {
		o.client.room.Release(w.cost)
	}
	if err != nil {
		w.done(Result{}, err)
		return
	}
	w.done(*w.more, nil)
}

// startResend starts sending all writes again, unless the client is closed. The caller holds
// mu.
func (o *once) startResend() bool {
	o.pipeline = nil
	if o.resending {
		return true
	}
	o.client.mu.Lock()
	defer o.client.mu.Unlock()
	if o.client.closed {
		return false
	}
	o.resending = true
	o.client.running.Go(o.resend)
	return true
}

// resend sends all writes, once nothing is under way, until one pipeline has taken all.
func (o *once) resend() {
	for {
		o.mu.Lock()
		for o.underway > 0 {
			o.settled.Wait()
		}
		if o.writes.Len() == 0 {
			o.resending = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		o.pause()
		p, err := o.client.connected(o.client.ctx)
		if err == nil {
			err = p.has(o.client.ctx, nil)
		}
		if err != nil {
			o.fail(err)
			continue
		}
		if o.sendAll(p) {
			return
		}
	}
}

// pause waits before failed writes are sent again.
func (o *once) pause() {
	o.mu.Lock()
	var err error
	for e := o.writes.Front(); e != nil && err == nil; e = e.Next() {
		err = e.Value.(*onceWrite).err
	}
	if err == nil {
		o.mu.Unlock()
		return
	}
	wait := o.client.backoff(o.attempts)
	o.attempts++
	o.told = true
	o.mu.Unlock()
	o.client.pause(context.Background(), err, wait)
}

// fail notes that nothing could be sent, and ends all writes if that is permanent.
func (o *once) fail(err error) {
	var ended []*onceWrite
	o.mu.Lock()
	for e := o.writes.Front(); e != nil; {
		w := e.Value.(*onceWrite)
		e = e.Next()
		if w.note(notSent(err)); lasting(err) {
			o.remove(w)
			ended = append(ended, w)
		}
	}
	o.mu.Unlock()
	o.finishFailed(ended)
}

// sendAll sends all writes over p, except those that need a feature that its server lacks,
// and reports whether p takes further ones.
func (o *once) sendAll(p *pipeline) bool {
	var ended []*onceWrite
	o.mu.Lock()
	flush, sent := false, true
	for e := o.writes.Front(); e != nil && sent; {
		w := e.Value.(*onceWrite)
		e = e.Next()
		if err := p.features.Load().check(w.line.needs); err != nil {
			w.note(notSent(err))
			o.remove(w)
			ended = append(ended, w)
			continue
		}
		var writes bool
		writes, sent = o.sendOver(p, w)
		flush = flush || writes
	}
	if sent {
		o.pipeline, o.resending = p, false
	}
	o.mu.Unlock()
	if flush {
		p.flush()
	}
	o.finishFailed(ended)
	return sent
}

// finishFailed reports the outcome of writes that have been removed after a failed attempt.
func (o *once) finishFailed(ended []*onceWrite) {
	for _, w := range ended {
		o.finish(w, w.failure(w.err))
	}
}

// note records how an attempt failed.
func (w *onceWrite) note(err error) {
	w.err = err
	w.unknown = w.unknown || errors.Is(err, ErrUnknown)
}

// passes reports whether another attempt may end with something other than err.
func (w *onceWrite) passes(err error) bool {
	return !lasting(err) && !(errors.Is(err, ErrRefused) && (w.faulty() || refusedForGood(err)))
}

// faulty reports whether every server would refuse the entry.
func (w *onceWrite) faulty() bool {
	_, _, err := canonical.Append(nil, w.line.value)
	return err != nil
}

// refusedForGood reports whether a server that refuses an entry with err will never accept it.
// Every other refusal is about the server's own state: it is stopping, its log has failed, its
// disk is full.
func refusedForGood(err error) bool {
	text := strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")
	for _, prefix := range []string{"unauthorized", "invalid message", "the entry is ", "the line is "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// failure returns the error of a write that is not sent again after an attempt that failed with
// err.
func (w *onceWrite) failure(err error) error {
	if !w.unknown || errors.Is(err, ErrUnknown) || errors.Is(err, ErrRefused) && w.faulty() {
		return err
	}
	return unknown(fmt.Errorf("an attempt was not answered, and then: %w", reason{err}))
}

// given returns the error of a write that is given up because of cause.
func (w *onceWrite) given(cause error) error {
	outcome := ErrNotSent
	switch {
	case w.unknown:
		outcome = ErrUnknown
	case errors.Is(w.err, ErrRefused):
		outcome = ErrRefused
	}
	if w.err == nil {
		return fmt.Errorf("%w: %w", outcome, cause)
	}
	return fmt.Errorf("%w: %w; an earlier attempt: %w", outcome, cause, reason{w.err})
}

// reason is an error of an attempt that does not count as the outcome of the write.
type reason struct{ err error }

func (r reason) Error() string { return r.err.Error() }

func (r reason) Is(target error) bool {
	return target != ErrRefused && target != ErrNotSent && target != ErrUnknown && errors.Is(r.err, target)
}

func (r reason) As(target any) bool { return errors.As(r.err, target) }
