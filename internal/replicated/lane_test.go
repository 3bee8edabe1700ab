package replicated

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tcp-log-server/appends"
)

// TestSend sends one append through a cluster that answers badly, and then well. It must be stored once,
// and its index reported.
func TestSend(t *testing.T) {
	// Each returns true once it has stopped misbehaving.
	cases := []struct {
		name    string
		publish func(f *fake, n int, msg *nats.Msg) bool
	}{
		{"the acknowledgement is lost", func(f *fake, n int, msg *nats.Msg) bool {
			if n == 0 {
				f.store(msg)
			}
			return n > 0
		}},
		{"the message is lost", func(f *fake, n int, msg *nats.Msg) bool { return n > 0 }},
		{"refused, and stored all the same", func(f *fake, n int, msg *nats.Msg) bool {
			if n == 0 {
				f.store(msg)
				f.refuse(msg, 10071)
			}
			return n > 0
		}},
		{"refused by one that does not lead, and stored by the next", func(f *fake, n int, msg *nats.Msg) bool {
			if n < 3 {
				f.refuse(msg, 10071)
			}
			return n >= 3
		}},
		{"still in process", func(f *fake, n int, msg *nats.Msg) bool {
			if n < 2 {
				f.refuse(msg, 10164)
			}
			return n >= 2
		}},
		{"no leader", func(f *fake, n int, msg *nats.Msg) bool {
			if n == 0 {
				f.refuse(msg, 10008)
			}
			return n > 0
		}},
		{"acknowledged by another stream", func(f *fake, n int, msg *nats.Msg) bool {
			if n == 0 {
				f.answer(msg, `{"stream":"other","seq":7}`)
			}
			return n > 0
		}},
		{"acknowledged without a number", func(f *fake, n int, msg *nats.Msg) bool {
			if n == 0 {
				f.answer(msg, `{"stream":"log"}`)
			}
			return n > 0
		}},
		{"acknowledged with an old number", func(f *fake, n int, msg *nats.Msg) bool {
			if n == 0 {
				f.answer(msg, `{"stream":"log","seq":1}`)
			}
			return n > 0
		}},
		{"an answer that is none", func(f *fake, n int, msg *nats.Msg) bool {
			if n == 0 {
				f.answer(msg, `+OK`)
			}
			return n > 0
		}},
		{"acknowledged late", func(f *fake, n int, msg *nats.Msg) bool {
			if n == 0 {
				go func() {
					eventually(f.t, "it is sent again", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.published > 2 })
					f.acknowledge(msg, f.store(msg))
				}()
			}
			return n > 0
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			l := f.gateway(time.Minute, func(c *Config) { c.attempt = 500 * time.Millisecond })
			if r := put(t, l, always, "1"); r.First != 1 {
				t.Fatalf("the first entry has index %d", r.First)
			}
			f.mu.Lock()
			f.publish = func(n int, msg *nats.Msg) {
				if c.publish(f, n-1, msg) { // one was published before
					f.acknowledge(msg, f.store(msg))
				}
			}
			f.mu.Unlock()
			// Later appends wait for it.
			second, third := start(l, always, "2"), start(l, always, "3")
			if o := await(t, second); o.err != nil || o.First != 2 {
				t.Errorf("%+v, want index 2", o)
			}
			if o := await(t, third); o.err != nil || o.First != 3 {
				t.Errorf("%+v, want index 3", o)
			}
			if got := f.entries(); !slices.Equal(got, []string{"1", "2", "3"}) {
				t.Errorf("the stream has %v", got)
			}
		})
	}
}

// TestGiveUp: an append that no server takes is refused, and later ones are stored once there is a
// leader.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(200*time.Millisecond, func(c *Config) { c.attempt = 10 * time.Second }) // even on a busy machine
	f.lead(false)
	for range 2 {
		if o := await(t, start(l, always, "1")); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: no node of the cluster leads the log") {
			t.Fatalf("%v, want that it is not stored, for want of a leader", o.err)
		}
	}
	f.lead(true)
	if r := put(t, l, always, "2"); r.First != 1 {
		t.Errorf("index %d, want 1", r.First)
	}
	if got := f.entries(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("the stream has %v", got)
	}
}

// TestUnknown: the outcome of an append that was sent is unknown after GiveUp. Meanwhile no appends are
// taken, so none can be stored before it; it is sent again until its outcome is known.
func TestUnknown(t *testing.T) {
	cases := []struct {
		name          string
		stored, quiet bool // the first attempt is stored; it is not answered
	}{
		{"lost, then refused", false, true},
		{"stored, then refused", true, true},
		{"refused", false, false},
		{"stored and refused", true, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			l := f.gateway(1500 * time.Millisecond)
			f.mu.Lock()
			f.publish = func(n int, msg *nats.Msg) {
				if c.stored && n == 0 {
					f.store(msg)
				}
				if n > 0 || !c.quiet { // as a leader that was cut off would
					f.refuse(msg, 10071)
				}
			}
			f.get = func(uint64, bool, []byte) []byte { return nil } // and the tail does not deliver it
			f.mu.Unlock()
			first := start(l, always, "1")
			eventually(t, "it is sent", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.published > 0 })
			second := start(l, always, "2")
			if o := await(t, first); o.err == nil || !strings.HasPrefix(o.err.Error(), "outcome unknown: ") {
				t.Fatalf("the first: %v, want that its outcome is unknown", o.err)
			}
			if o := await(t, second); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: ") {
				t.Fatalf("the second: %v, want that it is not stored", o.err)
			}
			if o := await(t, start(l, always, "3")); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: the outcome of an earlier append is not known") {
				t.Fatalf("the third: %v, want that it is refused because of the first", o.err)
			}
			if l.Refusing() == nil {
				t.Error("Refusing says nothing")
			}
			f.mu.Lock()
			f.publish, f.get = nil, nil
			f.mu.Unlock()
			eventually(t, "appends are taken again", func() bool { return l.Refusing() == nil })
			if r := put(t, l, always, "4"); r.First != 2 {
				t.Errorf("index %d, want 2", r.First)
			}
			if got := f.entries(); !slices.Equal(got, []string{"1", "4"}) {
				t.Errorf("the stream has %v", got)
			}
		})
	}
}

