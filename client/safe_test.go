package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tcp-log-server/client"
)

// cutting passes connections on to h, and cuts each at a random byte, in either direction.
func cutting(t testing.TB, h *host, down, up int64) (addr string) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
	return proxy(t, func() string { return h.addr }, func() (int64, int64) {
		mu.Lock()
		defer mu.Unlock()
		return rng.Int64N(down), rng.Int64N(up)
	})
}

// all returns the log by index, from 1 on.
func (h *host) all() (entries []string) {
	h.t.Helper()
	entries = []string{""}
	c := dial(h.t, h.addr, client.Options{})
	for e, err := range c.Read(h.t.Context(), 1, 0) {
		if err != nil || e.Index != uint64(len(entries)) {
			h.t.Fatalf("entry %d came after %d, error %v", e.Index, len(entries)-1, err)
		}
		entries = append(entries, string(e.Value))
	}
	return entries
}

// TestOnceCut: over connections that are cut at random bytes, to a server that is stopped and
// restarted meanwhile, entries that several goroutines append with Once are stored once each,
// though two append each entry, and all are told where.
func TestOnceCut(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	addr := cutting(t, h, 4000, 8000)
	const goroutines, each = 8, 200
	index := make(map[string]uint64)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range goroutines {
		c := dial(t, addr, quick)
		wg.Go(func() {
			for n := range each {
				entry := fmt.Sprintf(`{"g":%d,"n":%d}`, g/2, n)
				i, _, err := c.AppendOnce(patient(t), []byte(entry))
				outcome(t, err, nil)
				mu.Lock()
				if was := index[entry]; was != 0 && was != i {
					t.Errorf("%s is at index %d and at %d", entry, was, i)
				}
				index[entry] = i
				mu.Unlock()
				if g == 0 && n%50 == 49 {
					h.stop()
					h.start()
				}
			}
		})
	}
	wg.Wait()
	entries := h.all()
	if len(entries)-1 != len(index) {
		t.Errorf("%d entries are stored, want %d", len(entries)-1, len(index))
	}
	for entry, i := range index {
		if entries[i] != entry {
			t.Errorf("%s is said to be at index %d, where %s is", entry, i, entries[i])
		}
	}
}

// TestOnceCutInOrder: the same for one goroutine that does not wait, whose entries are stored in
// the order of its calls.
func TestOnceCutInOrder(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	options := quick
	options.MaxInFlight = 16 << 10 // so that connections live long enough for answers
	c := dial(t, cutting(t, h, 20_000, 40_000), options)
	const count = 5000
	var wg sync.WaitGroup
	for n := 1; n <= count; n++ {
		wg.Add(1)
		err := c.PutAsync(patient(t), client.Write{Entries: [][]byte{numbered(n)}, Once: true, Receipt: true}, func(r client.Result, err error) {
			outcome(t, err, nil)
			if r.Index != uint64(n) || len(r.Hashes) != 1 || r.Time.IsZero() {
				t.Errorf("entry %d: %+v", n, r)
			}
			wg.Done()
		})
		outcome(t, err, nil)
		if n%1000 == 0 {
			h.stop()
			h.start()
		}
	}
	wg.Wait()
	if entries := h.all(); len(entries)-1 != count {
		t.Errorf("%d entries are stored, want %d", len(entries)-1, count)
	}
}

