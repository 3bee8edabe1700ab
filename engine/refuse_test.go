package engine

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowStore takes a while for each commit, by the clock of a synctest bubble.
type slowStore struct {
	store
	takes time.Duration
}

func (s *slowStore) commit(batch []byte, count int, now time.Time) error {
	time.Sleep(s.takes)
	return s.store.commit(batch, count, now)
}

// TestRefuse: once the log refuses, the batch under way is still acknowledged and nothing
// after it is. Completions run in the order of the appends, and Close does not wait for
// queued appends.
func TestRefuse(t *testing.T) {
	const (
		takes   = time.Second
		appends = 1000
		asked   = 2500 * time.Millisecond // during the third commit
	)
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(NewConfig(Memory))
		if err != nil {
			t.Fatal(err)
		}
		swapStore(l, &slowStore{l.store, takes})
		entry := fmt.Appendf(nil, "[\"%0*d\"]\n", batchMax/10, 0)
		var mu sync.Mutex
		var order, stored []int
		began := time.Now()
		submit := func(i int) {
			l.Submit(entry, 1, Condition{}, func(r Result, err error) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
				switch {
				case err == nil:
					stored = append(stored, i)
					if r.First != uint64(len(stored)) {
						t.Errorf("append %d is at index %d, want %d", i, r.First, len(stored))
					}
				case !errors.Is(err, ErrNotStored) || !errors.Is(err, ErrClosed) || errors.Is(err, ErrUnknown):
					t.Errorf("append %d: %v, want ErrNotStored and ErrClosed", i, err)
				}
			})
		}
		for i := range appends {
			submit(i)
		}
		time.Sleep(asked)
		l.Refuse()
		l.Refuse()
		submit(appends)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 3*takes {
			t.Errorf("the log is closed after %v, want %v: with the commit that was under way", took, 3*takes)
		}
		for i, n := range order {
			if n != i {
				t.Fatalf("completion %d is that of append %d", i, n)
			}
		}
		if n := len(stored); len(order) != appends+1 || n == 0 || n > appends/2 {
			t.Errorf("%d completions, %d stored; want %d, and a few stored", len(order), n, appends+1)
		}
		for i, n := range stored {
			if n != i {
				t.Fatalf("append %d is stored after one that was refused", n)
			}
		}
		if head, _ := l.Head(t.Context()); head != uint64(len(stored)) {
			t.Errorf("head is %d, want %d", head, len(stored))
		}
	})
}

// TestRefuseSettles: a log on disk that refused before it was closed loses nothing: the
// next start settles the rest.
func TestRefuseSettles(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	l := openLog(t, config)
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprintf("[%d]", i))
	}
	mustAppend(t, l, want...)
	l.Refuse()
	if r := <-submit(l, "{}"); !errors.Is(r.err, ErrNotStored) || !errors.Is(r.err, ErrClosed) {
		t.Errorf("append to a log that refuses: %v", r.err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	sameEntries(t, readAll(t, openLog(t, config)), want)
}

// TestUnreadableAppend: an append whose count does not match its bytes is refused in its
// turn, however large its neighbours are, and they are stored.
func TestUnreadableAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(NewConfig(Memory))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		swapStore(l, &slowStore{l.store, time.Second})
		type result struct {
			first uint64
			err   error
		}
		appends := []struct {
			entries string
			count   int
			first   uint64 // 0: it is refused
		}{
			{"[1]\n", 1, 1}, // the others gather while this one is committed
			{"[\"a large neighbour\"]\n", 1, 2},
			{"[]\n", 5, 0},
			{"{\"n\":1}\n{\"n\":2}\n", 2, 3},
			{"[]\n", 0, 0},
			{"", 0, 5},
			{"[]\n", -1, 0},
			{"[3]\n", 1, 5},
		}
		results := make(chan result, len(appends))
		for _, a := range appends {
			l.Submit([]byte(a.entries), a.count, Condition{}, func(stored Result, err error) { results <- result{stored.First, err} })
		}
		for i, a := range appends {
			r := <-results
			if refused := errors.Is(r.err, ErrNotStored); refused != (a.first == 0) || !refused && r.first != a.first {
				t.Errorf("append %d, of %d entries in %q: %d, %v; want %d", i, a.count, a.entries, r.first, r.err, a.first)
			}
		}
		sameEntries(t, readAll(t, l), []string{`[1]`, `["a large neighbour"]`, `{"n":1}`, `{"n":2}`, `[3]`})
	})
}
