package replicated

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/appends"
)

// history is the outcomes of appends by any gateway.
type history struct {
	t  *testing.T
	mu sync.Mutex
	// at has the entry reported at each index.
	at      map[uint64]string
	unknown map[string]bool // entries whose outcome is unknown
	refused map[string]bool // entries that are not stored
}

func newHistory(t *testing.T) *history {
	return &history{t: t, at: make(map[uint64]string), unknown: make(map[string]bool), refused: make(map[string]bool)}
}

// add records the outcome of an append.
func (h *history) add(on appends.Condition, entries []string, o outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, e := range entries {
		switch {
		case o.err == nil && on.Kind == appends.Once:
			h.set(o.Once[i].Index, e)
		case o.err == nil:
			h.set(o.First+uint64(i), e)
			if on.Kind == appends.Expect && o.First != on.Head+1 {
				h.t.Errorf("an append that expected the head %d got index %d", on.Head, o.First)
			}
		case on.Kind == appends.Once: // another gateway may have stored it
		case strings.HasPrefix(o.err.Error(), "not stored: "):
			h.refused[e] = true
		case strings.HasPrefix(o.err.Error(), "outcome unknown: "):
			h.unknown[e] = true
		default:
			h.t.Errorf("an append was told %q", o.err)
		}
	}
}

func (h *history) set(index uint64, entry string) {
	if other, ok := h.at[index]; ok && other != entry || index == 0 {
		h.t.Errorf("index %d was said to have %s, and now %s", index, other, entry)
	}
	h.at[index] = entry
}

// check compares the log with the outcomes. Entries with appends.Once begin with "o".
func (h *history) check(log []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := make(map[string]bool)
	for i, e := range log {
		if seen[e] {
			h.t.Errorf("index %d has %s again", i+1, e)
		}
		seen[e] = true
		if h.refused[e] {
			h.t.Errorf("index %d has %s, which was not stored", i+1, e)
		}
		if want, ok := h.at[uint64(i+1)]; ok && want != e {
			h.t.Errorf("index %d has %s, want %s", i+1, e, want)
		} else if !ok && !h.unknown[e] && !strings.HasPrefix(e, `"o`) {
			h.t.Errorf("index %d has %s, which nobody was told", i+1, e)
		}
	}
	for index, e := range h.at {
		if index > uint64(len(log)) {
			h.t.Errorf("index %d is beyond the end, want %s", index, e)
		}
	}
}

// write appends through l until stop is closed: one append at a time, of all kinds.
func (h *history) write(l *Log, writer int, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(uint64(writer), 1))
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		var on appends.Condition
		var entries []string
		for i := range 1 + r.IntN(3) {
			entries = append(entries, fmt.Sprintf(`"%d-%d-%d"`, writer, n, i))
		}
		switch r.IntN(4) {
		case 0:
			on = appends.Condition{Kind: appends.Expect, Head: l.Known()}
		case 1, 2:
			on = unique
			if err := l.AwaitOnce(context.Background()); err != nil {
				return // the log is closed
			}
			for i := range entries {
				entries[i] = fmt.Sprintf(`"o%d"`, n/4*3+r.IntN(12)) // which other writers send too
			}
		}
		o := await(h.t, start(l, on, entries...))
		h.add(on, entries, o)
		if errors.Is(o.err, errClosed) {
			return
		}
	}
}

// follow reads l as followers see it until stop is closed, and then up to through. It returns what it has
// read.
func follow(t *testing.T, l *Log, stop <-chan struct{}, through func() uint64) (log []string) {
	for {
		head, moved := l.Acked()
		if next := uint64(len(log)) + 1; next <= head {
			log = append(log, readAll(t, l, next, head)...)
			continue
		}
		select {
		case <-moved:
			continue
		case <-stop:
		}
		if uint64(len(log)) >= through() {
			return log
		}
		select {
		case <-moved:
		case <-time.After(30 * time.Second):
			t.Errorf("a follower has %d entries, want %d", len(log), through())
			return log
		}
	}
}

// TestGateways has three gateways append at the same time, with conditions and without. All of them must
// have the same log, and it must match the outcomes.
func TestGateways(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart is %v", restart), func(t *testing.T) {
			if restart && testing.Short() {
				t.Skip("a node takes long to stop and start")
			}
			c := newTrio(t)
			testGateways(t, c, restart)
		})
	}
}

func testGateways(t *testing.T, c *trio, restart bool) {
	h := newHistory(t)
	stop, settled := make(chan struct{}), make(chan struct{})
	var writing, following sync.WaitGroup
	var head uint64
	logs := make([][]string, 2)
	gateways := make([]*Log, 3)
	for i := range gateways {
		gateways[i] = c.gateway(t, i, "log")
	}
	write := func(l *Log, from int) {
		for w := range 3 {
			writing.Go(func() { h.write(l, from+w, stop) })
		}
	}
	for i, l := range gateways {
		write(l, 10*i)
		if i < len(logs) {
			following.Go(func() { logs[i] = follow(t, l, settled, func() uint64 { return head }) })
		}
	}
	enough := func(more uint64) {
		from := gateways[0].Known()
		eventually(t, fmt.Sprintf("%d more entries", more), func() bool { return gateways[0].Known() >= from+more })
	}
	enough(300)
	if restart {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		gateways[2].Close(ctx)
		cancel()
		c.Stop(2)
		enough(100)
		c.Start(2)
		c.Ready()
		gateways[2] = c.gateway(t, 2, "log")
		write(gateways[2], 30)
		enough(300)
	}
	close(stop)
	writing.Wait()
	var err error
	if head, err = gateways[2].Head(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(settled)
	following.Wait()
	late := c.gateway(t, 1, "log")
	want := readAll(t, late, 1, head)
	h.check(want)
	for i, l := range gateways {
		eventually(t, "a gateway knows the head", func() bool { return l.Known() >= head })
		if got := readAll(t, l, 1, head); !slices.Equal(got, want) {
			t.Errorf("gateway %d has another log", i)
		}
	}
	for i, got := range logs {
		if !slices.Equal(got[:min(int(head), len(got))], want) {
			t.Errorf("follower %d saw another log", i)
		}
	}
	t.Logf("%d entries, %d told, %d refused, %d unknown", head, len(h.at), len(h.refused), len(h.unknown))
}

// TestReopen: a gateway that is opened in the middle of a log reads only its end.
func TestReopen(t *testing.T) {
	f := newFake(t)
	f.fill(plain(20_000, 2, 3))
	l := f.gateway(time.Second)
	if l.Known() != 40_000 {
		t.Errorf("the head is %d", l.Known())
	}
	f.mu.Lock()
	if f.got > 100 {
		t.Errorf("%d messages were read to open it", f.got)
	}
	f.got = 0
	f.mu.Unlock()
	if got := readAll(t, l, 20_001, 20_002); !slices.Equal(got, []string{"20001", "20002"}) {
		t.Errorf("read %v", got)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.got > 500 {
		t.Errorf("%d messages were read for two entries", f.got)
	}
}
