package replicated

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestGather: the lane waits until as much is queued as when the last message was acknowledged, for half
// the time that message took, and not while it has nothing to send.
func TestGather(t *testing.T) {
	const ms = time.Millisecond
	type push struct {
		at    time.Duration
		count int
	}
	cases := []struct {
		name   string
		last   int // entries of the last message
		queued int // when it was acknowledged
		took   time.Duration
		pushes []push
		cancel time.Duration // 0 for never
		want   time.Duration
	}{
		{"nothing is queued", 16, 0, 8 * ms, nil, 0, 0},
		{"alone", 1, 0, 8 * ms, []push{{0, 1}}, 0, 0},
		{"all are back", 16, 2, 8 * ms, []push{{0, 16}}, 0, 0},
		{"the last comes later", 16, 2, 8 * ms, []push{{0, 10}, {1 * ms, 5}, {3 * ms, 1}}, 0, 3 * ms},
		{"more than were there", 2, 0, 8 * ms, []push{{0, 1}, {1 * ms, 64}}, 0, 1 * ms},
		{"one does not come", 16, 2, 8 * ms, []push{{0, 10}, {1 * ms, 5}}, 0, 4 * ms},
		{"only others wait", 16, 2, 8 * ms, nil, 0, 4 * ms},
		{"a slow cluster", 16, 2, time.Minute, nil, 0, gatherMost},
		{"the log ends", 16, 2, 8 * ms, nil, 1 * ms, 1 * ms},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &lane{wake: make(chan struct{}, 1)}
				add := func(count int) {
					n.mu.Lock()
					n.queue, n.queued = append(n.queue, &appended{count: count}), n.queued+count
					n.mu.Unlock()
					n.poke()
				}
				if c.queued > 0 {
					add(c.queued)
				}
				n.answering(&batch{appends: []*appended{{count: c.last}}})
				n.answered(c.took)
				began := time.Now()
				for _, p := range c.pushes {
					if p.at == 0 {
						add(p.count)
					} else {
						time.AfterFunc(p.at, func() { add(p.count) })
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				n.gather(ctx)
				if got := time.Since(began); got != c.want {
					t.Errorf("it waited for %v, want %v", got, c.want)
				}
				time.Sleep(time.Minute) // for the remaining pushes, before the bubble ends
			})
		})
	}
}
