package logtest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/appends"
)

// testOrder: appends by Append and Submit from several goroutines get indices without gaps; done of
// each runs once, one at a time and in the order of the indices; and each goroutine's appends take
// effect in their order.
func testOrder(t testing.TB, h Harness) {
	const callers, calls = 4, 50
	var running sync.Mutex
	var next uint64 = 1 // owned by done, which runs one at a time
	entries := make(map[uint64]string)
	var left sync.WaitGroup
	left.Add(callers * calls)
	var calling sync.WaitGroup
	for caller := range callers {
		calling.Go(func() {
			last := -1 // likewise
			for n := range calls {
				own := objects(caller, 10*n, 1+n%3)
				h.handInTo(t, n%2 == caller%2, always, own, func(o outcome) {
					defer left.Done()
					if !running.TryLock() {
						t.Error("done of two appends runs at once")
						return
					}
					defer running.Unlock()
					switch {
					case o.err != nil:
						t.Errorf("an append: %v", o.err)
						return
					case o.First != next:
						t.Errorf("done of the append at %d runs when %d is due", o.First, next)
					case n < last:
						t.Errorf("append %d of goroutine %d takes effect after %d", n, caller, last)
					case o.Time <= 0:
						t.Errorf("the append at %d was stored at %d", o.First, o.Time)
					case len(o.Once) > 0:
						t.Errorf("the append at %d has places, without Once", o.First)
					}
					last = n
					for i, e := range own {
						entries[o.First+uint64(i)] = e
					}
					next = o.First + uint64(len(own))
				})
			}
		})
	}
	calling.Wait()
	h.wait(t, &left)
	count := 0
	for n := range calls {
		count += callers * (1 + n%3)
	}
	for i, got := range h.all(t, count) {
		if want := entries[uint64(i)+1]; got.entry != want {
			t.Fatalf("entry %d is %s, want %s", i+1, got.entry, want)
		}
	}
}

// wait waits for a group, within the harness's patience.
func (h *Harness) wait(t testing.TB, group *sync.WaitGroup) {
	t.Helper()
	all := make(chan outcome, 1)
	go func() { group.Wait(); all <- outcome{} }()
	h.await(t, all)
}

// testTogether: the entries of one append are adjacent, and no head is between them.
func testTogether(t testing.TB, h Harness) {
	const callers, calls, most = 3, 15, 40
	edges := map[uint64]bool{0: true}
	var mu sync.Mutex
	var calling sync.WaitGroup
	for caller := range callers {
		calling.Go(func() {
			for n := range calls {
				own := objects(caller, most*n, 2+(7*n)%(most-1))
				o := h.try(t, always, own...)
				if o.err != nil {
					t.Errorf("an append: %v", o.err)
					return
				}
				mu.Lock()
				edges[o.First+uint64(len(own))-1] = true
				mu.Unlock()
				for i, got := range h.read(t, o.First, o.First+uint64(len(own))-1) {
					if got.entry != own[i] {
						t.Errorf("entry %d of an append at %d is %s, want %s", i, o.First, got.entry, own[i])
						return
					}
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { calling.Wait(); close(ended) }()
	seen := make(map[uint64]string)
	for open := true; open; {
		select {
		case <-ended:
			open = false
		default:
		}
		if head, err := h.Log.Head(t.Context()); err == nil {
			seen[head] = "head"
		}
		acked, _ := h.Log.Acked()
		seen[acked] = "acked head"
	}
	for head, what := range seen {
		if !edges[head] {
			t.Errorf("the %s was %d, which is in the middle of an append", what, head)
		}
	}
}

// testNothing: appends of no entries have their turn, and store nothing.
func testNothing(t testing.TB, h Harness) {
	h.put(t, always, object(1, 1))
	var mu sync.Mutex
	var order []string
	var left sync.WaitGroup
	left.Add(6)
	hand := func(name string, on appends.Condition, first uint64, entries ...string) {
		h.handInTo(t, true, on, entries, func(o outcome) {
			defer left.Done()
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			if o.err != nil || o.First != first {
				t.Errorf("append %s: got %d and %v, want %d", name, o.First, o.err, first)
			}
		})
	}
	hand("a", always, 2, object(1, 2))
	hand("b", always, 3)
	hand("c", always, 3)
	hand("d", always, 3, object(1, 3))
	hand("e", expect(3), 4)
	hand("f", always, 4, object(1, 4))
	h.wait(t, &left)
	if got := strings.Join(order, ""); got != "abcdef" {
		t.Errorf("the appends are done in the order %s, want abcdef", got)
	}
	if !h.NoOnce {
		h.needsOnce(t)
		if o := h.try(t, once); o.err != nil || len(o.Once) > 0 {
			t.Errorf("an append of nothing, once: got %+v", o)
		}
	}
	h.wantEntries(t, objects(1, 1, 4)...)
}

// testBytes: the log does not need an append's bytes after done has run, and reads return exactly the
// bytes that were appended.
func testBytes(t testing.TB, h Harness) {
	entries := []string{`{}`, `[]`, `null`, `["é€😀\u0000\"\\"]`, `{"a":[1,2.5,1e+300,{"b":null}],"z":"` + strings.Repeat("x", 3000) + `"}`}
	for i := range 60 {
		entries = append(entries, fmt.Sprintf(`[%d,%q]`, i, strings.Repeat("y", i*i)))
	}
	for i, n := 0, 1; i < len(entries); i, n = i+n, n%7+1 {
		n = min(n, len(entries)-i)
		if r := h.put(t, always, entries[i:i+n]...); r.First != uint64(i)+1 {
			t.Fatalf("the append is at %d, want %d", r.First, i+1)
		}
	}
	h.wantEntries(t, entries...)
}

// testLarge: an entry, and an append of many, may be as large as the log says; a larger one is not
// stored.
func testLarge(t testing.TB, h Harness) {
	limit, said := h.maxAppend()
	var entries []string
	for _, size := range []int{1 << 10, 100_000, limit / 4, limit} {
		if size > limit {
			continue
		}
		entries = append(entries, `["`+strings.Repeat("x", size-5)+`"]`) // that many bytes with its newline
		h.put(t, always, entries[len(entries)-1])
	}
	const each = 100
	var many []string
	for i := range min(limit, 1<<20) / each {
		many = append(many, fmt.Sprintf(`["%0*d"]`, each-5, i))
	}
	h.put(t, always, many...)
	h.wantEntries(t, append(entries, many...)...)
	if !said {
		return
	}
	o := h.try(t, always, `["`+strings.Repeat("x", limit-4)+`"]`)
	wantNotStored(t, o)
	h.put(t, always, `{}`)
	h.wantEntries(t, append(append(entries, many...), `{}`)...)
}

// wantNotStored checks that an outcome says "not stored".
func wantNotStored(t testing.TB, o outcome) {
	t.Helper()
	if _, unmet := errors.AsType[*appends.ConditionError](o.err); o.err == nil || unmet || !strings.HasPrefix(o.err.Error(), "not stored: ") {
		t.Errorf("got %+v, want an error that begins with \"not stored: \"", o)
	}
}
