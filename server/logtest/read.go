package logtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// fill appends count entries of roughly size bytes each, a few per append, and returns them.
func (h *Harness) fill(t testing.TB, count, size int) []string {
	t.Helper()
	entries := make([]string, count)
	pad := strings.Repeat("x", size)
	var told []<-chan outcome
	for i := range entries {
		entries[i] = fmt.Sprintf(`{"n":%d,"pad":%q}`, i+1, pad[:size-i%7])
	}
	for i, n := 0, 1; i < count; i, n = i+n, n%9+1 {
		n = min(n, count-i)
		told = append(told, h.handIn(t, true, always, entries[i:i+n]...))
	}
	for _, told := range told {
		if o := h.await(t, told); o.err != nil {
			t.Fatalf("an append: %v", o.err)
		}
	}
	return entries
}

// testRead: any range is read, each entry once and in order.
func testRead(t testing.TB, h Harness) {
	const count = 700
	entries := h.fill(t, count, 100)
	for _, bounds := range [][2]uint64{{1, 1}, {1, 2}, {2, 2}, {1, count}, {count, count}, {count - 1, count}, {250, 251}, {3, 699}, {17, 380}, {400, 410}} {
		for i, got := range h.read(t, bounds[0], bounds[1]) {
			if want := entries[int(bounds[0])-1+i]; got.entry != want {
				t.Fatalf("entry %d of %d to %d is %s, want %s", i, bounds[0], bounds[1], got.entry, want)
			}
		}
	}
	for from := uint64(1); from <= count; from += 13 {
		if got := h.read(t, from, from); got[0].entry != entries[from-1] {
			t.Fatalf("entry %d is %s, want %s", from, got[0].entry, entries[from-1])
		}
	}
}

// testReadEnds: a read ends early with fn's error, after which it does not call fn again, or with
// its context's.
func testReadEnds(t testing.TB, h Harness) {
	const count = 1500
	h.fill(t, count, 2000)
	stop := errors.New("stop")
	for _, after := range []int{1, 2, 3} {
		calls, passed := 0, 0
		err := h.Log.Read(t.Context(), 1, count, func(_ uint64, n int, _ []byte, _ int64, _ error) error {
			passed += n
			if calls++; calls >= after {
				return stop
			}
			return nil
		})
		whole := passed == count && calls < after
		if calls > after || !errors.Is(err, stop) && !(whole && err == nil) {
			t.Errorf("fn has ended the read at call %d; it was called %d times and the read returned %v", after, calls, err)
		}
	}
	for _, after := range []int{0, 1, 2} {
		ctx, cancel := context.WithCancel(t.Context())
		calls, passed := 0, 0
		if after == 0 {
			cancel()
		}
		err := h.Log.Read(ctx, 1, count, func(_ uint64, n int, _ []byte, _ int64, err error) error {
			passed += n
			if calls++; calls == after {
				cancel()
			}
			return err
		})
		cancel()
		if !errors.Is(err, context.Canceled) && !(passed == count && err == nil && after > 0) {
			t.Errorf("a read of %d entries whose context was done after %d calls passed %d entries and returned %v", count, after, passed, err)
		}
	}
}

// testReadMeanwhile: what fn is given does not change during the call, whatever other reads and
// appends do, and every entry up to any head can be read at once.
func testReadMeanwhile(t testing.TB, h Harness) {
	const writers, calls, readers = 2, 60, 3
	var writing, reading sync.WaitGroup
	written := make(chan struct{})
	for caller := range writers {
		writing.Go(func() {
			for n := range calls {
				if o := h.try(t, always, objects(caller, 10*n, 1+n%5)...); o.err != nil {
					t.Errorf("an append: %v", o.err)
					return
				}
			}
		})
	}
	go func() { writing.Wait(); close(written) }()
	for range readers {
		reading.Go(func() {
			for open := true; open; {
				select {
				case <-written:
					open = false
				default:
				}
				head, err := h.Log.Head(t.Context())
				if err != nil || head == 0 {
					continue
				}
				from := head - min(head-1, 200)
				next := from
				err = h.Log.Read(t.Context(), from, head, func(first uint64, count int, entries []byte, _ int64, err error) error {
					if err != nil || first != next {
						return fmt.Errorf("got a run from %d on, want %d: %w", first, next, err)
					}
					next += uint64(count)
					was := string(entries)
					runtime.Gosched() // others run
					if string(entries) != was {
						return fmt.Errorf("the %d entries from %d on changed during the call", count, first)
					}
					return nil
				})
				if err != nil || next != head+1 {
					t.Errorf("reading %d to %d ended after %d: %v", from, head, next-1, err)
					return
				}
			}
		})
	}
	h.wait(t, &reading)
}

// testTimes: entries are read with the time reported for their append, and times never decrease.
func testTimes(t testing.TB, h Harness) {
	before := time.Now().UnixMicro()
	type told struct {
		first, last uint64
		time        int64
	}
	var all []told
	for n := range 60 {
		count := 1 + n%4
		r := h.put(t, always, objects(1, 10*n, count)...)
		all = append(all, told{r.First, r.First + uint64(count) - 1, r.Time})
	}
	head := h.head(t)
	read := h.read(t, 1, head) // checks that they do not decrease
	for _, a := range all {
		for index := a.first; index <= a.last; index++ {
			if got := read[index-1].time; got != a.time && (index == a.first || !h.TimesVary) {
				t.Errorf("entry %d was stored at %d, and its append was told %d", index, got, a.time)
			}
		}
		if alone := h.read(t, a.last, a.last)[0].time; alone != read[a.last-1].time {
			t.Errorf("entry %d was stored at %d if it is read alone, otherwise at %d", a.last, alone, read[a.last-1].time)
		}
	}
	// A clock may be off, but not by days.
	if after := time.Now().UnixMicro(); !h.TimesVary && (all[0].time < before-2*day || all[len(all)-1].time > after+2*day) {
		t.Errorf("entries were stored from %d to %d, and it was %d to %d", all[0].time, all[len(all)-1].time, before, after)
	}
}

// day is a day in µs.
const day = int64(24 * time.Hour / time.Microsecond)

// testSince: the place of a time is that of the first entry that was stored then or later.
func testSince(t testing.TB, h Harness) {
	since := func(at int64) uint64 {
		t.Helper()
		index, err := h.Log.Since(t.Context(), at)
		if err != nil {
			t.Fatalf("Since(%d): %v", at, err)
		}
		return index
	}
	for _, at := range []int64{math.MinInt64, 0, 1, math.MaxInt64} {
		if got := since(at); got != 1 {
			t.Errorf("in an empty log the place of %d is %d, want 1", at, got)
		}
	}
	var head uint64
	for n := range 60 {
		count := 1 + n%3
		h.put(t, always, objects(1, 10*n, count)...)
		head += uint64(count)
	}
	times := h.all(t, int(head))
	for i, s := range times {
		first, next := i, i+1
		for first > 0 && times[first-1].time == s.time {
			first--
		}
		for next < len(times) && times[next].time == s.time {
			next++
		}
		if got := since(s.time); got != uint64(first)+1 {
			t.Errorf("the place of the time of entry %d is %d, want %d", i+1, got, first+1)
		}
		if got := since(s.time + 1); got != uint64(next)+1 {
			t.Errorf("the place of the time after entry %d is %d, want %d", i+1, got, next+1)
		}
	}
	for at, want := range map[int64]uint64{math.MinInt64: 1, 0: 1, times[0].time - 1: 1, math.MaxInt64: head + 1} {
		if got := since(at); got != want {
			t.Errorf("the place of %d is %d, want %d", at, got, want)
		}
	}
}
