package replicated

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tcp-log-server/appends"

	"github.com/nats-io/nats.go"
)

// fill stores the messages of s, as if from another gateway.
func (f *fake) fill(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range s.messages {
		f.stored = append(f.stored, stored{"log.lane.0000000000000001", m.encode()})
	}
}

// log returns the entries of s.
func (s *stream) log() (all []string) {
	for _, v := range s.verdicts {
		for _, e := range entriesOf(v.entries) {
			all = append(all, strings.TrimSuffix(e, "\n"))
		}
	}
	return all
}

// plain returns a stream of messages with this many numbered entries each, sent while the lag messages
// before them were on their way.
func plain(messages, entries, lag int) *stream {
	s := &stream{places: make([]place, 1), added: make(map[string]uint64)}
	for n := range messages {
		m := message{hint: s.places[max(0, n-lag)], time: int64(1000 + n)}
		for i := range entries {
			m.body = append(m.body, fmt.Sprintf("%d\n", n*entries+i+1)...)
			m.count++
		}
		s.add(m)
	}
	return s
}

// TestReadRandom reads ranges of random streams through a gateway that was opened at their end.
func TestReadRandom(t *testing.T) {
	rounds, seed := 6, rand.Uint64()
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, uint64(round)))
			f := newFake(t)
			s := randomStream(r, 1500)
			f.fill(s)
			l := f.gateway(time.Second)
			all := s.log()
			if l.Known() != uint64(len(all)) {
				t.Fatalf("seed %d: the head is %d, want %d", seed, l.Known(), len(all))
			}
			if len(all) == 0 {
				return
			}
			for range 20 {
				from := 1 + r.IntN(len(all))
				through := from + r.IntN(min(len(all)-from+1, 1+r.IntN(1000)))
				if got := readAll(t, l, uint64(from), uint64(through)); !slices.Equal(got, all[from-1:through]) {
					t.Fatalf("seed %d: the entries %d to %d are %v, want %v", seed, from, through, got, all[from-1:through])
				}
			}
			for range 20 {
				at := int64(r.IntN(18_000))
				want := uint64(len(all) + 1)
				for _, v := range s.verdicts {
					if v.count > 0 && v.time >= at {
						want = v.first
						break
					}
				}
				if got, err := l.Since(t.Context(), at); err != nil || got != want {
					t.Fatalf("seed %d: since %d: %d, %v, want %d", seed, at, got, err, want)
				}
			}
		})
	}
}

// TestReadDamaged reads a log of which some nodes deliver some messages damaged, or not at all.
func TestReadDamaged(t *testing.T) {
	flip := func(data []byte) []byte {
		data = bytes.Clone(data)
		data[len(data)/2] ^= 4
		return data
	}
	const messages, entries = 400, 5
	cases := []struct {
		name string
		get  func(r *rand.Rand, seq uint64, leader bool, data []byte) []byte
		lost []uint64 // messages
	}{
		{"every second answer is damaged", func(r *rand.Rand, seq uint64, leader bool, data []byte) []byte {
			if r.IntN(2) == 0 && !leader {
				return flip(data)
			}
			return data
		}, nil},
		{"every second answer is missing", func(r *rand.Rand, seq uint64, leader bool, data []byte) []byte {
			if r.IntN(2) == 0 && !leader {
				return nil
			}
			return data
		}, nil},
		{"only the leader has them whole", func(r *rand.Rand, seq uint64, leader bool, data []byte) []byte {
			if !leader && seq >= 200 && seq < 204 {
				return flip(data)
			}
			return data
		}, nil},
		{"all have one damaged", func(r *rand.Rand, seq uint64, leader bool, data []byte) []byte {
			if seq == 150 {
				return flip(data)
			}
			return data
		}, []uint64{150}},
		{"all lack a block", func(r *rand.Rand, seq uint64, leader bool, data []byte) []byte {
			if seq >= 100 && seq < 105 {
				return nil
			}
			return data
		}, []uint64{100, 101, 102, 103, 104}},
		{"all lack the first", func(r *rand.Rand, seq uint64, leader bool, data []byte) []byte {
			if seq == 1 {
				return nil
			}
			return data
		}, []uint64{1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			s := plain(messages, entries, 1)
			f.fill(s)
			r := rand.New(rand.NewPCG(1, 2))
			f.mu.Lock()
			f.get = func(seq uint64, leader bool, data []byte) []byte { return c.get(r, seq, leader, data) }
			f.mu.Unlock()
			l := f.gateway(time.Second)
			want := s.log()
			for _, seq := range c.lost {
				for i := range entries {
					want[(int(seq)-1)*entries+i] = "!"
				}
			}
			got := readAll(t, l, 1, uint64(len(want)))
			if !slices.Equal(got, want) {
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("the entry of index %d is %s, want %s", i+1, got[i], want[i])
					}
				}
			}
			for _, from := range []uint64{1, 490, 500, 501, 745, 746, 751, 1000} {
				if got := readAll(t, l, from, from+20); !slices.Equal(got, want[from-1:from+20]) {
					t.Errorf("the entries from %d on are %v, want %v", from, got, want[from-1:from+20])
				}
			}
			if c.name == "every second answer is damaged" && l.Stats().Damaged == 0 {
				t.Error("Stats counts no damage")
			}
		})
	}
}

