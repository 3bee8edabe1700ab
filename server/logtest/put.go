package logtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/appends"
)

// outcome is the arguments of an append's done.
type outcome struct {
	appends.Result
	err error
}

// body returns the entries as an append takes them.
func body(entries []string) []byte {
	if len(entries) == 0 {
		return nil
	}
	return []byte(strings.Join(entries, "\n") + "\n")
}

// handIn gives entries to the log, by Submit if that is set. The outcome comes through the channel.
// After done has run, their bytes are overwritten: a log that still needs them loses them.
func (h *Harness) handIn(t testing.TB, submit bool, on appends.Condition, entries ...string) <-chan outcome {
	told := make(chan outcome, 1)
	h.handInTo(t, submit, on, entries, func(o outcome) { told <- o })
	return told
}

// handInTo is handIn with a function for the outcome.
func (h *Harness) handInTo(t testing.TB, submit bool, on appends.Condition, entries []string, tell func(outcome)) {
	b := body(entries)
	var times atomic.Int32
	done := func(stored appends.Result, err error) {
		if n := times.Add(1); n > 1 {
			t.Errorf("done of an append has run %d times", n)
			return
		}
		stored.Once = append([]appends.Place(nil), stored.Once...)
		for i := range b {
			b[i] = '!'
		}
		tell(outcome{stored, err})
	}
	if submit {
		h.Log.Submit(b, len(entries), on, done)
	} else {
		h.Log.Append(b, len(entries), on, done)
	}
}

// await waits for an outcome.
func (h *Harness) await(t testing.TB, told <-chan outcome) outcome {
	t.Helper()
	timer := time.NewTimer(h.patience())
	defer timer.Stop()
	select {
	case o := <-told:
		return o
	case <-timer.C:
		t.Fatalf("done of an append has not run after %v", h.patience())
		return outcome{}
	}
}

// try appends entries and returns the outcome.
func (h *Harness) try(t testing.TB, on appends.Condition, entries ...string) outcome {
	t.Helper()
	return h.await(t, h.handIn(t, false, on, entries...))
}

// put appends entries, which must succeed.
func (h *Harness) put(t testing.TB, on appends.Condition, entries ...string) appends.Result {
	t.Helper()
	o := h.try(t, on, entries...)
	if o.err != nil {
		t.Fatalf("an append of %d entries: %v", len(entries), o.err)
	}
	return o.Result
}

// always, once and expect are conditions.
var always, once = appends.Condition{}, appends.Condition{Kind: appends.Once}

func expect(head uint64) appends.Condition {
	return appends.Condition{Kind: appends.Expect, Head: head}
}

// object returns an entry that differs for each pair of numbers.
func object(caller, n int) string { return fmt.Sprintf(`{"caller":%d,"n":%d}`, caller, n) }

// objects returns count such entries, from n on.
func objects(caller, n, count int) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = object(caller, n+i)
	}
	return all
}

// stored is an entry as Read passes it.
type stored struct {
	entry string
	time  int64
}

// read reads the entries from..through, and checks how they are passed.
func (h *Harness) read(t testing.TB, from, through uint64) []stored {
	t.Helper()
	var all []stored
	next := from
	var last int64
	err := h.Log.Read(t.Context(), from, through, func(first uint64, count int, entries []byte, at int64, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("%d entries from %d on cannot be read: %w", count, first, err)
		case first != next:
			return fmt.Errorf("got a run from %d on, want one from %d", first, next)
		case count < 1 || next+uint64(count)-1 > through:
			return fmt.Errorf("got a run of %d entries from %d on, want some through %d", count, first, through)
		case bytes.Count(entries, []byte{'\n'}) != count || entries[len(entries)-1] != '\n':
			return fmt.Errorf("got %.200q for %d entries", entries, count)
		case at <= 0 || at < last:
			return fmt.Errorf("the entries from %d on were stored at %d, after those of %d", first, at, last)
		}
		for line := range strings.Lines(string(entries)) {
			all = append(all, stored{line[:len(line)-1], at})
		}
		next, last = next+uint64(count), at
		return nil
	})
	if err != nil {
		t.Fatalf("reading %d to %d: %v", from, through, err)
	}
	if next != through+1 {
		t.Fatalf("reading %d to %d ended after %d", from, through, next-1)
	}
	return all
}

// head returns the head.
func (h *Harness) head(t testing.TB) uint64 {
	t.Helper()
	head, err := h.Log.Head(t.Context())
	if err != nil {
		t.Fatalf("Head: %v", err)
	}
	return head
}

// all reads the whole log, which must have count entries.
func (h *Harness) all(t testing.TB, count int) []stored {
	t.Helper()
	if head := h.head(t); head != uint64(count) {
		t.Fatalf("the head is %d, want %d", head, count)
	}
	if count == 0 {
		return nil
	}
	return h.read(t, 1, uint64(count))
}

// wantEntries compares the whole log with entries.
func (h *Harness) wantEntries(t testing.TB, entries ...string) {
	t.Helper()
	for i, got := range h.all(t, len(entries)) {
		if got.entry != entries[i] {
			t.Fatalf("entry %d is %.200s, want %.200s", i+1, got.entry, entries[i])
		}
	}
}
