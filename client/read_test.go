package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/server"
)

// quick makes reconnects quick.
var quick = client.Options{MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond}

// collect reads everything and returns it as text, including errors.
func collect(entries iter.Seq2[client.Entry, error]) (got []string) {
	for e, err := range entries {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, fmt.Sprintf("%d %s", e.Index, e.Value))
	}
	return got
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRead(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := dial(t, h.addr, client.Options{})
	ctx := patient(t)
	expect(t, "an empty log", collect(c.Read(ctx, 1, 0)))
	expect(t, "an empty log, bounded", collect(c.Read(ctx, 1, 5)))
	fill(t, c, 1, 5)
	expect(t, "all", collect(c.Read(ctx, 1, 0)), `1 {"n":1}`, `2 {"n":2}`, `3 {"n":3}`, `4 {"n":4}`, `5 {"n":5}`)
	expect(t, "two", collect(c.Read(ctx, 2, 2)), `2 {"n":2}`, `3 {"n":3}`)
	expect(t, "more than there are", collect(c.Read(ctx, 4, 9)), `4 {"n":4}`, `5 {"n":5}`)
	expect(t, "to the head", collect(c.Read(ctx, 4, 2)), `4 {"n":4}`, `5 {"n":5}`)
	expect(t, "beyond the head", collect(c.Read(ctx, 6, 0)))
	expect(t, "beyond the head, bounded", collect(c.Read(ctx, 9, 1)))
	expect(t, "from 0", collect(c.Read(ctx, 0, 1)), "a read begins at index 1 or later, not at 0")
	for range c.Read(ctx, 1, 0) {
		break
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	expect(t, "a context that has ended", collect(c.Read(ended, 1, 1)), "context canceled")
	if head, err := c.Head(ctx); head != 5 || err != nil {
		t.Errorf("the head is %d, error %v, want 5", head, err)
	}
}

// TestReadMuch: entries of all sizes arrive intact, and do not change when later ones
// arrive.
func TestReadMuch(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{})
	const count = 1000
	want := func(n int) string {
		return fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", n*n%7001+n%500*n/100))
	}
	var wg sync.WaitGroup
	for n := 1; n <= count; n++ {
		wg.Add(1)
		if err := c.AppendAsync(patient(t), []byte(want(n)), func(_ uint64, err error) { outcome(t, err, nil); wg.Done() }); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	var kept []client.Entry
	for e, err := range c.Read(patient(t), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, e)
	}
	for i, e := range kept {
		if e.Index != uint64(i+1) || string(e.Value) != want(i+1) {
			t.Fatalf("entry %d is %.100s", e.Index, e.Value)
		}
	}
	if len(kept) != count {
		t.Errorf("%d entries came, want %d", len(kept), count)
	}
}

// TestConnections: Dial's connection serves the first read; appends share a connection,
// and each further read has its own.
func TestConnections(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	var dials atomic.Int64
	c := dial(t, h.addr, client.Options{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}})
	want := func(n int64, what string) {
		t.Helper()
		if got := dials.Load(); got != n {
			t.Errorf("%s: %d connections, want %d", what, got, n)
		}
	}
	ctx := patient(t)
	expect(t, "an empty log", collect(c.Read(ctx, 1, 0)))
	want(1, "the first read")
	fill(t, c, 1, 3)
	want(2, "appends after it")
	for n := uint64(1); n <= 3; n++ {
		expect(t, "one", collect(c.Read(ctx, n, 1)), fmt.Sprintf(`%d {"n":%d}`, n, n))
	}
	if _, err := c.Head(ctx); err != nil {
		t.Error(err)
	}
	want(6, "bounded reads and a head")
	h.stop()
	h.start()
	expect(t, "after a restart", collect(c.Read(ctx, 3, 1)), `3 {"n":3}`)
	want(7, "after a restart")
}

// TestReadDamaged: an entry that cannot be read is reported in its place, and the read
// continues.
func TestReadDamaged(t *testing.T) {
	noLeaks(t)
	addr := peer(t, func(p *conversation) {
		if p.want(`{"from":4,"read":3}`) {
			p.say(`{"index":4,"entry":{}}`, `{"index":5,"error":"checksum"}`, `{"index":6,"entry":[]}`, `{"head":9}`)
			p.rest()
		}
	})
	c := dial(t, addr, client.Options{})
	var bad *client.EntryError
	for e, err := range c.Read(patient(t), 4, 3) {
		if (e.Index == 5) != (err != nil) || err != nil && (!errors.As(err, &bad) || bad.Index != 5 || bad.Text != "checksum") {
			t.Errorf("entry %d comes with error %v", e.Index, err)
		}
	}
	if bad == nil {
		t.Error("no EntryError came")
	}
}

