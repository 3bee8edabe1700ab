package server

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeLog is a second implementation of Log: a slice in memory. An append is
// done before Append returns, or, while held is set, when the test says so.
type fakeLog struct {
	order sync.Mutex // held while appends take effect, so that their dones run in order

	mu      sync.Mutex
	held    bool
	waiting []fakeAppend
	entries [][]byte // each without a newline
	acked   uint64
	moved   chan struct{}

	gate       chan struct{}    // if set before use, closed before dones run
	submitted  atomic.Int64     // calls of Submit
	unreadable map[uint64]error // set before use
	run        int              // entries that Read hands on at once, 0 for one
	reads      []uint64         // the first index of each call of Read
}

// fakeAppend is one call of Append.
type fakeAppend struct {
	entries []byte
	count   int
	done    func(uint64, error)
}

func newFakeLog() *fakeLog { return &fakeLog{moved: make(chan struct{})} }

func (l *fakeLog) Submit(entries []byte, count int, done func(uint64, error)) {
	l.submitted.Add(1)
	l.Append(entries, count, done)
}

func (l *fakeLog) Append(entries []byte, count int, done func(uint64, error)) {
	l.order.Lock()
	defer l.order.Unlock()
	a := fakeAppend{entries, count, done}
	l.mu.Lock()
	held := l.held
	if held {
		l.waiting = append(l.waiting, a)
	}
	l.mu.Unlock()
	if !held {
		l.finish(a, nil)
	}
}

// finish is where an append takes effect: the head moves, done runs, followers
// are shown the head. The caller holds order.
func (l *fakeLog) finish(a fakeAppend, err error) {
	if err != nil {
		a.done(0, err)
		return
	}
	if n := bytes.Count(a.entries, []byte("\n")); n != a.count {
		panic("an append's count is not that of its entries")
	}
	l.mu.Lock()
	first := uint64(len(l.entries)) + 1
	for _, e := range bytes.SplitAfter(a.entries, []byte("\n"))[:a.count] {
		l.entries = append(l.entries, bytes.Clone(e[:len(e)-1]))
	}
	last := uint64(len(l.entries))
	l.mu.Unlock()
	if l.gate != nil {
		<-l.gate
	}
	a.done(first, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	if last > l.acked {
		l.acked = last
		close(l.moved)
		l.moved = make(chan struct{})
	}
}

// hold makes later appends wait.
func (l *fakeLog) hold() {
	l.mu.Lock()
	l.held = true
	l.mu.Unlock()
}

// open finishes all appends that wait, and later ones at once again.
func (l *fakeLog) open() {
	l.mu.Lock()
	l.held = false
	l.mu.Unlock()
	l.release(nil)
}

// wait waits until count entries are held.
func (l *fakeLog) wait(t *testing.T, count int) {
	t.Helper()
	poll(t, "appends to arrive at the log", func() bool { return l.pending() >= count })
}

// calls is how many appends wait.
func (l *fakeLog) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// pending is how many entries wait.
func (l *fakeLog) pending() (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.waiting {
		count += a.count
	}
	return count
}

// release finishes all appends that wait, with err; while held, later ones wait.
func (l *fakeLog) release(err error) {
	l.order.Lock()
	defer l.order.Unlock()
	l.mu.Lock()
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, a := range waiting {
		l.finish(a, err)
	}
}

func (l *fakeLog) Head(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.entries)), nil
}

func (l *fakeLog) Acked() (uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.moved
}

func (l *fakeLog) Read(ctx context.Context, from, through uint64, fn func(uint64, int, []byte, error) error) error {
	l.mu.Lock()
	entries := l.entries
	l.reads = append(l.reads, from)
	l.mu.Unlock()
	if through > uint64(len(entries)) {
		return errors.New("a read goes beyond the head")
	}
	for from <= through {
		if err := ctx.Err(); err != nil {
			return err
		}
		var run []byte
		first, err := from, l.unreadable[from]
		for from <= through && int(from-first) < max(1, l.run) && l.unreadable[from] == err {
			if err == nil {
				run = append(append(run, entries[from-1]...), '\n')
			}
			from++
		}
		if err := fn(first, int(from-first), run, err); err != nil {
			return err
		}
	}
	return nil
}

// put appends entries from outside of any connection.
func (l *fakeLog) put(t *testing.T, entries ...string) {
	t.Helper()
	done := make(chan error, 1)
	var run []byte
	for _, e := range entries {
		run = append(append(run, e...), '\n')
	}
	l.Append(run, len(entries), func(_ uint64, err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("an append was not done")
	}
}
