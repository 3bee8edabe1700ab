package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
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

// TestAppendMany: entries that many goroutines append are stored once each, at the index
// reported to each, in far fewer writes than entries.
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

// TestAppendInvalid: an entry that would make the server end the connection is not sent.
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

// TestAppendContextEnded: an append whose context has already ended sends nothing; if it
// ends after sending, the outcome is unknown.
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

// TestAppendBounded: no more than MaxInFlight is under way.
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
	// An entry larger than the bound goes alone.
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

// TestOrderOverConnections: a later append is sent over another connection only when the
// outcomes of those before are known.
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
		time.Sleep(50 * time.Millisecond) // during this the later one would be sent
		settled.Store(true)
	})
	outcome(t, err, nil)
	<-begun
	_, err = c.Append(patient(t), []byte("[2]"))
	outcome(t, err, nil)
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