// TestReadAnswers: what a server may send instead of the requested lines.
func TestReadAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		says string
		got  []string
		err  error
	}{
		{"other form", `{ "entry": {"b" : 1}, "new":true,"index":1}` + "\n" + `{"current":true,"x":{}}`, []string{`1 {"b" : 1}`}, nil},
		{"more after the entry", `{"index":1,"entry":{"a":1},"new":{"x":2}}` + "\n" + `{"index":2,"entry":{"a":2},"new":{"x":2}}` + "\n" + `{"current":true}`, []string{`1 {"a":1}`, `2 {"a":2}`}, nil},
		{"other index", `{"index":2,"entry":{}}`, nil, client.ErrProtocol},
		{"gap", `{"index":1,"entry":{}}` + "\n" + `{"index":3,"entry":{}}`, []string{"1 {}"}, client.ErrProtocol},
		{"again", `{"index":1,"entry":{}}` + "\n" + `{"index":1,"entry":{}}`, []string{"1 {}"}, client.ErrProtocol},
		{"no JSON", `hello`, nil, client.ErrProtocol},
		{"no answer", `{"id":"x","index":1}`, nil, client.ErrProtocol},
		{"empty", `{}`, nil, client.ErrProtocol},
		{"unauthorized", `{"error":"unauthorized"}`, nil, client.ErrUnauthorized},
		{"fault", `{"error":"not allowed to read"}`, nil, client.ErrServer},
		{"end", ``, nil, client.ErrLost},
		{"half a line", `{"index":1,"entry":{}}` + "\n" + `{"index":2,"entry":{`, []string{"1 {}"}, client.ErrLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			script := func(p *conversation) {
				p.line()
				if tt.says != "" {
					p.nc.Write([]byte(tt.says))
					if !strings.HasSuffix(tt.says, "{") {
						p.nc.Write([]byte("\n"))
					}
				}
				p.nc.(*net.TCPConn).CloseWrite()
				p.rest()
			}
			// Dial's connection may have ended long ago, so there is a second.
			c := dial(t, peer(t, script, script), client.Options{})
			var got []string
			var last error
			for e, err := range c.Read(patient(t), 1, 0) {
				if last != nil {
					t.Errorf("%v comes after the error %v", e, last)
				}
				if last = err; err == nil {
					got = append(got, fmt.Sprintf("%d %s", e.Index, e.Value))
				}
			}
			expect(t, "entries", got, tt.got...)
			if !errors.Is(last, tt.err) {
				t.Errorf("error is %v, want %v", last, tt.err)
			}
		})
	}
}

func TestHead(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := dial(t, h.addr, client.Options{})
	for want := range 3 {
		if head, err := c.Head(patient(t)); head != uint64(want) || err != nil {
			t.Errorf("the head is %d, error %v, want %d", head, err, want)
		}
		fill(t, c, want+1, 1)
	}
}

func TestStat(t *testing.T) {
	noLeaks(t)
	h := serveWith(t, server.Config{Stat: func() any { return map[string]int{"head": 3} }})
	if stat, err := dial(t, h.addr, client.Options{}).Stat(patient(t)); string(stat) != `{"head":3}` || err != nil {
		t.Errorf("a server says %s, error %v", stat, err)
	}
	addr := peer(t, func(p *conversation) {
		if p.want(`{"stat":true}`) {
			p.say(`{"stat":{"head":7}}`)
		}
	}, func(p *conversation) {
		if p.want(`{"stat":true}`) {
			p.say(`{"error":"invalid message"}`)
			p.rest()
		}
	})
	c := dial(t, addr, client.Options{})
	if stat, err := c.Stat(patient(t)); string(stat) != `{"head":7}` || err != nil || !json.Valid(stat) {
		t.Errorf("stat is %s, error %v", stat, err)
	}
	if _, err := c.Stat(patient(t)); !errors.Is(err, client.ErrServer) || !strings.Contains(err.Error(), "does not know") {
		t.Errorf("an earlier server: %v", err)
	}
}

// TestValuesAreApart: appending to a value does not overwrite the entries after it.
func TestValuesAreApart(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := dial(t, h.addr, client.Options{})
	const count = 300
	fill(t, c, 1, count)
	n := 0
	for e, err := range c.Read(patient(t), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if longer := append(e.Value, `,"more":1}]`...); !bytes.HasPrefix(longer, e.Value) {
			t.Errorf("appended to %s: %s", e.Value, longer)
		}
		if want := numbered(n); string(e.Value) != string(want) {
			t.Fatalf("entry %d is %s, want %s", n, e.Value, want)
		}
	}
	if n != count {
		t.Errorf("%d entries, want %d", n, count)
	}
}
