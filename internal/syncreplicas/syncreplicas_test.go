package syncreplicas

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tcp-log-server/appends"
)

// source is a log below, in memory: it keeps only counts of entries, and completes an append when
// the test says so.
type source struct {
	Source // methods that are not called

	mu      sync.Mutex
	head    uint64
	moved   chan struct{}
	waiting []func()
	held    bool
	err     error // of appends
}

func newSource() *source { return &source{moved: make(chan struct{}), held: true} }

func (s *source) Append(_ []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.err
	finish := func() {
		if err != nil {
			done(appends.Result{}, err)
			return
		}
		stored := appends.Result{First: s.head + 1, Time: 1}
		if on.Kind == appends.Once { // the first is new, and the others were seen
			for i := range count {
				stored.Once = append(stored.Once, appends.Place{Index: s.head + 1 - min(s.head, uint64(i)), Seen: i > 0})
			}
			count = min(count, 1)
		}
		s.head += uint64(count)
		done(stored, nil)
		close(s.moved)
		s.moved = make(chan struct{})
	}
	if !s.held {
		finish()
	} else {
		s.waiting = append(s.waiting, finish)
	}
}

func (s *source) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	s.Append(entries, count, on, done)
}

func (s *source) Acked() (uint64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head, s.moved
}

// finish completes up to n waiting appends.
func (s *source) finish(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.waiting))
	for _, finish := range s.waiting[:n] {
		finish()
	}
	s.waiting = s.waiting[n:]
}

// told is what a completion received.
type told struct {
	number int
	last   uint64
	err    string
}

// modelled is an append that the log below has finished.
type modelled struct {
	told
	due time.Time
}

// model models a Log in the simplest way.
type model struct {
	need  int
	queue []modelled
	said  map[string][]*uint64 // what the connections have reported, by name
	head  uint64
	told  []told
}

func (m *model) has(index uint64) (n int) {
	for _, conns := range m.said {
		if slices.ContainsFunc(conns, func(said *uint64) bool { return *said >= index }) {
			n++
		}
	}
	return n
}

// settle completes the appends whose outcome is settled.
func (m *model) settle() {
	for len(m.queue) > 0 {
		h := m.queue[0]
		if has := m.has(h.last); h.last > 0 && has < m.need {
			if time.Now().Before(h.due) {
				return
			}
			h.err = fmt.Sprintf("outcome unknown: entries through index %d are on this server's disk, but only %d of %d replicas had them after 10s", h.last, has, m.need)
		}
		m.head = max(m.head, h.last)
		m.told = append(m.told, h.told)
		m.queue = m.queue[1:]
	}
}

// TestModel: whatever happens in whatever order, completions run in the order of the appends, each
// once enough replicas have its entries or its time is over, and readers see entries then and no
// sooner.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { testModel(t, rand.New(rand.NewPCG(seed, 1))) })
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func testModel(t *testing.T, random *rand.Rand) {
	s := newSource()
	m := &model{need: 1 + random.IntN(3), said: make(map[string][]*uint64)}
	l := New(s, m.need, Timeout)
	var got []told
	type connection struct {
		name    string
		said    *uint64
		durable func(uint64)
		leave   func()
	}
	var conns []connection
	number := 0
	for range 150 {
		switch random.IntN(8) {
		case 0, 1: // an append
			n, count := number, random.IntN(4)
			number++
			s.err = nil
			on := appends.Condition{}
			switch {
			case random.IntN(6) == 0:
				s.err = errors.New("not stored: no space left on device")
			case count > 0 && random.IntN(4) == 0:
				on.Kind = appends.Once
			}
			l.Append(nil, count, on, func(r appends.Result, err error) {
				x := told{number: n}
				if err != nil {
					x.err = err.Error()
				}
				if _, unknown := errors.AsType[*UnknownError](err); unknown && (r.First > 0 || len(r.Once) > 0) {
					t.Errorf("append %d is unknown, but has places, which would acknowledge it: %+v", n, r)
				}
				got = append(got, x)
				if head, _ := l.Head(t.Context()); err == nil && count > 0 && head < r.First {
					t.Errorf("append %d is done at %d, beyond the head %d", n, r.First, head)
				}
			})
			wrapped := s.waiting[len(s.waiting)-1]
			err := s.err
			s.waiting[len(s.waiting)-1] = func() {
				head := s.head
				wrapped()
				x := modelled{told: told{number: n}, due: time.Now().Add(Timeout)}
				if err != nil {
					x.err = err.Error()
				} else if count > 0 {
					x.last = max(s.head, head)
				}
				m.queue = append(m.queue, x)
			}
		case 2, 3:
			s.finish(1 + random.IntN(5))
		case 4: // a connection of a replica
			c := connection{name: string(rune('a' + random.IntN(4))), said: new(uint64)}
			c.durable, c.leave = l.Join(c.name)
			conns = append(conns, c)
			m.said[c.name] = append(m.said[c.name], c.said)
		case 5, 6: // its report
			if len(conns) > 0 {
				c := conns[random.IntN(len(conns))]
				if head, _ := s.Acked(); head > *c.said {
					*c.said += 1 + random.Uint64N(head-*c.said)
					c.durable(*c.said)
				}
			}
		case 7:
			if random.IntN(3) == 0 && len(conns) > 0 {
				i := random.IntN(len(conns))
				c := conns[i]
				c.leave()
				conns = slices.Delete(conns, i, i+1)
				m.said[c.name] = slices.DeleteFunc(m.said[c.name], func(said *uint64) bool { return said == c.said })
			} else {
				time.Sleep(time.Duration(random.IntN(6)) * time.Second)
			}
		}
		synctest.Wait()
		m.settle()
		for i := range m.told {
			m.told[i].last = 0
		}
		if !slices.Equal(got, m.told) {
			t.Fatalf("completions were told\n%+v\nwant\n%+v", got, m.told)
		}
		head, _ := l.Head(t.Context())
		acked, moved := l.Acked()
		if head != m.head || acked != m.head {
			t.Fatalf("the head is %d, and %d for followers, want %d", head, acked, m.head)
		}
		select {
		case <-moved:
			t.Fatal("the head is said to have moved, but has not")
		default:
		}
		if waiting := l.Stats().Waiting; waiting != len(m.queue) {
			t.Fatalf("%d appends wait, want %d", waiting, len(m.queue))
		}
	}
	s.finish(number)
	l.Refuse()
	l.Close()
	if len(got) != number || !slices.IsSortedFunc(got, func(a, b told) int { return a.number - b.number }) {
		t.Fatalf("%d completions have run, want %d in order: %+v", len(got), number, got)
	}
}

