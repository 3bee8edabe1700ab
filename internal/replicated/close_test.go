package replicated

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tcp-log-server/appends"
)

// goroutines returns the stacks of the goroutines that run code of this package, except tests.
func goroutines() (all []string) {
	b := make([]byte, 4<<20)
	for _, stack := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(stack, "internal/replicated.(*Log)") || strings.Contains(stack, "internal/replicated.(*lane)") ||
			strings.Contains(stack, "internal/replicated.(*once)") || strings.Contains(stack, "jetstream.(*") {
			all = append(all, stack)
		}
	}
	return all
}

// TestCloseLeavesNothing: Close ends all goroutines of the log and returns in time, whatever has happened
// to the cluster.
func TestCloseLeavesNothing(t *testing.T) {
	c := newTrio(t)
	before := len(goroutines())
	cases := []struct {
		name string
		stop func()
	}{
		{"all is well", func() {}},
		{"without a majority", func() { c.Stop(1); c.Stop(2) }},
		{"alone", func() { c.Stop(0) }},
	}
	var logs []*Log
	for range cases {
		l := c.gateway(t, 0, "log", func(c *Config) { c.GiveUp = time.Minute })
		if err := l.AwaitOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		put(t, l, unique, "1")
		logs = append(logs, l)
	}
	for i, tt := range cases {
		tt.stop()
		l := logs[i]
		var waiting <-chan outcome
		if i > 0 {
			waiting = start(l, always, "2")
			asking, cancel := context.WithCancel(t.Context())
			go l.Head(asking)
			defer cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		began := time.Now()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: Close took %v", tt.name, took)
		}
		if waiting != nil {
			select {
			case o := <-waiting:
				if o.err == nil {
					t.Errorf("%s: an append was stored", tt.name)
				}
			default:
				t.Errorf("%s: an append has not been completed", tt.name)
			}
		}
	}
	eventually(t, "all goroutines have ended", func() bool { return len(goroutines()) <= before })
}

// TestClose closes a log in each state that an append can be in. By then every completion must have run.
func TestClose(t *testing.T) {
	cases := []struct {
		name    string
		publish func(f *fake, msg *nats.Msg)
		want    string
	}{
		{"nothing is answered", func(*fake, *nats.Msg) {}, "outcome unknown: "},
		{"all is refused", func(f *fake, msg *nats.Msg) { f.refuse(msg, 10071) }, "outcome unknown: "},
		{"acknowledged, and not to be counted", func(f *fake, msg *nats.Msg) { f.acknowledge(msg, 17) }, "outcome unknown: "},
		{"acknowledged", nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			l := f.gateway(time.Minute)
			if c.publish != nil {
				f.mu.Lock()
				f.publish = func(_ int, msg *nats.Msg) { c.publish(f, msg) }
				f.mu.Unlock()
			}
			first := start(l, always, "1")
			eventually(t, "it is sent", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.published > 0 })
			second := start(l, always, "2")
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			began := time.Now()
			if err := l.Close(ctx); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			for i, got := range []<-chan outcome{first, second} {
				select {
				case o := <-got:
					if c.want == "" && o.err != nil || c.want != "" && (o.err == nil || i == 0 && !strings.HasPrefix(o.err.Error(), c.want)) {
						t.Errorf("append %d: %v, want %q", i+1, o.err, c.want)
					}
				default:
					t.Errorf("append %d has not been completed", i+1)
				}
			}
			if o := await(t, start(l, always, "3")); !errors.Is(o.err, errClosed) || !strings.HasPrefix(o.err.Error(), "not stored: ") {
				t.Errorf("after that: %v, want %v", o.err, errClosed)
			}
			done := make(chan error, 1)
			l.Submit([]byte("4\n"), 1, always, func(_ appends.Result, err error) { done <- err })
			if err := <-done; !errors.Is(err, errClosed) {
				t.Errorf("after that: %v, want %v", err, errClosed)
			}
		})
	}
}
