package logtest

import (
	"strings"
	"sync"
	"testing"
)

// needsClose skips a test of closing if the log cannot be closed.
func (h *Harness) needsClose(t testing.TB) {
	t.Helper()
	if h.Close == nil {
		t.Skip("the log cannot be closed")
	}
}

// testClose: appends after Close are not stored, and their done runs.
func testClose(t testing.TB, h Harness) {
	h.needsClose(t)
	h.put(t, always, object(1, 1))
	h.Close(t)
	wantNotStored(t, h.try(t, always, object(1, 2)))
	wantNotStored(t, h.await(t, h.handIn(t, true, always, objects(1, 3, 2)...)))
	wantNotStored(t, h.await(t, h.handIn(t, true, expect(1), object(1, 4))))
	if h.Reopen != nil {
		h.Log = h.Reopen(t)
		h.wantEntries(t, object(1, 1))
	}
}

// testCloseMeanwhile: Close ends what is under way: every done runs once, has run when Close returns if
// its append came before, and says what became of the entries.
func testCloseMeanwhile(t testing.TB, h Harness) {
	h.needsClose(t)
	const callers = 4
	type told struct {
		outcome
		entries []string
	}
	var mu sync.Mutex
	var all []told
	given := 0
	running := make(chan struct{}, 1000)
	stop := make(chan struct{})
	var calling sync.WaitGroup
	for caller := range callers {
		calling.Go(func() {
			inFlight := make(chan struct{}, 50)
			for n := 0; ; n++ {
				select {
				case <-stop:
					for range cap(inFlight) { // until all have been completed
						inFlight <- struct{}{}
					}
					return
				default:
				}
				inFlight <- struct{}{}
				own := objects(caller, 10*n, 1+n%3)
				mu.Lock()
				given++
				mu.Unlock()
				h.handInTo(t, n%2 == 0, always, own, func(o outcome) {
					mu.Lock()
					all = append(all, told{o, own})
					mu.Unlock()
					<-inFlight
					select {
					case running <- struct{}{}:
					default:
					}
				})
			}
		})
	}
	for range 30 { // some have completed
		h.await(t, received(running))
	}
	mu.Lock()
	before := given - callers // the last of each may not have been given yet
	mu.Unlock()
	h.Close(t)
	mu.Lock()
	if len(all) < before {
		t.Errorf("%d dones have run when Close returns, want those of the %d appends before it", len(all), before)
	}
	mu.Unlock()
	close(stop)
	h.wait(t, &calling)
	mu.Lock()
	defer mu.Unlock()
	if len(all) != given {
		t.Errorf("%d dones have run for %d appends", len(all), given)
	}
	refused := make(map[string]bool)
	for _, o := range all {
		if o.err == nil {
			continue
		}
		notStored := strings.HasPrefix(o.err.Error(), "not stored: ")
		if !notStored && !strings.HasPrefix(o.err.Error(), "outcome unknown: ") {
			t.Errorf("an append's error is %q, which does not say whether it is stored", o.err)
		}
		for _, e := range o.entries {
			refused[e] = notStored
		}
	}
	if h.Reopen == nil {
		return
	}
	h.Log = h.Reopen(t)
	head := h.head(t)
	entries := h.all(t, int(head))
	for _, o := range all {
		for i, e := range o.entries {
			if index := o.First + uint64(i); o.err == nil && (index > head || entries[index-1].entry != e) {
				t.Errorf("%s was acknowledged at %d, and is not there", e, index)
			}
		}
	}
	for i, s := range entries {
		if refused[s.entry] {
			t.Errorf("%s was not stored, and is at %d", s.entry, i+1)
		}
	}
}

// received passes on outcomes from c as the harness awaits them.
func received(c <-chan struct{}) <-chan outcome {
	told := make(chan outcome, 1)
	go func() { <-c; told <- outcome{} }()
	return told
}

// testReopen: a reopened log has the same entries with the same times, and continues.
func testReopen(t testing.TB, h Harness) {
	h.needsClose(t)
	if h.Reopen == nil {
		t.Skip("the log cannot be opened again")
	}
	entries := h.fill(t, 200, 300)
	before := h.all(t, len(entries))
	h.Close(t)
	h.Log = h.Reopen(t)
	after := h.all(t, len(entries))
	for i := range before {
		if before[i] != after[i] {
			t.Fatalf("entry %d was %+v, and is %+v", i+1, before[i], after[i])
		}
	}
	h.awaitAcked(t, uint64(len(entries)))
	index, err := h.Log.Since(t.Context(), before[150].time)
	if err != nil || index == 0 || index > 151 || before[index-1].time != before[150].time {
		t.Errorf("the place of the time of entry 151 is %d (%v)", index, err)
	}
	wantUnmet(t, h.try(t, expect(0), `{}`), 200, 0)
	if r := h.put(t, expect(200), `{}`); r.First != 201 || r.Time < before[199].time {
		t.Errorf("got %+v, want index 201, stored at %d or later", r, before[199].time)
	}
	if !h.NoOnce {
		h.needsOnce(t)
		h.wantPlaces(t, h.put(t, once, entries[7], `[]`, `{}`), 202, place{8, true}, place{202, false}, place{201, true})
	}
}
