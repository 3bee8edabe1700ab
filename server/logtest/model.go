package logtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"tcp-log-server/appends"
)

// event is a completed append.
type event struct {
	caller, n int
	on        appends.Condition
	entries   []string
	outcome
}

// testModel: many goroutines append in every way, and others read. In the end the log holds what a
// simple model has if it is given the appends in the order of their indices: everything that was
// acknowledged, once, and nothing else; each goroutine's in its order; and every answer was right.
func testModel(t testing.TB, h Harness) {
	if !h.NoOnce {
		h.needsOnce(t)
	}
	const callers, calls, readers = 5, 60, 2
	var mu sync.Mutex
	var events []event
	var writing, reading sync.WaitGroup
	for caller := range callers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(caller), 7))
			var left sync.WaitGroup
			for n := range calls {
				e := event{caller: caller, n: n}
				for i := range 1 + random.IntN(4) {
					e.entries = append(e.entries, object(caller, 10*n+i))
				}
				switch kind := random.IntN(4); {
				case kind == 0:
					head, _ := h.Log.Acked()
					e.on = expect(head + uint64(random.IntN(3)))
				case kind == 1 && !h.NoOnce:
					e.on = once
					e.entries = append(e.entries, fmt.Sprintf(`["shared",%d]`, random.IntN(20)), object(caller, random.IntN(10*n+1)))
				case kind == 2:
					e.entries = append(e.entries, fmt.Sprintf(`["shared",%d]`, random.IntN(20)))
				}
				left.Add(1)
				h.handInTo(t, random.IntN(2) == 0, e.on, e.entries, func(o outcome) {
					defer left.Done()
					e.outcome = o
					mu.Lock()
					events = append(events, e) // in the order in which done ran
					mu.Unlock()
				})
				if random.IntN(5) == 0 {
					h.wait(t, &left)
				}
			}
			h.wait(t, &left)
		})
	}
	ended := make(chan struct{})
	go func() { writing.Wait(); close(ended) }()
	seen := make([]map[uint64]stored, readers)
	for i := range readers {
		seen[i] = make(map[uint64]stored)
		reading.Go(func() { h.follow(t, ended, seen[i]) })
	}
	h.wait(t, &reading)
	if t.Failed() {
		return
	}
	entries := h.replay(t, events)
	head := h.head(t)
	if head != uint64(len(entries)) {
		t.Fatalf("the head is %d, want %d", head, len(entries))
	}
	for i, got := range h.all(t, len(entries)) {
		if got.entry != entries[i] {
			t.Fatalf("entry %d is %s, want %s", i+1, got.entry, entries[i])
		}
		for _, seen := range seen {
			if was, ok := seen[uint64(i)+1]; ok && was != got {
				t.Errorf("entry %d was %+v for a follower, and is %+v", i+1, was, got)
			}
		}
	}
}

// follow reads new entries until there will be no more, and keeps them in seen.
func (h *Harness) follow(t testing.TB, ended <-chan struct{}, seen map[uint64]stored) {
	for next, open := uint64(1), true; open; {
		acked, moved := h.Log.Acked()
		if acked >= next {
			for i, s := range h.read(t, next, acked) {
				seen[next+uint64(i)] = s
			}
			next = acked + 1
			continue
		}
		select {
		case <-moved:
		case <-ended:
			open = false
		}
	}
}

// replay gives the appends to the model, in the order in which they completed, and compares its
// answers with theirs. It returns the entries that the model holds.
func (h *Harness) replay(t testing.TB, events []event) (entries []string) {
	t.Helper()
	first := make(map[string]uint64) // of each entry
	store := func(e string) {
		entries = append(entries, e)
		if _, ok := first[e]; !ok {
			first[e] = uint64(len(entries))
		}
	}
	last := make(map[int]int)
	for _, e := range events {
		if n, ok := last[e.caller]; ok && e.n <= n {
			t.Errorf("append %d of goroutine %d is done after %d", e.n, e.caller, n)
		}
		last[e.caller] = e.n
		head := uint64(len(entries))
		if e.on.Kind == appends.Expect && e.on.Head != head {
			unmet, ok := errors.AsType[*appends.ConditionError](e.err)
			if !ok || unmet.Head != head || unmet.Want != e.on.Head {
				t.Errorf("an append that expects the head %d was told %v, and the head was %d", e.on.Head, e.err, head)
			}
			continue
		}
		if e.err != nil || e.First != head+1 {
			t.Errorf("an append was told %d and %v, want %d", e.First, e.err, head+1)
		}
		if e.on.Kind == appends.Once && len(e.Once) != len(e.entries) {
			t.Errorf("an append of %d entries, once, was told %d places", len(e.entries), len(e.Once))
			continue
		}
		for i, entry := range e.entries {
			if e.on.Kind != appends.Once {
				store(entry)
				continue
			}
			at, seen := first[entry]
			if !seen {
				store(entry)
				at = uint64(len(entries))
			}
			if p := e.Once[i]; p.Index != at || p.Seen != seen {
				t.Errorf("%s, once, was told %+v, want %d, seen: %v", entry, p, at, seen)
			}
		}
	}
	return entries
}
