package logtest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"tcp-log-server/appends"
)

// wantUnmet checks an outcome of an append with Expect whose turn came at that head.
func wantUnmet(t testing.TB, o outcome, head, want uint64) {
	t.Helper()
	unmet, ok := errors.AsType[*appends.ConditionError](o.err)
	if !ok || unmet.Head != head || unmet.Want != want {
		t.Errorf("got %+v, want that the head is %d, not %d", o, head, want)
	}
}

// testExpect: an append with Expect is stored only at that head, all of it or nothing.
func testExpect(t testing.TB, h Harness) {
	wantUnmet(t, h.try(t, expect(1), object(0, 0)), 0, 1)
	if r := h.put(t, expect(0), object(1, 1)); r.First != 1 || r.Time <= 0 {
		t.Errorf("got %+v, want index 1", r)
	}
	wantUnmet(t, h.try(t, expect(0), object(0, 0)), 1, 0)
	if r := h.put(t, expect(1), objects(1, 2, 3)...); r.First != 2 {
		t.Errorf("got %+v, want index 2", r)
	}
	wantUnmet(t, h.try(t, expect(3), objects(0, 0, 5)...), 4, 3)
	wantUnmet(t, h.try(t, expect(5), object(0, 0)), 4, 5)
	wantUnmet(t, h.try(t, expect(1<<63-1), object(0, 0)), 4, 1<<63-1)
	h.wantEntries(t, objects(1, 1, 4)...)
}

// testExpectInFlight: an append with Expect is compared with the appends before it too, even if none
// of them is done.
func testExpectInFlight(t testing.TB, h Harness) {
	var told []<-chan outcome
	hand := func(on appends.Condition, entries ...string) {
		told = append(told, h.handIn(t, true, on, entries...))
	}
	for n := range 20 {
		hand(expect(uint64(n)), object(1, n))
	}
	hand(expect(19), object(0, 0))     // unmet
	hand(expect(20), object(1, 20))    // met: the one before has stored nothing
	hand(always, objects(1, 21, 4)...) // 22..25
	hand(expect(21), object(0, 0))     // unmet
	hand(expect(25), objects(1, 25, 2)...)
	hand(expect(27), object(1, 27))
	for n := range 20 {
		if o := h.await(t, told[n]); o.err != nil || o.First != uint64(n)+1 {
			t.Fatalf("append %d: got %+v", n, o)
		}
	}
	told = told[20:]
	wantUnmet(t, h.await(t, told[0]), 20, 19)
	for i, first := range map[int]uint64{1: 21, 2: 22, 4: 26, 5: 28} {
		if o := h.await(t, told[i]); o.err != nil || o.First != first {
			t.Errorf("append %d: got %+v, want index %d", 20+i, o, first)
		}
	}
	wantUnmet(t, h.await(t, told[3]), 25, 21)
	h.wantEntries(t, objects(1, 0, 28)...)
}

// testExpectRace: of several appends that expect one head at the same time, one is stored.
func testExpectRace(t testing.TB, h Harness) {
	const rounds, callers = 15, 6
	var entries []string
	for round := range rounds {
		head := uint64(len(entries))
		winners := make(chan []string, callers)
		var calling sync.WaitGroup
		for caller := range callers {
			calling.Go(func() {
				own := objects(caller, 10*round, 1+caller%3)
				o := h.try(t, expect(head), own...)
				unmet, ok := errors.AsType[*appends.ConditionError](o.err)
				switch {
				case o.err == nil && o.First == head+1:
					winners <- own
				case !ok || unmet.Want != head || unmet.Head <= head || unmet.Head > head+3:
					t.Errorf("got %+v where the head was %d", o, head)
				}
			})
		}
		calling.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d appends that expected the head %d are stored, want 1", len(winners), head)
		}
		entries = append(entries, <-winners...)
	}
	h.wantEntries(t, entries...)
}

// place is where an entry must be.
type place struct {
	index uint64
	seen  bool
}

// wantPlaces checks the result of an append with Once: new entries are at r.First and after it.
func (h *Harness) wantPlaces(t testing.TB, r appends.Result, first uint64, want ...place) {
	t.Helper()
	if len(r.Once) != len(want) || r.First != first {
		t.Fatalf("got %+v, want %d places, and new entries from %d on", r, len(want), first)
	}
	fresh := first
	for i, p := range r.Once {
		if p.Index != want[i].index || p.Seen != want[i].seen {
			t.Errorf("place %d is %+v, want %+v", i, p, want[i])
			continue
		}
		if !p.Seen && p.Index != fresh {
			t.Errorf("place %d is a new entry at %d, want it at %d", i, p.Index, fresh)
		}
		if !p.Seen {
			fresh++
		}
		if at := h.read(t, p.Index, p.Index)[0].time; p.Time != at {
			t.Errorf("place %d is that of an entry that was stored at %d, but entry %d was stored at %d", i, p.Time, p.Index, at)
		}
	}
	if fresh > first {
		if at := h.read(t, first, first)[0].time; r.Time != at {
			t.Errorf("the time of new entries is %d, but entry %d was stored at %d", r.Time, first, at)
		}
	}
}

