package engine

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testConfig returns a config for a log with small segments in its own directory.
func testConfig(t testing.TB) Config {
	c := NewConfig(filepath.Join(t.TempDir(), "data"))
	c.SegmentSize = 4096
	c.SettleEvery = time.Millisecond
	return c
}

// openLog opens a log; when the test ends it is closed, and the whole store is checked.
func openLog(t testing.TB, config Config) *Log {
	t.Helper()
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		checkStore(t, config)
	})
	return l
}

// swapStore replaces the log's store. The leader does it: no other goroutine uses the
// store while nothing is read.
func swapStore(l *Log, s store) {
	done := make(chan struct{})
	l.Submit(nil, 0, Condition{}, func(Result, error) {
		l.store = s
		close(done)
	})
	<-done
}

// result is the arguments of a completion.
type result struct {
	first uint64
	err   error
}

// submit appends entries as one submission.
func submit(l *Log, entries ...string) <-chan result {
	ch := make(chan result, 1)
	b := []byte(nil)
	for _, e := range entries {
		b = append(append(b, e...), '\n')
	}
	l.Append(b, len(entries), Condition{}, func(stored Result, err error) { ch <- result{stored.First, err} })
	return ch
}

// mustAppend appends each entry separately and waits for all of them.
func mustAppend(t testing.TB, l *Log, entries ...string) {
	t.Helper()
	var results []<-chan result
	for _, e := range entries {
		results = append(results, submit(l, e))
	}
	for i, ch := range results {
		if r := <-ch; r.err != nil {
			t.Fatalf("append %d: %v", i, r.err)
		}
	}
}

// numbered returns n entries that contain their indices, from first on.
func numbered(first, n int) []string {
	var entries []string
	for i := range n {
		entries = append(entries, fmt.Sprintf(`{"n":%d}`, first+i))
	}
	return entries
}

// readRange reads from..through; an unreadable entry becomes "error: …".
func readRange(t testing.TB, l *Log, from, through uint64) []string {
	t.Helper()
	var got []string
	next := max(from, 1)
	err := l.Read(context.Background(), from, through, func(first uint64, count int, entries []byte, _ int64, err error) error {
		if first != next || count < 1 {
			t.Fatalf("run of %d entries from %d, want it from %d", count, first, next)
		}
		next += uint64(count)
		if err != nil {
			for range count {
				got = append(got, "error: "+err.Error())
			}
			return nil
		}
		lines := strings.Split(strings.TrimSuffix(string(entries), "\n"), "\n")
		if len(lines) != count {
			t.Fatalf("run of %d entries from %d has %d lines", count, first, len(lines))
		}
		got = append(got, lines...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func readAll(t testing.TB, l *Log) []string {
	t.Helper()
	return readRange(t, l, 1, math.MaxUint64)
}

func sameEntries(t testing.TB, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("there are %d entries, want %d: %.80s is missing", len(got), len(want), want[i])
		case i >= len(want):
			t.Fatalf("there are %d entries, want %d: %.80s is too many", len(got), len(want), got[i])
		case got[i] != want[i]:
			t.Fatalf("entry %d of %d is %.200s, want %.80s", i+1, len(want), got[i], want[i])
		}
	}
}

// eventually polls until ok, for a minute at most.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func settled(t testing.TB, l *Log) {
	t.Helper()
	eventually(t, "everything settled", func() bool { s := l.Stats(); return s.Settled == s.Head })
}
