package replicated

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/appends"
)

// stream is a stream of random messages, with what each adds to the log by the plain rules, applied to
// the whole log before it.
type stream struct {
	messages []message
	verdicts []verdict
	places   []place           // places[n] is after n messages
	added    map[string]uint64 // the first message that added an entry
}

// entriesOf splits a body into entries.
func entriesOf(body []byte) []string {
	return strings.SplitAfter(string(body), "\n")[:strings.Count(string(body), "\n")]
}

// add adds a message and decides its verdict.
func (s *stream) add(m message) {
	at := s.places[len(s.places)-1]
	v := verdict{before: at, kind: m.kind, run: run{seq: at.seq + 1, first: at.index + 1, time: max(at.time, m.time)}}
	switch m.kind {
	case appends.Expect:
		v.void = m.arg != at.index
	case appends.Once:
		v.void = v.seq-m.arg > lookback
	}
	if !v.void {
		for _, e := range entriesOf(m.body) {
			held := s.holds(e, v.seq)
			if !held {
				s.added[e] = v.seq
			}
			fresh := m.kind != appends.Once || !held
			v.fresh = append(v.fresh, fresh)
			if fresh {
				v.count++
				v.entries = append(v.entries, e...)
			}
		}
	}
	at.seq, at.index = v.seq, at.index+uint64(v.count)
	if v.count > 0 {
		at.time = v.time
	}
	at.voids.push(v.void)
	s.messages, s.verdicts, s.places = append(s.messages, m), append(s.verdicts, v), append(s.places, at)
}

// holds reports whether one of the first n messages added the entry.
func (s *stream) holds(entry string, n uint64) bool {
	seq, ok := s.added[entry]
	return ok && seq <= n
}

// randomStream returns a stream as made by gateways that know the log up to a few messages before the
// place where their own arrive.
func randomStream(r *rand.Rand, length int) *stream {
	s := &stream{places: make([]place, 1), added: make(map[string]uint64)}
	alphabet := 5 + r.IntN(300)
	kinds := []appends.Kind{appends.Always, appends.Expect, appends.Once}[r.IntN(3):]
	far := 1 + r.IntN(12)
	for n := range length {
		known := uint64(max(0, n-r.IntN(far)))
		if r.IntN(40) == 0 { // it was long on its way
			known = uint64(max(0, n-r.IntN(2*lookback)))
		}
		at := s.places[known]
		m := message{kind: kinds[r.IntN(len(kinds))], hint: at, time: int64(1000 + 10*n + r.IntN(200) - 100)}
		switch m.kind {
		case appends.Expect:
			if m.arg = at.index; r.IntN(4) == 0 {
				m.arg += uint64(r.IntN(4))
			}
		case appends.Once:
			m.arg = uint64(max(0, int(known)-r.IntN(3)))
		}
		for range r.IntN(5) {
			e := fmt.Sprintf("%d\n", r.IntN(alphabet))
			if m.kind == appends.Once && s.holds(e, m.arg) {
				continue // its gateway has found it
			}
			m.body = append(m.body, e...)
			m.count++
		}
		s.add(m)
	}
	return s
}

// fetch implements walker.fetch.
func (s *stream) fetch(_ context.Context, from, through uint64, fn func(seq uint64, m *message) error) error {
	for seq := from; seq <= through; seq++ {
		if err := fn(seq, &s.messages[seq-1]); err != nil {
			return err
		}
	}
	return nil
}

// sameVerdict reports whether a walker's verdict equals the stream's.
func sameVerdict(got, want verdict) bool {
	fresh := slices.Equal(got.fresh, want.fresh) || got.fresh == nil && !slices.Contains(want.fresh, false)
	return got.before == want.before && got.kind == want.kind && got.void == want.void && fresh &&
		got.seq == want.seq && got.first == want.first && got.count == want.count && got.time == want.time &&
		string(got.entries) == string(want.entries)
}

// TestWalkers starts walkers at the places that messages name, with a lot of memory or little. All must
// reach the verdicts that follow from the whole log.
func TestWalkers(t *testing.T) {
	rounds, seed := 60, rand.Uint64()
	if testing.Short() {
		rounds = 10
	}
	var voids, some, backs int
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		s := randomStream(r, 3*lookback)
		for _, most := range []int{0, 200, 2000, windowBytes} {
			for range 4 {
				at := s.places[0]
				if r.IntN(5) > 0 {
					at = s.messages[r.IntN(len(s.messages))].hint
				}
				fetch := func(ctx context.Context, from, through uint64, fn func(uint64, *message) error) error {
					backs++
					if through-from >= lookback {
						t.Errorf("messages %d to %d are fetched, more than %d", from, through, lookback)
					}
					return s.fetch(ctx, from, through, fn)
				}
				w := &walker{at: at, since: at.seq, most: most, fetch: fetch}
				for n := at.seq; n < uint64(len(s.messages)); n++ {
					got, err := w.step(t.Context(), &s.messages[n])
					if want := s.verdicts[n]; err != nil || !sameVerdict(got, want) || w.at != s.places[n+1] {
						t.Fatalf("seed %d, round %d: from message %d on, keeping %d bytes: message %d: %v\ngot  %+v, then %v\nwant %+v, then %v",
							seed, round, at.seq, most, n+1, err, got, w.at, want, s.places[n+1])
					}
					kept := 0
					for i := range w.window {
						kept += len(w.window[i].body) + hashBytes*len(w.window[i].hashes)
					}
					if kept != w.bytes || kept > most {
						t.Fatalf("a walker keeps %d bytes and counts %d, want at most %d", kept, w.bytes, most)
					}
					if got.void {
						voids++
					}
					if slices.Contains(got.fresh, false) {
						some++
					}
				}
			}
		}
	}
	if voids == 0 || some == 0 || backs == 0 {
		t.Errorf("%d messages were void, %d held something that the log had, %d times walkers looked back: want some of each", voids, some, backs)
	}
}

// TestWalkerFails: a walker that cannot look back stays where it is.
func TestWalkerFails(t *testing.T) {
	failed := context.DeadlineExceeded
	at := place{seq: 10, index: 100}
	w := &walker{at: at, since: at.seq, most: windowBytes, fetch: func(context.Context, uint64, uint64, func(uint64, *message) error) error { return failed }}
	m := &message{kind: appends.Once, count: 1, arg: 9, body: []byte("1\n")}
	if _, err := w.step(t.Context(), m); err == nil || w.at != at {
		t.Fatalf("error %v, then at %v, want an error and %v", err, w.at, at)
	}
	w.fetch = func(_ context.Context, from, through uint64, fn func(uint64, *message) error) error {
		return fn(10, &message{count: 1, body: []byte("1\n")})
	}
	if v, err := w.step(t.Context(), m); err != nil || v.count != 0 || w.at.index != 100 {
		t.Fatalf("%+v, %v: want none of its entries to count", v, err)
	}
}

func TestVoids(t *testing.T) {
	var v voids
	var want []bool // the latest first
	r := rand.New(rand.NewPCG(1, 2))
	for range 3 * lookback {
		void := r.IntN(2) == 0
		v.push(void)
		want = slices.Insert(want, 0, void)
		for i := range min(len(want), lookback) {
			if v.has(uint64(i)) != want[i] {
				t.Fatalf("after %d messages: the bit of the one %d before the latest is %v", len(want), i, !want[i])
			}
		}
	}
}
