package bucket

import (
	"context"
	"sync"
	"time"
)

// limiter limits all its callers together to a number of bytes per second. The nil limiter has no
// limit.
type limiter struct {
	perSecond int64

	mu   sync.Mutex
	next time.Time // when the next caller may continue
}

func newLimiter(perSecond int64) *limiter {
	if perSecond <= 0 {
		return nil
	}
	return &limiter{perSecond: perSecond}
}

// wait waits until n more bytes are allowed, or returns the context's error.
func (l *limiter) wait(ctx context.Context, n int) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	now := time.Now()
	at := l.next
	if at.Before(now) {
		at = now
	}
	l.next = at.Add(time.Duration(float64(n) / float64(l.perSecond) * float64(time.Second)))
	l.mu.Unlock()
	return sleep(ctx, at.Sub(now))
}

// sleep waits for d. If the context ends first, it returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
