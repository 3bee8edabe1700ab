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
	"syscall"
	"testing"
	"time"

	"tcp-log-server/client"
)

// TestTurnedAwayLater: once a server has answered an append, if it then refuses the
// connection, the outcome of the others is unknown.
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
			continue // the end had not been noticed
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
		p.nc.(*net.TCPConn).SetReadBuffer(64 << 10) // otherwise it grows beyond what a test wants to send
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

// TestAppendStalled: a server takes nothing. Appends whose context ends are not sent if
// they were still queued, unknown if the socket has them; and the server never gets one
// that was reported as not sent.
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

// TestAppendCut appends through connections that are cut at random bytes, both ways, and
// then reads the log: every append that has an index is there, none that was refused or
// not sent is, and none is there twice.
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