// TestReadGap: a gap ends where a message says how many entries there were before it, or at the end of
// the read.
func TestReadGap(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := plain(600, 2, 7)
	f.fill(s)
	f.mu.Lock()
	f.get = func(seq uint64, _ bool, data []byte) []byte {
		if seq == 300 || seq == 302 || seq == 590 {
			return nil
		}
		return data
	}
	f.mu.Unlock()
	// It had counted message 590 before that was lost.
	f.mu.Lock()
	f.stored = f.stored[:580]
	f.mu.Unlock()
	l := f.gateway(time.Second)
	f.mu.Lock()
	get := f.get
	f.get = nil
	f.mu.Unlock()
	f.fill(&stream{messages: s.messages[580:]})
	eventually(t, "all are counted", func() bool { return l.counted().seq == 600 })
	l.counter.forget()
	f.mu.Lock()
	f.get = get
	f.mu.Unlock()
	want := s.log()
	got := readAll(t, l, 1, uint64(len(want)))
	for i := range want {
		seq := i/2 + 1
		// Messages sent before their gateways had counted past the gap cannot say where it ends.
		if near := seq >= 300 && seq < 310 || seq >= 590; got[i] != want[i] && (!near || got[i] != "!") {
			t.Fatalf("the entry of index %d is %s, want %s", i+1, got[i], want[i])
		}
	}
	for _, seq := range []int{300, 302, 590} {
		if got[2*seq-1] != "!" {
			t.Errorf("the entry of index %d can be read: %s", 2*seq, got[2*seq-1])
		}
	}
}

// forget drops the entries kept for reads at the head.
func (c *counter) forget() {
	c.mu.Lock()
	c.recent, c.bytes = nil, 0
	c.mu.Unlock()
}

// TestReadUnavailable: if no node answers, a read ends with an error that says so, and nothing counts as
// lost.
func TestReadUnavailable(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.fill(plain(200, 1, 1))
	l := f.gateway(time.Second)
	f.conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := l.Read(ctx, 1, 5, func(uint64, int, []byte, int64, error) error {
		t.Error("something was passed")
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want that of the context", err)
	}
	if testing.Short() {
		return
	}
	var unavailable *UnavailableError
	if err := l.Read(t.Context(), 1, 5, func(uint64, int, []byte, int64, error) error { return nil }); !errors.As(err, &unavailable) || !strings.HasPrefix(err.Error(), "not available now: ") {
		t.Errorf("%v, want that it is unavailable", err)
	}
	if _, err := l.Head(t.Context()); !errors.As(err, &unavailable) {
		t.Errorf("the head: %v, want that it is unavailable", err)
	}
}

// TestSeekLag finds entries in a stream whose messages name places long before them.
func TestSeekLag(t *testing.T) {
	t.Parallel()
	for _, lag := range []int{1, 50, 400} {
		t.Run(fmt.Sprint(lag), func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			s := plain(5000, 1, lag)
			f.fill(s)
			l := f.gateway(time.Second)
			walked := 0
			for i := range 30 {
				index := uint64(1 + i*161)
				at, err := l.seekIndex(t.Context(), index)
				if err != nil || at.index >= index {
					t.Fatalf("index %d: a place after %d entries, %v", index, at.index, err)
				}
				walked += int(index - at.index)
			}
			if most := 30 * (near + lag + near); walked > most {
				t.Errorf("%d messages have to be walked, want %d or fewer", walked, most)
			}
		})
	}
}