// testOnce: an entry that the log holds is not stored again, whether it came with the same append, an
// earlier one, or one without Once.
func testOnce(t testing.TB, h Harness) {
	h.needsOnce(t)
	a, b, c, d := object(1, 1), object(1, 2), object(1, 3), object(1, 4)
	h.wantPlaces(t, h.put(t, once, a), 1, place{1, false})
	h.wantPlaces(t, h.put(t, once, a), 2, place{1, true})
	h.wantPlaces(t, h.put(t, once, b, a, b, c, c), 2, place{2, false}, place{1, true}, place{2, true}, place{3, false}, place{3, true})
	h.put(t, always, a, d, d)
	h.wantPlaces(t, h.put(t, once, d, a), 7, place{5, true}, place{1, true})
	h.wantPlaces(t, h.put(t, once, `{"n":1}`, a, `{"n":10}`), 7, place{7, false}, place{1, true}, place{8, false})
	h.wantEntries(t, a, b, c, a, d, d, `{"n":1}`, `{"n":10}`)
}

// testOnceMixed: an append with Once is compared with the appends before it too, even if none of them
// is done.
func testOnceMixed(t testing.TB, h Harness) {
	h.needsOnce(t)
	var told []<-chan outcome
	hand := func(on appends.Condition, entries ...string) {
		told = append(told, h.handIn(t, true, on, entries...))
	}
	const rounds = 10
	for n := range rounds {
		hand(always, object(1, n))
		hand(once, object(1, n), object(2, n))
		hand(once, object(2, n))
		hand(expect(uint64(2*n)), object(3, n)) // unmet, so it is not stored
		hand(once, object(2, n), object(1, n))
	}
	for n := range rounds {
		outcomes := make([]outcome, 5)
		for i := range outcomes {
			outcomes[i] = h.await(t, told[5*n+i])
		}
		one, two := uint64(2*n+1), uint64(2*n+2)
		for i, o := range outcomes {
			if o.err != nil && i != 3 {
				t.Fatalf("append %d of round %d: %v", i, n, o.err)
			}
		}
		h.wantPlaces(t, outcomes[1].Result, two, place{one, true}, place{two, false})
		h.wantPlaces(t, outcomes[2].Result, two+1, place{two, true})
		wantUnmet(t, outcomes[3], two, uint64(2*n))
		h.wantPlaces(t, outcomes[4].Result, two+1, place{two, true}, place{one, true})
	}
}

// testOnceRace: of equal entries that arrive at once, with and without Once, those with Once all get
// the same place, which is that of the first.
func testOnceRace(t testing.TB, h Harness) {
	h.needsOnce(t)
	const rounds, callers = 15, 6
	first := make(map[string]uint64)
	var mu sync.Mutex
	plain := 0
	for round := range rounds {
		var calling sync.WaitGroup
		for caller := range callers {
			on := once
			if round%3 == 0 && caller == 0 {
				on, plain = always, plain+1
			}
			calling.Go(func() {
				own := []string{fmt.Sprintf(`["both",%d]`, round), object(caller%2, round)}
				o := h.try(t, on, own...)
				if o.err != nil || on == once && len(o.Once) != len(own) {
					t.Errorf("got %+v", o)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for i, p := range o.Once {
					if was, ok := first[own[i]]; ok && was != p.Index {
						t.Errorf("%s is said to be at %d and at %d", own[i], was, p.Index)
					}
					first[own[i]] = p.Index
				}
			})
		}
		calling.Wait()
	}
	head := int(h.head(t))
	seen := make(map[string]uint64)
	doubles := 0
	for i, got := range h.all(t, head) {
		if _, ok := seen[got.entry]; ok {
			doubles++
			continue
		}
		seen[got.entry] = uint64(i) + 1
	}
	if doubles > 2*plain || len(seen) != 3*rounds {
		t.Errorf("%d entries are there once, and %d again, want %d and %d at most", len(seen), doubles, 3*rounds, 2*plain)
	}
	for entry, index := range first {
		if seen[entry] != index {
			t.Errorf("%s is said to be at %d, and its first is at %d", entry, index, seen[entry])
		}
	}
}
