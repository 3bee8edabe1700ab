package replicated

import (
	"context"
	"strings"
	"testing"
	"time"

	"tcp-log-server/appends"
)

// open opens a log and closes it when the test ends.
func open(t testing.TB, config Config) *Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	l, err := Open(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		l.lane.mu.Lock()
		left := l.lane.queued
		for _, a := range l.lane.queue {
			left -= a.count
		}
		l.lane.mu.Unlock()
		if left != 0 {
			t.Errorf("the lane counts %d entries more in its queue than it has", left)
		}
		l.Close(ctx)
	})
	return l
}

// outcome is the result of an append.
type outcome struct {
	appends.Result
	err error
}

var (
	always = appends.Condition{}
	unique = appends.Condition{Kind: appends.Once}
)

// start begins an append.
func start(l *Log, on appends.Condition, entries ...string) <-chan outcome {
	got := make(chan outcome, 1)
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e + "\n")
	}
	l.Append([]byte(b.String()), len(entries), on, func(r appends.Result, err error) { got <- outcome{r, err} })
	return got
}

// await waits for the outcome of an append.
func await(t testing.TB, got <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-got:
		return o
	case <-time.After(time.Minute):
		t.Fatal("an append has not been completed for a minute")
		return outcome{}
	}
}

// put appends entries and requires that they are stored.
func put(t testing.TB, l *Log, on appends.Condition, entries ...string) appends.Result {
	t.Helper()
	o := await(t, start(l, on, entries...))
	if o.err != nil {
		t.Fatalf("an append of %d entries: %v", len(entries), o.err)
	}
	return o.Result
}

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// readAll returns the entries from..through, with "!" for each that cannot be read.
func readAll(t testing.TB, l *Log, from, through uint64) (all []string) {
	t.Helper()
	next := from
	err := l.Read(t.Context(), from, through, func(first uint64, count int, entries []byte, at int64, err error) error {
		if first != next {
			t.Errorf("a run begins at %d, want %d", first, next)
		}
		next = first + uint64(count)
		if err != nil {
			for range count {
				all = append(all, "!")
			}
			return nil
		}
		lines := entriesOf(entries)
		if len(lines) != count {
			t.Errorf("a run of %d entries has %d lines", count, len(lines))
		}
		for _, e := range lines {
			all = append(all, strings.TrimSuffix(e, "\n"))
		}
		return nil
	})
	if err != nil || next != through+1 {
		t.Fatalf("a read of %d to %d ended before %d: %v", from, through, next, err)
	}
	return all
}
