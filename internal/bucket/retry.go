package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	maxWait = 15 * time.Second // maximum time between two attempts
	// maxRetryAfter is the longest time for which a service can delay an attempt.
	maxRetryAfter = time.Minute
)

// backoff returns the wait after the nth attempt: a random time between half and all of a limit
// that doubles, so that clients that failed together do not retry together.
func backoff(first time.Duration, n int) time.Duration {
	wait := min(maxWait, first<<min(n-1, 16))
	return wait/2 + rand.N(wait/2+1)
}

// permanent is an error that another attempt would not fix.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retry calls fn until it succeeds or fails permanently, the attempts of the options are used up,
// or ctx ends.
func retry(ctx context.Context, o Options, fn func(a *attempt) error) error {
	for n := 1; ; n++ {
		a := newAttempt(ctx, o.Stall)
		err := a.explain(fn(a))
		a.end()
		if err == nil {
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("%w: %w", cause, err)
		}
		if a.progressed {
			n = 1
		}
		if p := (permanent{}); errors.As(err, &p) {
			return p.error
		}
		if n >= o.Attempts {
			return fmt.Errorf("%w (gave up after %d attempts)", err, n)
		}
		wait := max(backoff(o.Wait, n), time.Duration(a.retryAfter.Load()))
		o.OnRetry(err, wait)
		if cause := sleep(ctx, wait); cause != nil {
			return fmt.Errorf("%w: %w", cause, err)
		}
	}
}

// attempt is one request. It is abandoned if no byte moves in either direction for the time stall.
type attempt struct {
	ctx        context.Context // ends with the attempt
	cancel     context.CancelCauseFunc
	stall      time.Duration
	timer      *time.Timer
	retryAfter atomic.Int64 // asked for by the service, in ns
	progressed bool         // the attempt did work that the next one need not repeat
}

type attemptKey struct{}

func newAttempt(parent context.Context, stall time.Duration) *attempt {
	a := &attempt{stall: stall}
	a.ctx, a.cancel = context.WithCancelCause(parent)
	a.ctx = context.WithValue(a.ctx, attemptKey{}, a)
	a.timer = time.AfterFunc(stall, func() { a.cancel(stalledError(stall)) })
	return a
}

type stalledError time.Duration

func (e stalledError) Error() string {
	return fmt.Sprintf("no byte was sent or received for %v", time.Duration(e))
}

// touch notes progress of the request.
func (a *attempt) touch() { a.timer.Reset(a.stall) }

// pause stops the clock until the next touch.
func (a *attempt) pause() { a.timer.Stop() }

func (a *attempt) end() {
	a.timer.Stop()
	a.cancel(nil)
}

// explain returns err, or the reason if the attempt was abandoned.
func (a *attempt) explain(err error) error {
	if stalled := stalledError(0); err != nil && errors.As(context.Cause(a.ctx), &stalled) {
		return stalled
	}
	return err
}

// transport reports the progress of each request to its attempt.
type transport struct{ http.RoundTripper }

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	a, ok := req.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		return t.RoundTripper.RoundTrip(req)
	}
	if req.Body != nil {
		clone := *req
		clone.Body = watched{req.Body, a}
		req = &clone
	}
	a.touch()
	resp, err := t.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	a.touch()
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		a.retryAfter.Store(int64(min(maxRetryAfter, time.Duration(min(s, 3600))*time.Second)))
	}
	resp.Body = watched{resp.Body, a}
	return resp, nil
}

// watched is a body that reports each read as progress.
type watched struct {
	io.ReadCloser
	a *attempt
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if n > 0 {
		w.a.touch()
	}
	return n, err
}
