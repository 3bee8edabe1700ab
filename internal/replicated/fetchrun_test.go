package replicated

import (
	"encoding/hex"
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

// heap returns how many bytes are in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestStalledReaders: whatever the size of the messages, readers whose peers take nothing hold what they
// are passing, and the rest of what they hold is within the budget. It is theirs only while they read, and
// one that gets nothing of it finds everything too.
func TestStalledReaders(t *testing.T) {
	const most, slack = 2 << 20, 4 << 20
	random := make([]byte, 2<<10)
	rand.NewChaCha8([32]byte{}).Read(random)
	text := strings.Repeat(hex.EncodeToString(random), 200) // compressed, so that little is on its way
	for _, c := range []struct {
		name          string
		readers       int
		entries, size int // of a message
		stall         int // at which run
	}{
		{"small messages", 40, 1, 1 << 10, 5},
		{"messages as large as what is not counted", 40, 1, 50 << 10, 5},
		{"larger messages", 20, 1, 200 << 10, 5},
		{"large messages", 8, 1, 700 << 10, 3},
		{"the end of a message of many", 20, 20, 35 << 10, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, messages := newFake(t), c.readers+20
			for i := range messages {
				var entries []string
				for k := range c.entries {
					entries = append(entries, fmt.Sprintf(`{"i":%d,"text":"%s"}`, i*c.entries+k, text[k*c.size+i:][:c.size]))
				}
				f.put(message{}, entries...)
			}
			last := uint64(messages * c.entries)
			l := f.gateway(time.Minute)
			l.budget.max = most
			l.counter.mu.Lock()
			l.counter.recent = nil // these are shared
			l.counter.mu.Unlock()
			used := func() int {
				l.budget.mu.Lock()
				defer l.budget.mu.Unlock()
				return l.budget.used
			}
			before := heap()
			var stalled, reading sync.WaitGroup
			stalled.Add(c.readers)
			release, stop := make(chan struct{}), errors.New("enough")
			for i := range c.readers {
				reading.Go(func() {
					left, from := c.stall, uint64((i+1)*c.entries)
					err := l.Read(t.Context(), from, last, func(_ uint64, _ int, entries []byte, _ int64, err error) error {
						if left--; left > 0 {
							return err
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
			limit := c.readers*(c.size+fetchLeast) + most + slack
			grown := heap() - before
			for end := time.Now().Add(apiTimeout); grown > limit && time.Now().Before(end); grown = heap() - before {
				time.Sleep(10 * time.Millisecond) // answers to requests may still be on their way
			}
			if grown > limit {
				t.Errorf("%d readers hold %d KiB, want at most %d", c.readers, grown>>10, limit>>10)
			}
			if n := used(); n > most || n == 0 {
				t.Errorf("the budget counts %d bytes, want some, and at most %d", n, most)
			}
			l.budget.mu.Lock()
			l.budget.max = 0
			l.budget.mu.Unlock()
			if got := readAll(t, l, 1, last); len(got) != int(last) || slices.Contains(got, "!") {
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

// TestRecentSmall: the newest messages take little memory even if each has one small entry.
func TestRecentSmall(t *testing.T) {
	const messages = 200_000
	l := newFake(t).gateway(time.Minute)
	before := heap()
	for seq := range uint64(messages) {
		m := message{count: 1, body: append(make([]byte, headerSize), "1\n"...)[headerSize:]}
		if err := l.pass(seq+1, &m, nil); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > 2*recentBytes {
		t.Errorf("%d messages take %d KiB, want at most %d", messages, grown>>10, 2*recentBytes>>10)
	}
	if got := readAll(t, l, messages-1000, messages); len(got) != 1001 {
		t.Errorf("the newest 1,001 entries are %d", len(got))
	}
}
