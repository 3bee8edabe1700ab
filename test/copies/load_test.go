package copies

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/client"
)

// history is the writers' knowledge of the entries that they have sent. Each entry consists of its
// writer and its number, and is unique.
type history struct {
	mu      sync.Mutex
	acked   map[uint64]string // by index
	unknown map[string]bool   // sent but not answered, or with an unknown outcome
	writers int
	errs    []error
	count   atomic.Int64 // of acked
}

func newHistory() *history {
	return &history{acked: make(map[uint64]string), unknown: make(map[string]bool)}
}

// text returns a writer's nth entry in canonical form.
func text(writer, n int) string {
	return fmt.Sprintf(`{"n":%d,"text":"%s","w":%d}`, n, strings.Repeat("abcd", (n*37+writer)%100), writer)
}

// start starts writers that append to the server, each a new entry pause after the acknowledgement of
// the last. They run until stop is called, or until an entry is not acknowledged: that error is in
// errs.
func (h *history) start(t testing.TB, p *process, writers int, pause time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range writers {
		if i%4 == 0 {
			p.dial(t) // writers share connections
		}
		c := p.dial(t)
		h.mu.Lock()
		writer := h.writers
		h.writers++
		h.mu.Unlock()
		running.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				entry := text(writer, n)
				// The end of the load does not cancel appends: their outcomes would be unknown.
				index, err := c.Append(context.WithoutCancel(ctx), []byte(entry))
				h.note(entry, index, err)
				if err != nil {
					return
				}
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			}
		})
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			running.Wait()
		})
	}
	t.Cleanup(stop)
	return stop
}

// note records the outcome of an append.
func (h *history) note(entry string, index uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.errs, h.unknown[entry] = append(h.errs, err), true
		return
	}
	if other, ok := h.acked[index]; ok {
		h.errs = append(h.errs, fmt.Errorf("index %d was acknowledged for %s and for %s", index, other, entry))
	}
	h.acked[index] = entry
	h.count.Add(1)
}

// failed returns the first error of an append, nil if all were acknowledged.
func (h *history) failed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.errs) == 0 {
		return nil
	}
	return fmt.Errorf("%d appends failed, the first with: %w", len(h.errs), h.errs[0])
}

// forget drops the entries after head: they were lost with the machine.
func (h *history) forget(head uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for index := range h.acked {
		if index > head {
			delete(h.acked, index)
		}
	}
	h.errs = nil
}

// matches checks the entry at index: it is the one that was acknowledged there or, if none was, one
// whose outcome is unknown, once.
func (h *history) matches(index uint64, entry string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	want, ok := h.acked[index]
	switch {
	case ok && entry != want:
		return fmt.Errorf("entry %d is %.100s, want %.100s", index, entry, want)
	case !ok && !h.unknown[entry]:
		return fmt.Errorf("entry %d is %.100s, and nobody sent that, or it is there twice", index, entry)
	case !ok:
		delete(h.unknown, entry)
		h.acked[index] = entry
	}
	return nil
}

// cat checks the entries of a directory or an archive, from the first through head.
func (h *history) cat(t testing.TB, env []string, where string, head uint64) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(run(t, env, "cat", where)))
	lines.Buffer(nil, 1<<20)
	next := uint64(1)
	for ; lines.Scan(); next++ {
		var e struct {
			Index uint64
			Entry json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Index != next {
			t.Fatalf("%s: after entry %d comes %.100s: %v", where, next-1, lines.Bytes(), err)
		}
		if err := h.matches(next, string(e.Entry)); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
	}
	if next != head+1 || lines.Err() != nil {
		t.Errorf("%s ends with entry %d, want %d: %v", where, next-1, head, lines.Err())
	}
}

// read checks the entries from..through as the server sends them. It returns the first error. An
// entry that differs from the acknowledged one fails the test.
func (h *history) read(t testing.TB, c *client.Client, from, through uint64) error {
	t.Helper()
	next := from
	for e, err := range c.Read(t.Context(), from, 0, client.Through(through)) {
		if err != nil {
			return err
		}
		if e.Index != next {
			t.Errorf("entry %d comes where %d should", e.Index, next)
		}
		if err := h.matches(e.Index, string(e.Value)); err != nil {
			t.Error(err)
		}
		next++
	}
	if next != through+1 {
		return fmt.Errorf("the read ended after entry %d, want %d", next-1, through)
	}
	return nil
}
