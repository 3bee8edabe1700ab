package replicated

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"
)

// goroutines returns the stacks of those that run code of this package, tests apart.
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

// TestCloseLeavesNothing: Close ends all goroutines of the log and returns in time, whatever has become
// of the cluster.
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
