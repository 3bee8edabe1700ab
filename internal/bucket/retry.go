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
	maxWait = 15 * time.Second // between two attempts
	// maxRetryAfter is the longest that a service can make an attempt wait.
	maxRetryAfter = time.Minute
)

// backoff is the wait after the nth attempt: between a half and the whole of a time that
// doubles, so that those who failed together do not all come back together.
func backoff(first time.Duration, n int) time.Duration {
	wait := min(maxWait, first<<min(n-1, 16))
	return wait/2 + rand.N(wait/2+1)
}

// permanent is an error that another attempt would not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retry calls fn until it succeeds, fails for a reason that does not pass, has been tried as
// often as the options say, or ctx ends.
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

// attempt is one request. It is given up when no byte has gone in either direction for a
// while.
type attempt struct {
	ctx        context.Context // ends with the attempt
	cancel     context.CancelCauseFunc
	stall      time.Duration
	timer      *time.Timer
	retryAfter atomic.Int64 // what the service asked for, ns
	progressed bool         // this attempt did something that the next one need not do again
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

// touch says that the request goes on.
func (a *attempt) touch() { a.timer.Reset(a.stall) }

// pause stops the clock until the next touch.
func (a *attempt) pause() { a.timer.Stop() }

func (a *attempt) end() {
	a.timer.Stop()
	a.cancel(nil)
}

// explain returns err, or if the attempt was given up, why.
func (a *attempt) explain(err error) error {
	if stalled := stalledError(0); err != nil && errors.As(context.Cause(a.ctx), &stalled) {
		return stalled
	}
	return err
}

// transport tells the attempt of each request how that goes on.
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

// watched is a body whose bytes are progress.
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
