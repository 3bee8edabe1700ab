package replicated

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tcp-log-server/appends"
)

// strays are messages of gateways that had counted more messages than precede them.
func strays(seq uint64) map[string]message {
	return map[string]message{
		"a place at itself":        {hint: place{seq: seq, index: seq}},
		"a later place":            {hint: place{seq: seq + 100, index: seq + 100}},
		"if":                       {kind: appends.Expect, arg: seq - 1, hint: place{seq: seq, index: seq}},
		"once, looked at too much": {kind: appends.Once, arg: seq, hint: place{seq: seq - 1, index: seq - 1}},
	}
}

// TestStray: a message whose gateway had counted messages that the stream does not have adds nothing to
// the log, for any reader, and the log continues after it.
func TestStray(t *testing.T) {
	for name := range strays(1) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			l := f.gateway(5 * time.Second)
			put(t, l, always, "1", "2")
			f.put(strays(2)[name], "lost")
			eventually(t, "it is passed", func() bool { return l.counted().seq == 2 })
			opened := f.gateway(5 * time.Second) // the stray message is the last one then
			for i, g := range []*Log{l, opened} {
				if r := put(t, g, always, fmt.Sprint(3+i)); r.First != uint64(3+i) {
					t.Errorf("gateway %d: index %d, want %d", i, r.First, 3+i)
				}
			}
			if err := l.AwaitOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			put(t, l, unique, "1", "5")
			for _, g := range []*Log{l, opened, f.gateway(5 * time.Second)} {
				eventually(t, "all is counted", func() bool { return g.Known() == 5 })
				if got := readAll(t, g, 1, 5); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
					t.Errorf("the log has %v", got)
				}
			}
		})
	}
}

// TestStrayHint: no reader starts counting at the place that a stray message names.
func TestStrayHint(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var want []string
	var at place
	for i := range 600 {
		if i%2 == 0 {
			f.put(message{hint: place{seq: uint64(i + 50), index: 1000}}, "lost")
			at.voids.push(true)
		} else {
			want = append(want, fmt.Sprint(i))
			f.put(message{hint: at}, want[len(want)-1])
			at.voids.push(false)
			at.index++
		}
		at.seq++
	}
	l := f.gateway(5 * time.Second)
	for _, from := range []int{1, 77, 150, 299} {
		if got := readAll(t, l, uint64(from), 300); !slices.Equal(got, want[from-1:]) {
			t.Errorf("from entry %d on the log has %v", from, got)
		}
	}
}

// TestPutBack: a gateway whose cluster is reset to an earlier state sends nothing that would be wrong
// there. What was on its way at that moment is void, and is not reported as stored.
func TestPutBack(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(5 * time.Second)
	put(t, l, always, "1")
	f.put(message{}, "2")
	f.put(message{}, "3")
	eventually(t, "it counts the others", func() bool { return l.Known() == 3 })

	f.mu.Lock()
	f.publish = func(n int, msg *nats.Msg) {
		f.mu.Lock()
		f.stored = f.stored[:1]
		f.mu.Unlock()
		f.acknowledge(msg, f.store(msg))
	}
	f.mu.Unlock()
	if o := await(t, start(l, always, "4")); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: the cluster has lost messages that this server has counted") {
		t.Errorf("%v, want that it is not stored", o.err)
	}
	f.mu.Lock()
	sent := f.published
	f.mu.Unlock()
	eventually(t, "it is noticed", func() bool { return l.Refusing() != nil || l.doubted.Load() })
	if o := await(t, start(l, always, "5")); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: ") {
		t.Errorf("%v, want that it is not stored", o.err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.published != sent {
		t.Errorf("%d messages were sent after the stream was put back", f.published-sent)
	}
	if len(f.stored) != 2 {
		t.Errorf("the stream has %d messages, want 2", len(f.stored))
	}
}

// TestOtherLeader: a gateway compares what it counted before it sends under another leader, and sends
// nothing to one that has other messages.
func TestOtherLeader(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(time.Second)
	put(t, l, always, "1")
	f.put(message{}, "2")
	eventually(t, "it counts the second", func() bool { return l.Known() == 2 })
	eventually(t, "it is sure of the second", func() bool { return l.sure.Load().seq == 2 })
	l.doubted.Store(true) // as if there were no leader
	f.mu.Lock()
	f.stored = f.stored[:1]
	f.mu.Unlock()
	f.put(message{}, "another 2")
	f.put(message{}, "3")
	if o := await(t, start(l, always, "4")); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: ") {
		t.Errorf("%v, want that it is not stored", o.err)
	}
	if got := f.entries(); !slices.Equal(got, []string{"1", "another 2", "3"}) {
		t.Errorf("the stream has %v", got)
	}
}

// TestForeign: the log ends where another program has put a message into the stream. Servers report that
// and take no appends. Everything before it can be read, also through a server that is started then.
func TestForeign(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(20 * time.Second)
	put(t, l, always, "1")
	f.mu.Lock()
	f.stored = append(f.stored, stored{"log.lane.x", []byte("of another program")})
	f.mu.Unlock()
	f.put(message{hint: place{seq: 1, index: 1}}, "2")
	eventually(t, "it is noticed", func() bool { return errors.Is(l.Refusing(), ErrStream) })
	for _, g := range []*Log{l, f.gateway(20 * time.Second)} {
		if err := g.Refusing(); err == nil || !strings.Contains(err.Error(), "message 2 of the stream") || !strings.Contains(err.Error(), `"A foreign message"`) {
			t.Errorf("it refuses because of %v", err)
		}
		if o := await(t, start(g, always, "3")); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: ") {
			t.Errorf("%v, want that it is not stored", o.err)
		}
		if got := readAll(t, g, 1, 1); !slices.Equal(got, []string{"1"}) || g.Known() != 1 {
			t.Errorf("the log has %v and a head of %d", got, g.Known())
		}
	}
}
