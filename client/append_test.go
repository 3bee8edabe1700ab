package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/client"
)

// writeCounter counts the writes to a connection.
type writeCounter struct {
	net.Conn
	writes *atomic.Int64
}

func (w writeCounter) Write(b []byte) (int, error) {
	w.writes.Add(1)
	return w.Conn.Write(b)
}

// TestAppendMany: what many goroutines append is stored once each, at the index
// that each was told, in far fewer writes than entries.
func TestAppendMany(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	var writes atomic.Int64
	c := dial(t, h.addr, client.Options{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return writeCounter{nc, &writes}, err
	}})
	const goroutines, each = 64, 100
	var mu sync.Mutex
	got := make(map[uint64]string)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			last := uint64(0)
			for n := range each {
				entry := fmt.Sprintf(`{"g":%d,"n":%d}`, g, n)
				index, err := c.Append(patient(t), []byte(entry))
				if err != nil || index <= last {
					t.Errorf("entry %s: index %d after %d, error %v", entry, index, last, err)
					return
				}
				last = index
				mu.Lock()
				got[index] = entry
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := writes.Load(); n > goroutines*each/4 {
		t.Errorf("%d appends took %d writes", goroutines*each, n)
	}
	count := 0
	for e, err := range c.Read(patient(t), 1, 0) {
		if err != nil || got[e.Index] != string(e.Value) {
			t.Fatalf("entry %d is %s, error %v; appended was %s", e.Index, e.Value, err, got[e.Index])
		}
		count++
	}
	if count != goroutines*each {
		t.Errorf("there are %d entries, want %d", count, goroutines*each)
	}
}

func TestAppendRefused(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{})
	ctx := patient(t)
	_, err := c.Append(ctx, []byte(`{"x":1,"x":2}`))
	outcome(t, err, client.ErrRefused)
	if want := `not stored: duplicate member "x" at byte 7 of the entry`; err == nil || err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	if index, err := c.Append(ctx, []byte("\n{\r\n\t\"x\":\n1}\n")); index != 1 || err != nil {
		t.Errorf("an entry over several lines gets index %d, error %v", index, err)
	}
}

// TestAppendInvalid: what would make the server end the connection is not sent.
func TestAppendInvalid(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{})
	ctx := patient(t)
	for _, entry := range []string{
		"", " ", "5", `"text"`, "true", "nul", "null null", "{", "{}}", "[1]]", `{"a":1}` + "\n" + `{"b":2}`,
		"[\"\n\"]", "[\"\x00\"]", "\ufeff{}", "{}\x00", `{}}` + "\n" + `{"id":"x","entry":{}`, "[\"\xff\"]",
	} {
		_, err := c.Append(ctx, []byte(entry))
		outcome(t, err, client.ErrNotSent)
		if !errors.Is(err, client.ErrInvalid) {
			t.Errorf("append of %q: %v, want ErrInvalid", entry, err)
		}
		if err := c.AppendAsync(ctx, []byte(entry), func(uint64, error) { t.Errorf("done ran for %q", entry) }); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("async append of %q: %v, want ErrInvalid", entry, err)
		}
	}
	if index, err := c.Append(ctx, []byte("null")); index != 1 || err != nil {
		t.Errorf("the next append has index %d, error %v", index, err)
	}
}

// TestAppendOutcomes: each answer and each failure of the server has its own outcome.
func TestAppendOutcomes(t *testing.T) {
	entry := `{"id":"0","entry":{}}`
	for _, tt := range []struct {
		name   string
		answer []string
		want   error
		also   error
		text   string
	}{
		{"not stored", []string{`{"id":"0","error":"not stored: no space left on device"}`}, client.ErrRefused, nil, "not stored: no space left on device"},
		{"unknown", []string{`{"id":"0","error":"outcome unknown: sync: input/output error"}`}, client.ErrUnknown, nil, "outcome unknown: sync: input/output error"},
		{"of another kind", []string{`{"id":"0","error":"something else"}`}, client.ErrUnknown, nil, "outcome unknown: something else"},
		{"other order", []string{`{ "index": 7, "new": [1], "id": "0" }`}, nil, nil, ""},
		{"closed", nil, client.ErrUnknown, client.ErrLost, "closed by the server"},
		{"unauthorized", []string{`{"error":"unauthorized"}`}, client.ErrRefused, client.ErrUnauthorized, "not stored: unauthorized"},
		{"full", []string{`{"error":"too many connections"}`}, client.ErrRefused, client.ErrServer, "too many connections"},
		{"invalid JSON", []string{`{"error":"invalid JSON"}`}, client.ErrUnknown, client.ErrServer, "invalid JSON"},
		{"other id", []string{`{"id":"1","index":1}`}, client.ErrUnknown, client.ErrProtocol, "id 1"},
		{"no index", []string{`{"id":"0"}`}, client.ErrUnknown, client.ErrProtocol, ""},
		{"index 0", []string{`{"id":"0","index":0}`}, client.ErrUnknown, client.ErrProtocol, ""},
		{"something else", []string{`HTTP/1.1 400 Bad Request`}, client.ErrUnknown, client.ErrProtocol, "HTTP/1.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			addr := peer(t, func(p *conversation) {
				if p.want(entry) {
					if tt.answer != nil {
						p.say(tt.answer...)
						p.rest()
					}
				}
			})
			c := dial(t, addr, client.Options{})
			index, err := c.Append(patient(t), []byte("{}"))
			outcome(t, err, tt.want)
			if tt.also != nil && !errors.Is(err, tt.also) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error is %v, want %v and %q", err, tt.also, tt.text)
			}
			if tt.want == nil && index != 7 {
				t.Errorf("index is %d, want 7", index)
			}
		})
	}
}

