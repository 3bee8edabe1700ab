package server

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"

	"tcp-log-server/appends"
)

// fakeLog is a second implementation of Log: a slice in memory. An append is done before
// Append returns or, while held is set, when the test says so.
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
	run        int              // entries that Read passes on at once, 0 for one
	reads      []uint64         // the first index of each call of Read
}

// fakeAppend is one call of Append.
type fakeAppend struct {
	entries []byte
	count   int
	on      appends.Condition
	done    func(appends.Result, error)
}

// readFunc receives entries from Read.
type readFunc = func(first uint64, count int, entries []byte, time int64, err error) error

// fakeTime returns when the entry of that index was stored: one per second.
func fakeTime(index uint64) int64 { return 1_764_000_000_000_000 + int64(index)*1_000_000 }

func newFakeLog() *fakeLog { return &fakeLog{moved: make(chan struct{})} }

func (l *fakeLog) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.submitted.Add(1)
	l.Append(entries, count, on, done)
}

func (l *fakeLog) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.order.Lock()
	defer l.order.Unlock()
	a := fakeAppend{entries, count, on, done}
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

// finish makes an append take effect: the head moves, done runs, followers are shown the
// head. The caller holds order.
func (l *fakeLog) finish(a fakeAppend, err error) {
	if err != nil {
		a.done(appends.Result{}, err)
		return
	}
	if n := bytes.Count(a.entries, []byte("\n")); n != a.count {
		panic("an append's count is not that of its entries")
	}
	l.mu.Lock()
	stored, err := l.take(a)
	last := uint64(len(l.entries))
	l.mu.Unlock()
	if l.gate != nil {
		<-l.gate
	}
	a.done(stored, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if last > l.acked {
		l.acked = last
		close(l.moved)
		l.moved = make(chan struct{})
	}
}

// take stores the entries that the condition of a allows. The caller holds mu.
func (l *fakeLog) take(a fakeAppend) (stored appends.Result, err error) {
	head := uint64(len(l.entries))
	if a.on.Kind == appends.Expect && a.on.Head != head {
		return stored, &appends.ConditionError{Head: head, Want: a.on.Head}
	}
	stored.First = head + 1
	for _, e := range bytes.SplitAfter(a.entries, []byte("\n"))[:a.count] {
		e = bytes.Clone(e[:len(e)-1])
		if a.on.Kind == appends.Once {
			at := slices.IndexFunc(l.entries, func(old []byte) bool { return bytes.Equal(old, e) })
			if at >= 0 {
				index := uint64(at) + 1
				stored.Once = append(stored.Once, appends.Place{Index: index, Seen: true, Time: fakeTime(index)})
				continue
			}
		}
		l.entries = append(l.entries, e)
		index := uint64(len(l.entries))
		if index == stored.First {
			stored.Time = fakeTime(index)
		}
		if a.on.Kind == appends.Once {
			stored.Once = append(stored.Once, appends.Place{Index: index, Time: fakeTime(index)})
		}
	}
	return stored, nil
}

// AwaitOnce does not wait: the fake searches its entries.
func (l *fakeLog) AwaitOnce(ctx context.Context) error { return ctx.Err() }

func (l *fakeLog) Since(_ context.Context, time int64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(sort.Search(len(l.entries), func(i int) bool { return fakeTime(uint64(i)+1) >= time })) + 1, nil
}

// hold makes later appends wait.
func (l *fakeLog) hold() {
	l.mu.Lock()
	l.held = true
	l.mu.Unlock()
}

// open finishes all waiting appends, and later ones no longer wait.
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

// calls returns how many appends wait.
func (l *fakeLog) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// pending returns how many entries wait.
func (l *fakeLog) pending() (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.waiting {
		count += a.count
	}
	return count
}

// release finishes all waiting appends with err; while held, later ones wait.
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

func (l *fakeLog) Read(ctx context.Context, from, through uint64, fn readFunc) error {
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
		if err := fn(first, int(from-first), run, fakeTime(first), err); err != nil {
			return err
		}
	}
	return nil
}

// put appends entries from outside any connection.
func (l *fakeLog) put(t *testing.T, entries ...string) {
	t.Helper()
	put(t, l, entries...)
}
