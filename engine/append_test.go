package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stores runs a test with each configuration; the test must not depend on the disk.
func stores(t *testing.T, test func(t *testing.T, config Config)) {
	for name, change := range map[string]func(c *Config){
		"disk":         func(*Config) {},
		"memory":       func(c *Config) { c.Data = Memory },
		"wal memory":   func(c *Config) { c.WAL = Memory },
		"blobs memory": func(c *Config) { c.Blobs = Memory },
		"both memory":  func(c *Config) { c.WAL, c.Blobs = Memory, Memory },
		"no blobs":     func(c *Config) { c.LooseMax = 0 },
		"all blobs":    func(c *Config) { c.LooseMax = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := testConfig(t)
			change(&config)
			test(t, config)
		})
	}
}

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		l := openLog(t, config)
		if h, err := l.Head(t.Context()); h != 0 || err != nil {
			t.Fatalf("head of a new log is %d, %v", h, err)
		}
		if got := readAll(t, l); len(got) != 0 {
			t.Fatalf("a new log has entries: %q", got)
		}
		want := append(numbered(1, 150), `{}`, `[]`, `null`, `{"s":"`+strings.Repeat("long ", 2000)+`"}`)
		mustAppend(t, l, want...)
		if h, _ := l.Head(t.Context()); h != uint64(len(want)) {
			t.Fatalf("head is %d, want %d", h, len(want))
		}
		sameEntries(t, readAll(t, l), want)
		for range 50 {
			from := rand.IntN(len(want)) + 1
			through := from + rand.IntN(len(want)+10-from)
			sameEntries(t, readRange(t, l, uint64(from), uint64(through)), want[from-1:min(through, len(want))])
		}
		for _, empty := range [][2]uint64{{155, 155}, {155, math.MaxUint64}, {7, 6}, {math.MaxUint64, math.MaxUint64}, {0, 0}} {
			if got := readRange(t, l, empty[0], empty[1]); len(got) != 0 {
				t.Errorf("read %v gives %q", empty, got)
			}
		}
	})
}

func TestReadStops(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		l := openLog(t, config)
		mustAppend(t, l, numbered(1, 300)...)
		stop := errors.New("stop")
		calls := 0
		err := l.Read(t.Context(), 1, math.MaxUint64, func(uint64, int, []byte, int64, error) error { calls++; return stop })
		if err != stop || calls != 1 {
			t.Errorf("error is %v after %d calls, want the function's after 1", err, calls)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = l.Read(ctx, 1, math.MaxUint64, func(_ uint64, _ int, _ []byte, _ int64, err error) error { cancel(); return err })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v, want the context's", err)
		}
	})
}

// TestSubmissions: entries of one submission are adjacent in one batch, and submissions
// take effect in the order of the calls.
func TestSubmissions(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		l := openLog(t, config)
		var want []string
		var results []<-chan result
		var firsts []uint64
		for i := range 200 {
			entries := numbered(len(want)+1, i%7)
			firsts = append(firsts, uint64(len(want)+1))
			want = append(want, entries...)
			results = append(results, submit(l, entries...))
		}
		for i, ch := range results {
			if r := <-ch; r.err != nil || r.first != firsts[i] {
				t.Fatalf("submission %d is at %d, %v, want %d", i, r.first, r.err, firsts[i])
			}
		}
		sameEntries(t, readAll(t, l), want)
	})
}

// TestLargeSubmissionIsOneBatch: a submission may be larger than a batch, and than a
// segment otherwise is.
func TestLargeSubmissionIsOneBatch(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.LooseMax = 0
	l := openLog(t, config)
	var entries []string
	for range 9 {
		entries = append(entries, `"`+strings.Repeat("x", batchMax/4)+`"`)
	}
	if r := <-submit(l, entries...); r.first != 1 || r.err != nil {
		t.Fatal(r)
	}
	s, _ := l.store.(*disk).find(1)
	r, err := s.NewReader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := r.Next(); err != nil || int(b.Count) != len(entries) {
		t.Errorf("the first batch has %d entries, %v, want %d", b.Count, err, len(entries))
	}
}

// TestNoEntryIsTooShort: a batch that recovery would mistake for torn is refused, and the
// log continues.
func TestNoEntryIsTooShort(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		l := openLog(t, config)
		if r := <-submit(l, "1", "2"); !errors.Is(r.err, ErrNotStored) {
			t.Errorf("entries of one byte: %d, %v, want ErrNotStored", r.first, r.err)
		}
		if r := <-submit(l, "{}", "[]"); r.first != 1 || r.err != nil {
			t.Errorf("after them: %d, %v, want 1", r.first, r.err)
		}
		sameEntries(t, readAll(t, l), []string{"{}", "[]"})
	})
}

