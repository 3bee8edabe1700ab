package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/segment"
)

func TestClose(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		l := openLog(t, config)
		var results []<-chan result
		for i := range 100 {
			results = append(results, submit(l, numbered(i+1, 1)...))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for i, ch := range results {
			select {
			case r := <-ch:
				if r.err != nil || r.first != uint64(i+1) {
					t.Fatalf("append %d: %+v", i, r)
				}
			default:
				t.Fatal("Close has returned before the completions have run")
			}
		}
		for range 3 {
			if err := l.Close(); err != nil {
				t.Errorf("closed again: %v", err)
			}
		}
		for _, r := range []result{<-submit(l, "{}"), <-submit(l)} {
			if !errors.Is(r.err, ErrClosed) || !errors.Is(r.err, ErrNotStored) || errors.Is(r.err, ErrUnknown) {
				t.Errorf("append to a closed log: %v, want ErrClosed and ErrNotStored", r.err)
			}
		}
	})
}

// TestCloseWhileAppending: every append is answered, and entries answered with an index
// are there after a restart.
func TestCloseWhileAppending(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	l := openLog(t, config)
	const n = 8
	var stored, refused atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for {
				r := <-submit(l, `{"x":1}`)
				if r.err != nil {
					if !errors.Is(r.err, ErrClosed) {
						t.Error(r.err)
					}
					refused.Add(1)
					return
				}
				if stored.Add(1) == 200 {
					go l.Close()
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openLog(t, config)
	if h, _ := again.Head(t.Context()); h != uint64(stored.Load()) || refused.Load() != n {
		t.Errorf("head is %d after %d were stored and %d refused", h, stored.Load(), refused.Load())
	}
}

// faultyStore answers commits with err as long as that is set.
type faultyStore struct {
	store
	err error
}

func (f *faultyStore) commit(batch []byte, count int, now time.Time) error {
	if f.err != nil {
		return f.err
	}
	return f.store.commit(batch, count, now)
}

// TestRefusedBatch: a batch that could not be written is answered as not stored, none of
// it is visible, and the log continues.
func TestRefusedBatch(t *testing.T) {
	t.Parallel()
	l := openLog(t, testConfig(t))
	f := &faultyStore{store: l.store}
	swapStore(l, f)
	mustAppend(t, l, "[1]")
	f.err = fmt.Errorf("%w: no space left", segment.ErrNotWritten)
	for range 3 {
		r := <-submit(l, "[2]", "[3]")
		if !errors.Is(r.err, ErrNotStored) || errors.Is(r.err, ErrUnknown) || !strings.Contains(r.err.Error(), "no space left") {
			t.Fatalf("error is %v, want ErrNotStored and its cause", r.err)
		}
		if r = <-submit(l); r.err != nil {
			t.Errorf("an empty append: %v", r.err)
		}
	}
	if acked, _ := l.Acked(); acked != 1 || l.Err() != nil {
		t.Errorf("acked is %d, failure %v, want 1 and none", acked, l.Err())
	}
	f.err = nil
	if r := <-submit(l, "[4]"); r.err != nil || r.first != 2 {
		t.Errorf("once there is room: %+v, want index 2", r)
	}
	sameEntries(t, readAll(t, l), []string{"[1]", "[4]"})
}

// TestFailedSync: the batch's outcome is unknown, later appends are refused as not
// stored, reads continue, and Close says why.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	f := &faultyStore{store: l.store}
	swapStore(l, f)
	mustAppend(t, l, "[1]")
	f.err = fmt.Errorf("%w: I/O error", segment.ErrSync)
	r := <-submit(l, "[2]")
	if !errors.Is(r.err, ErrUnknown) || errors.Is(r.err, ErrNotStored) || !errors.Is(r.err, segment.ErrSync) {
		t.Fatalf("error is %v, want ErrUnknown and its cause", r.err)
	}
	select {
	case <-l.Failed():
	default:
		t.Error("Failed is not closed")
	}
	f.err = nil // it must not even be tried
	r = <-submit(l, "[3]")
	if !errors.Is(r.err, ErrNotStored) || !errors.Is(r.err, ErrFailed) || errors.Is(r.err, ErrUnknown) {
		t.Errorf("error is %v, want ErrNotStored and ErrFailed", r.err)
	}
	sameEntries(t, readAll(t, l), []string{"[1]"})
	for range 2 {
		if err := l.Close(); !errors.Is(err, segment.ErrSync) {
			t.Errorf("Close: %v, want why the log has failed", err)
		}
	}
	sameEntries(t, readAll(t, openLog(t, config)), []string{"[1]"})
}