// TestConnectionClosed: an attempt that ended because the connection was closed may have been stored, as
// happens when NATS no longer admits a connection.
func TestConnectionClosed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(400 * time.Millisecond)
	f.mu.Lock()
	f.publish = func(_ int, msg *nats.Msg) {
		f.store(msg)
		l.conn.Close()
	}
	f.mu.Unlock()
	if o := await(t, start(l, always, "1")); o.err == nil || !strings.HasPrefix(o.err.Error(), "outcome unknown: ") {
		t.Errorf("%v, want that its outcome is unknown", o.err)
	}
	if got := f.entries(); !slices.Equal(got, []string{"1"}) {
		t.Errorf("the stream has %v", got)
	}
}

// TestComesByTail: the tail completes an append whose acknowledgement is lost, long before it is sent
// again.
func TestComesByTail(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(30*time.Second, func(c *Config) { c.attempt = 25 * time.Second })
	f.mu.Lock()
	f.publish = func(n int, msg *nats.Msg) {
		if seq := f.store(msg); n > 0 {
			f.acknowledge(msg, seq)
		}
	}
	f.mu.Unlock()
	began := time.Now()
	if r := put(t, l, always, "1"); r.First != 1 {
		t.Errorf("index %d", r.First)
	}
	if r := put(t, l, always, "2"); r.First != 2 {
		t.Errorf("index %d", r.First)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v: it has waited for the acknowledgement", took)
	}
}

// TestUncounted: an acknowledged append cannot be counted while a message before it is missing. After
// GiveUp its caller is told, and appends are refused until the message arrives.
func TestUncounted(t *testing.T) {
	damage := func(data []byte) []byte {
		data = slices.Clone(data)
		data[len(data)-2] ^= 1
		return data
	}
	later := func([]byte) []byte {
		m := message{kind: appends.Once + 1}
		return m.encode()
	}
	for name, change := range map[string]func([]byte) []byte{"damaged": damage, "of a later version": later} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			l := f.gateway(1500 * time.Millisecond)
			f.mu.Lock()
			f.get = func(seq uint64, _ bool, data []byte) []byte {
				if seq == 1 {
					return change(data)
				}
				return data
			}
			f.mu.Unlock()
			f.put(message{}, "1", "2")
			acked := start(l, always, "3")
			if o := await(t, acked); o.err == nil || !strings.HasPrefix(o.err.Error(), "outcome unknown: it is stored") {
				t.Errorf("%v, want that it is stored, nobody knows where", o.err)
			}
			if o := await(t, start(l, always, "4")); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: ") {
				t.Errorf("%v, want that it is refused", o.err)
			}
			if head, _ := l.Acked(); head != 0 {
				t.Errorf("followers may see entries through %d", head)
			}
			f.mu.Lock()
			f.get = nil
			f.mu.Unlock()
			eventually(t, "appends are taken again", func() bool { return l.Refusing() == nil })
			if r := put(t, l, always, "5"); r.First != 4 {
				t.Errorf("index %d, want 4", r.First)
			}
			if got := readAll(t, l, 1, 4); !slices.Equal(got, []string{"1", "2", "3", "5"}) {
				t.Errorf("the log has %v", got)
			}
		})
	}
}

// TestLong: an append that does not fit into a message is refused in its turn, and others are batched
// only as far as they fit.
func TestLong(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(10 * time.Second)
	var got []<-chan outcome
	entry := func(n int) string { return `"` + strings.Repeat("x", n-3) + `"` } // n bytes with its newline
	for range 20 {
		got = append(got, start(l, always, entry(l.MaxAppend()/4)))
	}
	got = append(got, start(l, always, entry(l.MaxAppend()+1)), start(l, always, entry(l.MaxAppend())))
	for i, c := range got {
		o := await(t, c)
		switch {
		case i == 20 && (o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: it has ")):
			t.Errorf("one that is too long: %v", o.err)
		case i != 20 && (o.err != nil || o.First != uint64(min(i, 20)+1)):
			t.Errorf("append %d: %+v", i, o)
		}
	}
}

// TestOrder: completions run in the order of the calls, including those of refused appends.
func TestOrder(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(10 * time.Second)
	const n = 500
	order := make(chan int, n)
	long := make([]byte, l.MaxAppend()+1)
	for i := range n {
		entries, on := []byte("1\n"), always
		switch i % 5 {
		case 1:
			entries = long
		case 2:
			on = appends.Condition{Kind: appends.Expect, Head: 1 << 40}
		case 3:
			on = unique // without AwaitOnce
		}
		l.Submit(entries, 1, on, func(appends.Result, error) { order <- i })
	}
	for i := range n {
		if got := <-order; got != i {
			t.Fatalf("append %d was completed when it was the turn of %d", got, i)
		}
	}
}

// TestSubmitReturns: Submit must not itself complete an append that it refuses.
func TestSubmitReturns(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(time.Second)
	returned, ran := make(chan struct{}), make(chan struct{})
	l.Submit(make([]byte, l.MaxAppend()+1), 1, always, func(appends.Result, error) {
		<-returned // blocks forever if Submit calls it
		close(ran)
	})
	close(returned)
	<-ran
}