// TestTurnedAwayLater: once a server has answered an append, a refusal of the connection
// leaves the outcome of the others unknown.
func TestTurnedAwayLater(t *testing.T) {
	noLeaks(t)
	addr := peer(t, func(p *conversation) {
		if p.want(`{"id":"0","entry":{}}`) {
			p.say(`{"id":"0","index":1}`)
		}
		if p.want(`{"id":"1","entry":{}}`) {
			p.say(`{"error":"unauthorized"}`)
			p.rest()
		}
	})
	c := dial(t, addr, client.Options{})
	_, err := c.Append(patient(t), []byte("{}"))
	outcome(t, err, nil)
	_, err = c.Append(patient(t), []byte("{}"))
	outcome(t, err, client.ErrUnknown)
}

// TestAppendLost: a connection is lost after some of the answers. Appends with an answer
// succeed, the others are unknown and not sent again, and a later append reconnects.
func TestAppendLost(t *testing.T) {
	noLeaks(t)
	const count, answered = 5, 2
	received := make(chan string, 10)
	addr := peer(t,
		func(p *conversation) {
			for n := range count {
				line, _ := p.line()
				received <- line
				if n < answered {
					p.say(fmt.Sprintf(`{"id":"%d","index":%d}`, n, n+1))
				}
			}
		},
		func(p *conversation) {
			if p.want(`{"id":"0","entry":["again"]}`) {
				p.say(`{"id":"0","index":9}`)
				p.rest()
			}
		})
	c := dial(t, addr, client.Options{})
	type result struct {
		index uint64
		err   error
	}
	results := make(chan result, count)
	for n := range count {
		err := c.AppendAsync(patient(t), numbered(n), func(index uint64, err error) { results <- result{index, err} })
		outcome(t, err, nil)
	}
	for n := range count {
		r := <-results
		if n < answered {
			outcome(t, r.err, nil)
			if r.index != uint64(n+1) {
				t.Errorf("append %d has index %d", n, r.index)
			}
		} else {
			outcome(t, r.err, client.ErrUnknown)
		}
	}
	index, err := c.Append(patient(t), []byte(`["again"]`))
	outcome(t, err, nil)
	if index != 9 {
		t.Errorf("index is %d, want 9", index)
	}
	if len(received) != count {
		t.Errorf("the server received %d lines, want %d", len(received), count)
	}
}

// TestAppendNoServer: the error of an append that cannot be sent says so, and why.
func TestAppendNoServer(t *testing.T) {
	noLeaks(t)
	addr := peer(t, func(p *conversation) {}) // one connection, which ends at once
	c := dial(t, addr, client.Options{})
	deadline := time.Now().Add(patience)
	for {
		_, err := c.Append(patient(t), []byte("{}"))
		if errors.Is(err, client.ErrLost) && time.Now().Before(deadline) {
			continue // the end had not been seen
		}
		outcome(t, err, client.ErrNotSent)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("error is %v, want that of the dial", err)
		}
		return
	}
}

// stalled is a peer that reads nothing until told to, then reads everything, and
// answers nothing.
func stalled(t *testing.T) (addr string, take func() (lines []string)) {
	begin, lines := make(chan struct{}), make(chan []string, 1)
	addr = peer(t, func(p *conversation) {
		p.nc.(*net.TCPConn).SetReadBuffer(64 << 10) // otherwise it grows to more than a test wants to send
		<-begin
		b, _ := io.ReadAll(p.r)
		lines <- strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	})
	t.Cleanup(sync.OnceFunc(func() {
		select {
		case <-begin:
		default:
			close(begin)
		}
	}))
	return addr, func() []string { close(begin); return <-lines }
}

