package daemon

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/test/systemdtest"
)

// TestWatchdog: no sign of life is sent while the log returns an error or does not answer; they resume
// once it answers.
func TestWatchdog(t *testing.T) {
	m := systemdtest.NewManager(t)
	t.Setenv("NOTIFY_SOCKET", m.Socket)
	t.Setenv("WATCHDOG_USEC", "60000")
	manager := newManager(zerolog.Nop())
	checking, answer := make(chan struct{}), make(chan error)
	stop := manager.watchdog(func(ctx context.Context) error {
		select {
		case checking <- struct{}{}:
			return <-answer
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	for _, step := range []struct {
		answer error
		hangs  bool
		want   string
	}{
		{nil, false, "WATCHDOG=1"},
		{nil, true, ""},
		{errors.New("closed"), false, ""},
		{nil, false, "WATCHDOG=1"},
	} {
		<-checking
		if step.hangs {
			if got := m.Next(t, 3*manager.interval); got != "" {
				t.Errorf("with no answer the notification is %q, want none", got)
			}
			go func() { answer <- errors.New("too late") }()
			continue
		}
		answer <- step.answer
		wait := 20 * time.Second
		if step.want == "" {
			wait = manager.interval // the next check waits for this loop
		}
		if got := m.Next(t, wait); got != step.want {
			t.Errorf("after the answer %v the notification is %q, want %q", step.answer, got, step.want)
		}
	}
	stop()
	// A check that hangs does not delay stop.
	hang := make(chan struct{})
	defer close(hang)
	stop = manager.watchdog(func(context.Context) error { <-hang; return nil })
	stop()
}
