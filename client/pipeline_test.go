package client

import (
	"slices"
	"testing"
	"time"
)

// TestUnwritten: a line without its newline may have an effect; one that lacks more
// cannot.
func TestUnwritten(t *testing.T) {
	const out = "a}\nb}\n" + askLine + "c}\n"
	for n, want := range slices.Concat([]int{3, 3, 2, 2, 2}, slices.Repeat([]int{1}, 3+len(askLine)), []int{0, 0}) {
		if got := unwritten([]byte(out), n); got != want {
			t.Errorf("of %q with %d bytes written, %d lines have no effect, want %d", out, n, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	c := &Client{opts: Options{MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second}}
	for attempt, most := range map[int]time.Duration{0: 100 * time.Millisecond, 1: 200 * time.Millisecond, 3: 800 * time.Millisecond, 6: 5 * time.Second, 60: 5 * time.Second, 1000: 5 * time.Second} {
		seen := make(map[time.Duration]bool)
		for range 100 {
			d := c.backoff(attempt)
			if d < most/2 || d > most {
				t.Fatalf("attempt %d waits %v, want %v to %v", attempt, d, most/2, most)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("attempt %d: only %d different waits of 100", attempt, len(seen))
		}
	}
}