// TestPlaces: only a limited number is kept, in order.
func TestPlaces(t *testing.T) {
	var p places
	for i := range placesMax {
		p.add(place{seq: uint64(4*i) + 1, index: uint64(4*i) + 1})
	}
	for range placesMax / 8 {
		i := rand.IntN(4 * placesMax)
		p.add(place{seq: uint64(i) + 1, index: uint64(i) + 1})
	}
	if n := len(p.all); n > placesMax || n < placesMax/2 {
		t.Errorf("%d are kept, want %d at most", n, placesMax)
	}
	if !slices.IsSortedFunc(p.all, func(a, b place) int { return int(a.seq) - int(b.seq) }) {
		t.Error("they are not in order")
	}
	lo, hi, ok := p.around(func(at place) bool { return at.index < placesMax })
	if !ok || lo.index >= placesMax || hi.index < placesMax {
		t.Errorf("around %d: %v and %v, %v", placesMax, lo, hi, ok)
	}
}

// TestOnceRaces: appends with Once that lose races with another gateway get its places.
func TestOnceRaces(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(20 * time.Second)
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.publish = func(n int, msg *nats.Msg) {
		if n == 0 {
			f.put(message{}, "1", "2")
			f.put(message{kind: appends.Expect, arg: 77}, "4") // void
		}
		f.acknowledge(msg, f.store(msg))
	}
	f.mu.Unlock()
	r := put(t, l, unique, "3", "2", "4", "3")
	want := []appends.Place{{Index: 3}, {Index: 2, Seen: true}, {Index: 4}, {Index: 3, Seen: true}}
	for i := range want {
		if got := r.Once[i]; got.Index != want[i].Index || got.Seen != want[i].Seen {
			t.Errorf("entry %d: %+v, want %+v", i, got, want[i])
		}
	}
	if r.First != 3 {
		t.Errorf("the first is %d, want 3", r.First)
	}
	r = put(t, l, unique, "2", "1")
	if r.First != 5 || r.Once[0].Index != 2 || r.Once[1].Index != 1 || !r.Once[0].Seen {
		t.Errorf("%+v, want that both are there, and 5 next", r)
	}
	if got := f.entries(); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("the log has %v", got)
	}
}

// TestOnceStale: a message with Once that too many others precede is sent again.
func TestOnceStale(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(20 * time.Second)
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.publish = func(n int, msg *nats.Msg) {
		if n < 2 {
			for i := range lookback + 1 {
				f.put(message{}, fmt.Sprint(n*1000+i))
			}
		}
		f.acknowledge(msg, f.store(msg))
	}
	f.mu.Unlock()
	first, second := start(l, unique, "7", "a"), start(l, always, "b")
	o := await(t, first)
	if o.err != nil || o.Once[0] != (appends.Place{Index: 8, Seen: true, Time: o.Once[0].Time}) || o.Once[1].Index != 2*(lookback+1)+1 || o.Once[1].Seen {
		t.Errorf("%+v, want indices 8 and %d", o, 2*(lookback+1)+1)
	}
	if o := await(t, second); o.err != nil || o.First != 2*(lookback+1)+2 {
		t.Errorf("what came after it: %+v, want index %d", o, 2*(lookback+1)+2)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.published != 4 {
		t.Errorf("%d messages were sent, want 4", f.published)
	}
}