// TestAppendStalled: a server takes nothing. Appends whose context ends are not
// sent where they waited in line, unknown where the socket has them; and the
// server never gets one that was said not to be sent.
func TestAppendStalled(t *testing.T) {
	const count = 250
	for name, test := range map[string]struct {
		first int // the size of the first append, which is under way before the others begin
		until func(c *client.Client) bool
	}{
		"in line after one that no socket takes whole": {12 << 20, func(c *client.Client) bool { return c.InLine() == count-1 }},
		"at any moment": {30_000, func(c *client.Client) bool { return c.Written()+c.InLine() > count/2 }},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			addr, take := stalled(t)
			entry := func(n, size int) []byte {
				return fmt.Appendf(nil, `{"n":"<%04d>","pad":"%s"}`, n, strings.Repeat("x", size))
			}
			first := entry(0, test.first)
			c := dial(t, addr, client.Options{MaxInFlight: 64 << 20})
			ctx, cancel := context.WithCancel(patient(t))
			errs := make([]error, count)
			var wg sync.WaitGroup
			begin := func(n int, entry []byte) { wg.Go(func() { _, errs[n] = c.Append(ctx, entry) }) }
			begin(0, first)
			poll(t, "the first to be written", func() bool { return c.Written() == 1 })
			for n := 1; n < count; n++ {
				begin(n, entry(n, 30_000))
			}
			poll(t, "the others to be in line", func() bool { return test.until(c) })
			cancel()
			wg.Wait()
			for _, err := range errs { // those that were not sent release their room
				if errors.Is(err, client.ErrNotSent) {
					outcome(t, c.AppendAsync(patient(t), entry(9999, 30_000), func(uint64, error) {}), nil)
				}
			}
			go c.Close()
			received := make(map[string]bool)
			for _, line := range take() {
				_, line, _ = strings.Cut(line, "<")
				number, _, _ := strings.Cut(line, ">")
				received[number] = true
			}
			unsent := 0
			for n, err := range errs {
				if errors.Is(err, client.ErrNotSent) {
					unsent++
					if received[fmt.Sprintf("%04d", n)] {
						t.Errorf("append %d is said not to be sent, and the server has it", n)
					}
				} else {
					outcome(t, err, client.ErrUnknown)
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("append %d: %v, want the context's error in it", n, err)
				}
			}
			if !errors.Is(errs[0], client.ErrUnknown) {
				t.Errorf("append 0, which was being written: %v, want %v", errs[0], client.ErrUnknown)
			}
			if test.first > 30_000 && unsent != count-1 {
				t.Errorf("%d appends were not sent, want all %d in line", unsent, count-1)
			}
		})
	}
}

// TestAppendUnsentAtLoss: appends queued on a connection that is lost are known
// not to be sent, and every entry that the server stored is among the unknown.
func TestAppendUnsentAtLoss(t *testing.T) {
	noLeaks(t)
	hang, lines := make(chan struct{}), make(chan string, 1)
	addr := peer(t, func(p *conversation) {
		<-hang
		var b strings.Builder
		io.CopyN(&b, p.r, 1_000_000)
		p.reset()
		lines <- b.String()
	})
	c := dial(t, addr, client.Options{MaxInFlight: 256 << 20})
	const count = 250
	pad := strings.Repeat("x", 100_000)
	errs := make(chan error, count)
	for n := range count {
		err := c.AppendAsync(patient(t), fmt.Appendf(nil, `{"n":"<%d>","pad":"%s"}`, n, pad), func(_ uint64, err error) { errs <- err })
		outcome(t, err, nil)
	}
	close(hang)
	got := <-lines
	unsent := 0
	for n := range count {
		err := <-errs
		if !errors.Is(err, client.ErrNotSent) {
			outcome(t, err, client.ErrUnknown)
			if unsent > 0 {
				t.Errorf("append %d is unknown, one before it was not sent", n)
			}
			continue
		}
		unsent++
		if strings.Contains(got, fmt.Sprintf("<%d>", n)) {
			t.Errorf("append %d is said not to be sent, and the server has it", n)
		}
	}
	if unsent == 0 || unsent == count {
		t.Errorf("%d of %d appends were not sent, want some", unsent, count)
	}
}

