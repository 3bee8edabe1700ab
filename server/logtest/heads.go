package logtest

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/appends"
)

// testAwaitOnce: AwaitOnce does not wait long if its context is done, and a log for which it has
// returned nil takes appends with Once.
func testAwaitOnce(t testing.TB, h Harness) {
	if h.NoOnce {
		t.Skip("the log takes no appends with Once")
	}
	h.put(t, always, objects(1, 0, 100)...)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	told := make(chan outcome, 1)
	go func() { told <- outcome{err: h.Log.AwaitOnce(done)} }()
	h.await(t, told)
	h.needsOnce(t)
	h.wantPlaces(t, h.put(t, once, object(1, 50), object(2, 0), object(1, 99)), 101, place{51, true}, place{101, false}, place{100, true})
}

// testHead: no entry whose done has run is beyond a head that is requested later, and the head never
// decreases. The head that the log knows without asking is not beyond that, and also includes every
// entry whose done has run.
func testHead(t testing.TB, h Harness) {
	if head := h.head(t); head != 0 {
		t.Fatalf("the head of an empty log is %d", head)
	}
	known := func() uint64 { return 1 << 63 }
	if log, ok := h.Log.(interface{ Known() uint64 }); ok {
		known = log.Known
	}
	const callers, calls = 4, 40
	var calling sync.WaitGroup
	var most atomic.Uint64 // of the entries whose done has run
	for caller := range callers {
		calling.Go(func() {
			var last uint64
			for n := range calls {
				o := h.try(t, always, objects(caller, 10*n, 1+n%4)...)
				if o.err != nil {
					t.Errorf("an append: %v", o.err)
					return
				}
				end := o.First + uint64(n%4)
				for was := most.Load(); was < end && !most.CompareAndSwap(was, end); was = most.Load() {
				}
				least := most.Load()
				if k := known(); k < least {
					t.Errorf("the head is known to be %d after done of the append through %d has run", k, least)
				}
				head, err := h.Log.Head(t.Context())
				if err != nil || head < least || head < last {
					t.Errorf("the head is %d (%v), after it was %d and done of the append through %d has run", head, err, last, least)
					return
				}
				last = head
			}
		})
	}
	calling.Wait()
	total := uint64(0)
	for n := range calls {
		total += callers * uint64(1+n%4)
	}
	if head := h.head(t); head != total {
		t.Errorf("the head is %d, want %d", head, total)
	}
	if k := known(); k < total {
		t.Errorf("the head is known to be %d, want %d", k, total)
	}
}

// testAcked: the head for followers does not include an append whose done has not returned, and
// eventually includes all.
func testAcked(t testing.TB, h Harness) {
	if acked, _ := h.Log.Acked(); acked != 0 {
		t.Fatalf("the acked head of an empty log is %d", acked)
	}
	// While done runs it lets a watcher look, which cannot take long.
	look, looked := make(chan struct{}), make(chan uint64)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-look:
				acked, _ := h.Log.Acked()
				looked <- acked
			case <-ended:
				return
			}
		}
	}()
	const calls = 60
	var left sync.WaitGroup
	left.Add(calls)
	total := uint64(0)
	for n := range calls {
		entries := objects(1, 10*n, 1+n%3)
		total += uint64(len(entries))
		h.handInTo(t, n%2 == 0, always, entries, func(o outcome) {
			defer left.Done()
			select {
			case look <- struct{}{}:
			case <-ended:
				return
			}
			if acked := <-looked; o.err != nil || acked >= o.First {
				t.Errorf("the acked head is %d while done of the append at %d runs (%v)", acked, o.First, o.err)
			}
		})
		if n%7 == 0 {
			runtime.Gosched()
		}
	}
	h.wait(t, &left)
	h.awaitAcked(t, total)
	h.wantEntriesThrough(t, total)
}

// awaitAcked waits until the acked head is index.
func (h *Harness) awaitAcked(t testing.TB, index uint64) {
	t.Helper()
	timer := time.NewTimer(h.patience())
	defer timer.Stop()
	for {
		acked, moved := h.Log.Acked()
		if acked >= index {
			return
		}
		select {
		case <-moved:
			if later, _ := h.Log.Acked(); later <= acked {
				t.Fatalf("the acked head is said to have moved from %d, but is %d", acked, later)
			}
		case <-timer.C:
			t.Fatalf("the acked head is %d after %v, want %d", acked, h.patience(), index)
		}
	}
}

// wantEntriesThrough reads everything through index, which must be the head.
func (h *Harness) wantEntriesThrough(t testing.TB, index uint64) { h.all(t, int(index)) }

// testMoved: the channel of a head is closed once there is a later one, for everyone who has asked,
// and not before.
func testMoved(t testing.TB, h Harness) {
	const rounds, followers = 30, 3
	for n := range rounds {
		before, moved := h.Log.Acked()
		if before != uint64(n) {
			t.Fatalf("the acked head is %d, want %d", before, n)
		}
		var following sync.WaitGroup
		for range followers {
			following.Go(func() {
				if acked, moved := h.Log.Acked(); acked == before {
					<-moved
				}
				if acked, _ := h.Log.Acked(); acked <= before {
					t.Errorf("the acked head is said to have moved from %d, but is %d", before, acked)
				}
			})
		}
		if n%2 == 0 { // an append that stores nothing moves nothing
			wantUnmet(t, h.try(t, expect(1<<40), object(0, 0)), before, 1<<40)
			h.put(t, appends.Condition{}) // no entries
		}
		select {
		case <-moved:
			t.Fatalf("the acked head is said to have moved from %d, and nothing has been appended", before)
		default:
		}
		h.put(t, always, object(1, n))
		h.wait(t, &following)
		timer := time.NewTimer(h.patience())
		select {
		case <-moved:
		case <-timer.C:
			t.Fatalf("the acked head has moved on from %d, and its channel is not closed after %v", before, h.patience())
		}
		timer.Stop()
		h.awaitAcked(t, before+1)
	}
}