// TestDoneRunsInOrder: completions run one at a time, in the order of the calls,
// including those of empty appends; Head covers the indices that done reports; Acked
// shows them only after done has returned.
func TestDoneRunsInOrder(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		l := openLog(t, config)
		const n = 500
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		wg.Add(n)
		for i := range n {
			count := i % 3 // every third is empty
			entries := []byte(strings.Repeat("{}\n", count))
			give := l.Append
			if i%5 < 2 {
				give = l.Submit
			}
			give(entries, count, Condition{}, func(stored Result, err error) {
				first := stored.First
				defer wg.Done()
				if !mu.TryLock() {
					t.Error("two completions run at once")
					return
				}
				defer mu.Unlock()
				order = append(order, i)
				if err != nil {
					t.Error(err)
				}
				if head, _ := l.Head(t.Context()); count > 0 && head < first+uint64(count)-1 {
					t.Errorf("head is %d in the completion of %d entries at %d", head, count, first)
				}
				if acked, _ := l.Acked(); count > 0 && acked >= first {
					t.Errorf("acked is %d in the completion of %d entries at %d", acked, count, first)
				}
			})
		}
		wg.Wait()
		for i, got := range order {
			if got != i {
				t.Fatalf("completion %d ran as number %d", got, i)
			}
		}
	})
}

// TestSubmit: Submit to an idle log returns before the commit, and the entries of
// one call are not stored before those of earlier calls.
func TestSubmit(t *testing.T) {
	t.Parallel()
	l := openLog(t, testConfig(t))
	for n := range uint64(20) {
		mustAppend(t, l, "[]")
		may, done := make(chan struct{}), make(chan uint64)
		l.Submit([]byte("{}\n"), 1, Condition{}, func(stored Result, err error) {
			if err != nil {
				t.Error(err)
			}
			<-may // would wait forever if it ran before Submit returns
			done <- stored.First
		})
		close(may)
		if first := <-done; first != 2*n+2 {
			t.Errorf("index is %d, want %d", first, 2*n+2)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Submit([]byte("{}\n"), 1, Condition{}, func(_ Result, err error) {
		if !errors.Is(err, ErrNotStored) || !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v, want %v and %v", err, ErrNotStored, ErrClosed)
		}
	})
}

// TestFollow: a follower that waits for Acked sees every entry, in order.
func TestFollow(t *testing.T) {
	t.Parallel()
	l := openLog(t, testConfig(t))
	const n = 1000
	seen := make(chan []string, 4)
	for range cap(seen) {
		go func() {
			var got []string
			for len(got) < n {
				acked, moved := l.Acked()
				if acked == uint64(len(got)) {
					<-moved
					continue
				}
				if acked < uint64(len(got)) {
					t.Errorf("acked went back from %d to %d", len(got), acked)
				}
				err := l.Read(context.Background(), uint64(len(got)+1), acked, func(_ uint64, _ int, entries []byte, _ int64, err error) error {
					got = append(got, strings.Fields(string(entries))...)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
			seen <- got
		}()
	}
	for i := range n {
		submit(l, numbered(i+1, 1)...)
	}
	for range cap(seen) {
		sameEntries(t, <-seen, numbered(1, n))
	}
}

// TestConcurrent runs many appenders and readers at once: each appender's entries keep
// their order, each is told its index, and every reader sees the same log.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		l := openLog(t, config)
		const appenders, readers = 16, 6
		each := 60
		if testing.Short() {
			each = 20
		}
		var failed atomic.Bool
		var appending, reading sync.WaitGroup
		for a := range appenders {
			appending.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(a), 1))
				for n := range each {
					entry := fmt.Sprintf(`{"a":%d,"n":%d,"x":"%s"}`, a, n, strings.Repeat("x", rnd.IntN(300)))
					ch := submit(l, entry)
					if rnd.IntN(3) > 0 && n < each-1 {
						continue
					}
					r := <-ch
					if r.err != nil {
						t.Error(r.err)
						failed.Store(true)
						return
					}
					if got := readRange(t, l, r.first, r.first); len(got) != 1 || got[0] != entry {
						t.Errorf("entry %d is %q, want %s", r.first, got, entry)
					}
				}
			})
		}
		var longest [readers][]string
		for r := range readers {
			reading.Go(func() {
				for len(longest[r]) < appenders*each && !failed.Load() {
					_, moved := l.Acked()
					got := readAll(t, l)
					sameEntries(t, got[:len(longest[r])], longest[r])
					if longest[r] = got; len(got) < appenders*each {
						select {
						case <-moved:
						case <-time.After(100 * time.Millisecond):
						}
					}
				}
			})
		}
		appending.Wait()
		reading.Wait()
		next := make([]int, appenders)
		for _, e := range longest[0] {
			var a, n int
			if _, err := fmt.Sscanf(e, `{"a":%d,"n":%d,`, &a, &n); err != nil || n != next[a] {
				t.Fatalf("entry %.40s, want number %d of %d (%v)", e, next[a], a, err)
			}
			next[a]++
		}
		for r := range readers {
			sameEntries(t, longest[r], longest[0])
		}
	})
}