// TestTogether runs appends, replicas and readers on separate goroutines. Nobody sees an entry
// before its completion, and completions come in order.
func TestTogether(t *testing.T) {
	s := newSource()
	s.held = false
	l := New(s, 2, Timeout)
	const total = 2000
	ctx, cancel := context.WithCancel(context.Background())
	var replicas sync.WaitGroup
	for i := range 3 {
		replicas.Go(func() {
			durable, leave := l.Join(fmt.Sprint(i))
			for n := 0; ctx.Err() == nil; n++ {
				head, moved := l.Local()
				durable(head)
				if n%50 == 49 {
					leave()
					durable, leave = l.Join(fmt.Sprint(i))
					durable(head)
				}
				select {
				case <-moved:
				case <-ctx.Done():
				}
			}
			leave()
		})
	}
	var order []uint64
	last := make(chan struct{})
	for range total {
		l.Append(nil, 1, appends.Condition{}, func(r appends.Result, err error) {
			if err != nil {
				t.Error(err)
			}
			if acked, _ := l.Acked(); acked >= r.First {
				t.Errorf("followers saw %d before the completion of %d", acked, r.First)
			}
			if order = append(order, r.First); len(order) == total {
				close(last)
			}
		})
	}
	<-last
	if !slices.IsSorted(order) {
		t.Errorf("completions came in the order %v", order)
	}
	for acked, moved := l.Acked(); acked < total; acked, moved = l.Acked() {
		<-moved
	}
	cancel()
	replicas.Wait()
	l.Close()
}

// TestRefuse: a server that stops does not wait for replicas, and says which outcomes it does not
// know.
func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		l := New(s, 1, Timeout)
		var got []string
		for range 2 {
			l.Append(nil, 1, appends.Condition{}, func(_ appends.Result, err error) { got = append(got, err.Error()) })
		}
		s.finish(1)
		synctest.Wait()
		if len(got) > 0 {
			t.Fatalf("told %q without a replica", got)
		}
		if err := l.Missing(); err == nil || err.Error() != "SYNC_REPLICAS is 1, but 0 replicas are connected: appends wait, and after 10s their outcome is unknown" {
			t.Errorf("what is missing is %v", err)
		}
		began := time.Now()
		l.Refuse()
		s.finish(1)
		l.Close()
		want := []string{"outcome unknown: entries through index 1 are on this server's disk, but only 0 of 1 replicas had them when the server was stopped",
			"outcome unknown: entries through index 2 are on this server's disk, but only 0 of 1 replicas had them when the server was stopped"}
		if !slices.Equal(got, want) || time.Since(began) > 0 {
			t.Errorf("after %v told\n%q\nwant\n%q", time.Since(began), got, want)
		}
	})
}

// TestMissing: a replica counts, by its name, once it has reported its progress.
func TestMissing(t *testing.T) {
	l := New(newSource(), 2, Timeout)
	defer l.Close()
	durable, leave := l.Join("a")
	twin, leaveTwin := l.Join("a")
	durable(0)
	twin(0)
	if l.Missing() == nil {
		t.Error("one replica with two connections is enough")
	}
	other, _ := l.Join("b")
	if l.Missing() == nil {
		t.Error("a replica that has said nothing is enough")
	}
	other(0)
	if err := l.Missing(); err != nil {
		t.Error(err)
	}
	leave()
	if err := l.Missing(); err != nil {
		t.Errorf("one of two connections of a replica ended: %v", err)
	}
	leaveTwin()
	if l.Missing() == nil {
		t.Error("a replica that is gone is enough")
	}
}

// TestQueue: appends leave in order, and the queue keeps nothing.
func TestQueue(t *testing.T) {
	var q queue
	random := rand.New(rand.NewPCG(1, 2))
	pushed, popped := uint64(0), uint64(0)
	for range 100_000 {
		if random.IntN(2) == 0 {
			pushed++
			q.push(held{last: pushed})
		} else if q.len() > 0 {
			popped++
			if last := q.first().last; last != popped {
				t.Fatalf("got %d, want %d", last, popped)
			}
			q.pop()
		}
		if q.len() != int(pushed-popped) || len(q.all) > 2*q.len()+1 {
			t.Fatalf("the queue has %d in %d places, want %d", q.len(), len(q.all), pushed-popped)
		}
	}
}
