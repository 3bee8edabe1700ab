package replicated

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFetchPacked: the unpacked size bounds the answer to one request, and a read finds everything, even
// after messages so small that many are requested at once.
func TestFetchPacked(t *testing.T) {
	t.Parallel()
	const small, large, size = 300, 40, 300 << 10
	f := newFake(t)
	var want []string
	for i := range small + large {
		entry := fmt.Sprintf(`{"i":%d}`, i)
		if i >= small {
			entry = fmt.Sprintf(`{"i":%d,"text":"%s"}`, i, strings.Repeat("x", size))
		}
		f.put(message{}, entry)
		want = append(want, entry)
	}
	if stored := len(f.stored[small].data); stored > size/10 {
		t.Fatalf("a message of equal bytes has %d bytes, want few", stored)
	}
	l := f.gateway(time.Minute)
	total := 0
	for _, m := range l.fetchBatch(t.Context(), small+1, small+large, 2*fetchBytes, true) {
		total += m.memory()
	}
	if total < size || total > 2*fetchBytes {
		t.Errorf("one request has brought %d bytes, want at most %d", total, 2*fetchBytes)
	}
	if got := readAll(t, l, 1, uint64(len(want))); !slices.Equal(got, want) {
		t.Error("a read of all entries brought others")
	}
}

// TestStalledReaders: whatever the size of the messages, readers whose peers take nothing hold one message
// each, and the rest of what they hold is within the budget. It is theirs only while they read, and one
// that gets nothing of it finds everything too.
func TestStalledReaders(t *testing.T) {
	const readers, messages, most, slack = 40, 120, 2 << 20, 4 << 20
	random := rand.NewChaCha8([32]byte{})
	for _, size := range []int{1 << 10, 50 << 10, 200 << 10, 900 << 10} {
		t.Run(fmt.Sprintf("%d KiB", size>>10), func(t *testing.T) {
			f := newFake(t)
			text := make([]byte, size/2)
			for i := range messages {
				random.Read(text)
				f.put(message{}, fmt.Sprintf(`{"i":%d,"text":"%x"}`, i, text))
			}
			l := f.gateway(time.Minute)
			l.budget.max = most
			l.counter.mu.Lock()
			l.counter.recent = nil // these are shared
			l.counter.mu.Unlock()
			heap := func() int {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int(m.HeapAlloc)
			}
			used := func() int {
				l.budget.mu.Lock()
				defer l.budget.mu.Unlock()
				return l.budget.used
			}
			before := heap()
			var stalled, reading sync.WaitGroup
			stalled.Add(readers)
			release, stop := make(chan struct{}), errors.New("enough")
			for i := range readers {
				reading.Go(func() {
					const after = 5 // messages until the peer stalls
					left, from := after, uint64(i+1)
					err := l.Read(t.Context(), from, messages-20, func(_ uint64, _ int, entries []byte, _ int64, _ error) error {
						if left--; left > 0 {
							return nil
						}
						stalled.Done()
						<-release
						runtime.KeepAlive(entries)
						return stop
					})
					if !errors.Is(err, stop) {
						t.Errorf("the read from %d has ended: %v", from, err)
					}
				})
			}
			stalled.Wait()
			idle := time.Now().Add(apiTimeout)
			limit := readers*(size+fetchLeast) + most + slack
			grown := heap() - before
			for ; grown > limit && time.Now().Before(idle); grown = heap() - before {
				time.Sleep(10 * time.Millisecond) // answers that are not needed are on their way
			}
			t.Logf("%d readers hold %d KiB, of which the budget counts %d", readers, grown>>10, used()>>10)
			if grown > limit {
				t.Errorf("%d readers hold %d KiB, want at most %d", readers, grown>>10, limit>>10)
			}
			if n := used(); n > most || n == 0 {
				t.Errorf("the budget counts %d bytes, want some, and at most %d", n, most)
			}
			l.budget.mu.Lock()
			l.budget.max = 0
			l.budget.mu.Unlock()
			if got := readAll(t, l, 1, messages); len(got) != messages || slices.Contains(got, "!") {
				t.Errorf("a read that got nothing from the budget found %d entries", len(got))
			}
			close(release)
			reading.Wait()
			if n := used(); n != 0 {
				t.Errorf("the budget counts %d bytes after the last read", n)
			}
		})
	}
}