// TestAppendContextEnded: a context that has ended sends nothing; one that ends
// after sending leaves the outcome unknown.
func TestAppendContextEnded(t *testing.T) {
	noLeaks(t)
	arrived := make(chan struct{})
	addr := peer(t, func(p *conversation) {
		p.want(`{"id":"0","entry":["second"]}`)
		close(arrived)
		p.rest()
	})
	c := dial(t, addr, client.Options{})
	ctx, cancel := context.WithCancelCause(patient(t))
	done := errors.New("had enough")
	ended, end := context.WithCancel(ctx)
	end()
	_, err := c.Append(ended, []byte(`["first"]`))
	outcome(t, err, client.ErrNotSent)
	go func() {
		<-arrived
		cancel(done)
	}()
	_, err = c.Append(ctx, []byte(`["second"]`))
	outcome(t, err, client.ErrUnknown)
	if !errors.Is(err, done) {
		t.Errorf("error is %v, want the context's cause in it", err)
	}
}

// TestAppendBounded: no more is under way than MaxInFlight says.
func TestAppendBounded(t *testing.T) {
	noLeaks(t)
	var received atomic.Int64
	answer := make(chan struct{})
	addr := peer(t, func(p *conversation) {
		arrived := make(chan struct{}, 100)
		go func() {
			for n := 0; ; n++ {
				<-answer
				<-arrived
				p.say(fmt.Sprintf(`{"id":"%d","index":%d}`, n, n+1))
			}
		}()
		for {
			if _, ok := p.line(); !ok {
				return
			}
			received.Add(1)
			arrived <- struct{}{}
		}
	})
	const bound = 10
	c := dial(t, addr, client.Options{MaxInFlight: bound * (256 + 2)})
	for range bound {
		outcome(t, c.AppendAsync(patient(t), []byte("{}"), func(uint64, error) {}), nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := c.AppendAsync(ctx, []byte("{}"), func(uint64, error) {})
	outcome(t, err, client.ErrNotSent)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	answer <- struct{}{}
	outcome(t, c.AppendAsync(patient(t), []byte("{}"), func(uint64, error) {}), nil)
	// One that is larger than the bound goes alone.
	for range bound {
		answer <- struct{}{}
	}
	large := make(chan error, 1)
	outcome(t, c.AppendAsync(patient(t), []byte(`["`+strings.Repeat("x", 5000)+`"]`), func(_ uint64, err error) { large <- err }), nil)
	answer <- struct{}{}
	outcome(t, <-large, nil)
	if n := received.Load(); n != bound+2 {
		t.Errorf("the server received %d appends, want %d", n, bound+2)
	}
}

// TestClose: what is under way ends, what comes later is not sent, and nothing is
// left running.
func TestClose(t *testing.T) {
	noLeaks(t)
	arrived := make(chan struct{})
	addr := peer(t,
		func(p *conversation) { p.line(); close(arrived); p.rest() },
		func(p *conversation) { p.line(); p.say(`{"current":true}`); p.rest() })
	c := dial(t, addr, client.Options{})
	appended, followed := make(chan error), make(chan error)
	go func() {
		_, err := c.Append(patient(t), []byte("{}"))
		appended <- err
	}()
	<-arrived
	go func() {
		for _, err := range c.Follow(patient(t), 1) {
			followed <- err
		}
		close(followed)
	}()
	c.Close()
	err := <-appended
	outcome(t, err, client.ErrUnknown)
	if err := <-followed; !errors.Is(err, client.ErrClosed) {
		t.Errorf("the follower ends with %v, want ErrClosed", err)
	}
	if _, more := <-followed; more {
		t.Error("unexpected data after the error")
	}
	_, err = c.Append(patient(t), []byte("{}"))
	outcome(t, err, client.ErrNotSent)
	if !errors.Is(err, client.ErrClosed) {
		t.Errorf("a later append ends with %v, want ErrClosed", err)
	}
	if _, err := c.Head(patient(t)); !errors.Is(err, client.ErrClosed) {
		t.Errorf("a later Head ends with %v, want ErrClosed", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// TestAppendCut appends through connections that are cut at random bytes, both
// ways, and then reads the log: every append that has an index is there, none that
// was refused or not sent is, and none is there twice.
func TestAppendCut(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	rng := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	var mu sync.Mutex
	addr := proxy(t, func() string { return h.addr }, func() (down, up int64) {
		mu.Lock()
		defer mu.Unlock()
		return rng.Int64N(4000), rng.Int64N(8000)
	})
	c := dial(t, addr, client.Options{})
	const goroutines, each = 8, 300
	fate := make(map[string]error)
	index := make(map[string]uint64)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for n := range each {
				entry := fmt.Sprintf(`{"g":%d,"n":%d}`, g, n)
				i, err := c.Append(patient(t), []byte(entry))
				mu.Lock()
				fate[entry], index[entry] = err, i
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	direct := dial(t, h.addr, client.Options{})
	for e, err := range direct.Read(patient(t), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		entry := string(e.Value)
		switch {
		case seen[entry]:
			t.Errorf("%s is stored twice", entry)
		case fate[entry] == nil && index[entry] != e.Index:
			t.Errorf("%s is at index %d, its append said %d", entry, e.Index, index[entry])
		case fate[entry] != nil:
			outcome(t, fate[entry], client.ErrUnknown)
		}
		seen[entry] = true
	}
	counts := make(map[string]int)
	for entry, err := range fate {
		switch {
		case err == nil && !seen[entry]:
			t.Errorf("%s was acknowledged and is not stored", entry)
		case err == nil:
			counts["stored"]++
		case errors.Is(err, client.ErrUnknown):
			counts["unknown"]++
		default:
			counts["not sent"]++
		}
	}
	t.Log(counts)
	if counts["stored"] == 0 || counts["unknown"] == 0 {
		t.Errorf("fates are %v, want some of each", counts)
	}
}

// TestOrderOverConnections: a later append is sent over another connection only
// when the outcomes of those before are known.
func TestOrderOverConnections(t *testing.T) {
	noLeaks(t)
	var settled atomic.Bool
	addr := peer(t,
		func(p *conversation) { p.line() },
		func(p *conversation) {
			if p.line(); !settled.Load() {
				t.Error("a later append was sent while the completion of an earlier one was still running")
			}
			p.say(`{"id":"0","index":1}`)
			p.rest()
		})
	c := dial(t, addr, client.Options{})
	begun := make(chan struct{})
	err := c.AppendAsync(patient(t), []byte("[1]"), func(_ uint64, err error) {
		outcome(t, err, client.ErrUnknown)
		close(begun)
		time.Sleep(50 * time.Millisecond) // in which the later one would be sent
		settled.Store(true)
	})
	outcome(t, err, nil)
	<-begun
	_, err = c.Append(patient(t), []byte("[2]"))
	outcome(t, err, nil)
}

// TestCloseWhileACallbackWaits: Close releases a callback that appends, and so waits
// for an answer that comes only after it has returned.
func TestCloseWhileACallbackWaits(t *testing.T) {
	for name, test := range map[string]struct {
		options client.Options
		script  func(p *conversation)
		entry   string // what the callback appends
	}{
		"for a connection": {client.Options{}, func(p *conversation) { p.line() }, "[2]"},
		"for room": {client.Options{MaxInFlight: 2 * (256 + 3)}, func(p *conversation) {
			p.line()
			p.line()
			p.say(`{"id":"0","index":1}`)
			p.rest()
		}, `["more than the one that was answered has left"]`},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			c := dial(t, peer(t, test.script), test.options)
			begun, again := make(chan struct{}), make(chan error, 1)
			err := c.AppendAsync(patient(t), []byte("[1]"), func(uint64, error) {
				close(begun)
				again <- c.AppendAsync(patient(t), []byte(test.entry), func(uint64, error) { t.Error("completed") })
			})
			outcome(t, err, nil)
			if test.options.MaxInFlight > 0 {
				c.AppendAsync(patient(t), []byte("[3]"), func(uint64, error) {}) // takes the room of another
			}
			<-begun
			c.Close()
			err = <-again
			outcome(t, err, client.ErrNotSent)
			if !errors.Is(err, client.ErrClosed) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestAppendOneByOne: appends one after the other, small and large, while other goroutines
// begin to append too.
func TestAppendOneByOne(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{})
	want := make(map[uint64]int)
	var mu sync.Mutex
	add := func(n int) {
		index, err := c.Append(patient(t), fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", n%40*1000)))
		outcome(t, err, nil)
		mu.Lock()
		want[index] = n
		mu.Unlock()
	}
	var wg sync.WaitGroup
	for n := range 600 {
		if n%7 == 6 {
			wg.Go(func() { add(1000 + n) })
		}
		add(n)
	}
	wg.Wait()
	count := 0
	for e, err := range c.Read(patient(t), 1, 0) {
		count++
		if err != nil || !strings.HasPrefix(string(e.Value), fmt.Sprintf(`{"n":%d,`, want[e.Index])) {
			t.Fatalf("entry %d is %.20s, error %v, want %d", e.Index, e.Value, err, want[e.Index])
		}
	}
	if count != len(want) {
		t.Errorf("there are %d entries, want %d", count, len(want))
	}
}