// TestAppendIfCounts: goroutines that count together, each with the head that it knows, even
// after unknown outcomes, neither repeat nor skip a step.
func TestAppendIfCounts(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	addr := cutting(t, h, 4000, 8000)
	const goroutines, total = 4, 400
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won, unmet, unknown int
	for g := range goroutines {
		c := dial(t, addr, quick)
		wg.Go(func() {
			for head := uint64(0); head < total; {
				index, err := c.AppendIf(patient(t), head, fmt.Appendf(nil, `{"by":%d,"n":%d}`, g, head+1))
				var condition *client.ConditionError
				mu.Lock()
				switch {
				case err == nil && index != head+1:
					t.Errorf("index is %d, want %d", index, head+1)
				case err == nil:
					won++
					head = index
				case errors.As(err, &condition):
					if condition.Want != head || condition.Head <= head {
						t.Errorf("error is %+v after head %d", condition, head)
					}
					unmet++
					head = condition.Head
				case errors.Is(err, client.ErrUnknown):
					unknown++
				default:
					outcome(t, err, client.ErrNotSent)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d won, %d unmet, %d unknown", won, unmet, unknown)
	entries := h.all()
	for i, entry := range entries[1:] {
		var e struct{ N int }
		if json.Unmarshal([]byte(entry), &e); e.N != i+1 {
			t.Errorf("entry %d is %s", i+1, entry)
		}
	}
	if n := len(entries) - 1; n < total || won > n || won+unknown < n || unmet == 0 || unknown == 0 {
		t.Errorf("%d entries are stored: %d won, %d unmet, %d unknown", n, won, unmet, unknown)
	}
}

// TestAppendAll: the entries of one call are stored next to each other, whatever else arrives,
// and with a receipt each has its hash.
func TestAppendAll(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := dial(t, h.addr, client.Options{})
	const goroutines, each = 8, 50
	index := make(map[string]uint64)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for n := range each {
				var entries [][]byte
				for i := range 1 + n%3 {
					entries = append(entries, fmt.Appendf(nil, `{"g":%d,"i":%d,"n":%d}`, g, i, n))
				}
				first, err := c.AppendAll(patient(t), entries...)
				outcome(t, err, nil)
				_, err = c.Append(patient(t), []byte("[]"))
				outcome(t, err, nil)
				mu.Lock()
				for i, entry := range entries {
					index[string(entry)] = first + uint64(i)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	entries := h.all()
	for entry, i := range index {
		if entries[i] != entry {
			t.Errorf("%s is said to be at index %d, where %s is", entry, i, entries[i])
		}
	}
	_, err := c.AppendAll(patient(t), []byte(`{"g":0}`), []byte(`{"g":1,"g":2}`), []byte("[]"))
	outcome(t, err, client.ErrRefused)
	if after := h.all(); !slices.Equal(entries, after) {
		t.Errorf("the log has %d entries after a refusal, want %d", len(after)-1, len(entries)-1)
	}
	r, err := c.Put(patient(t), client.Write{Entries: [][]byte{[]byte("[1]"), []byte("[2]"), []byte("[1]")}, Receipt: true, If: new(uint64(len(entries) - 1))})
	outcome(t, err, nil)
	if r.Index != uint64(len(entries)) || len(r.Hashes) != 3 || r.Hashes[0] != r.Hashes[2] || r.Hashes[0] == r.Hashes[1] || time.Since(r.Time) > patience {
		t.Errorf("result is %+v", r)
	}
}

// TestFollowOptionsCut: with options too, a Follow over connections that are cut at random
// bytes, to a server that is stopped and restarted, yields the expected entries, each once, in
// order.
func TestFollowOptionsCut(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	const count = 1500
	writer := dial(t, h.addr, client.Options{})
	fill(t, writer, 1, count/3)
	r, err := writer.Put(patient(t), client.Write{Entries: [][]byte{numbered(count/3 + 1)}, Receipt: true})
	outcome(t, err, nil)
	addr := cutting(t, h, 3000, 1<<30)
	where := client.Where([]byte(`{"kind":"rare"}`))
	var wg sync.WaitGroup
	for name, c := range map[string]struct {
		from     uint64
		options  []client.ReadOption
		first    uint64 // index, 0 if others may append before the read begins
		rareOnly bool
	}{
		"since":           {options: []client.ReadOption{client.Since(r.Time)}},
		"last":            {options: []client.ReadOption{client.Last(100)}},
		"time and hash":   {from: 2, options: []client.ReadOption{client.WithTime(), client.WithHash()}, first: 2},
		"where":           {from: 1, options: []client.ReadOption{where}, first: 600, rareOnly: true},
		"last with where": {options: []client.ReadOption{client.Last(100), where, client.WithHash()}, rareOnly: true},
	} {
		options := append(c.options, client.Through(count))
		cl := dial(t, addr, quick)
		wg.Go(func() {
			next, step := c.first, uint64(1)
			if c.rareOnly {
				step = 100
			}
			for e, err := range cl.Follow(patient(t), c.from, options...) {
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if next == 0 && e.Index%step == 0 {
					next = e.Index
				}
				if e.Index != next || !slices.Equal(e.Value, entryAt(e.Index)) {
					t.Errorf("%s: entry %d is %s, want entry %d", name, e.Index, e.Value, next)
					return
				}
				next += step
			}
			if next != count+step {
				t.Errorf("%s: ended before entry %d", name, next)
			}
		})
	}
	for n := uint64(count/3 + 2); n <= count; n++ {
		if index, err := writer.Append(patient(t), entryAt(n)); index != n || err != nil {
			t.Errorf("append %d: index %d, error %v", n, index, err)
			break
		}
		if n%500 == 0 {
			h.stop()
			h.start()
		}
	}
	wg.Wait()
}

// entryAt returns the entry that TestFollowOptionsCut appends at an index.
func entryAt(n uint64) []byte {
	if n > 500 && n%100 == 0 {
		return fmt.Appendf(nil, `{"kind":"rare","n":%d}`, n)
	}
	return numbered(int(n))
}
