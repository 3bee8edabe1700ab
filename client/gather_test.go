package client_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/client"
)

// answer answers the next count appends at once.
func (p *conversation) answer(from, count int) {
	var replies []string
	for n := from; n < from+count; n++ {
		p.line()
		replies = append(replies, fmt.Sprintf(`{"id":"%d","index":%d}`, n, n+1))
	}
	p.say(replies...)
}

// TestGatherCallbacks: the appends of callbacks of answers that arrived together go out
// as one write, by the goroutine that runs them.
func TestGatherCallbacks(t *testing.T) {
	noLeaks(t)
	if !client.CanLead {
		t.Skip("here the writing goroutine writes everything")
	}
	client.SetGatherMax(t, patience)
	for _, k := range []int{1, 2, 50} {
		const rounds = 20
		begin := make(chan struct{})
		c := dial(t, peer(t, func(p *conversation) {
			for round := range rounds {
				if round == 0 {
					<-begin
				}
				p.answer(round*k, k)
			}
			p.rest()
		}), client.Options{})
		var writes atomic.Int64
		var all sync.WaitGroup
		all.Add(k * rounds)
		var appends func(round int)
		appends = func(round int) {
			err := c.AppendAsync(context.Background(), numbered(round), func(_ uint64, err error) {
				outcome(t, err, nil)
				if round+1 < rounds {
					appends(round + 1)
				}
				all.Done()
			})
			if err != nil {
				t.Error(err)
			}
		}
		for range k {
			appends(0)
		}
		poll(t, "the writing goroutine", func() bool { return c.Written() == k && c.Idle() })
		c.BeforeDirectWrite(func() { writes.Add(1) })
		close(begin)
		all.Wait()
		if got := writes.Load(); got != rounds-1 {
			t.Errorf("%d appends each: %d rounds took %d writes beside the first", k, rounds, got)
		}
	}
}

// TestGatherWaiters: of several goroutines that were answered together some append again,
// and do not wait for those that do not.
func TestGatherWaiters(t *testing.T) {
	noLeaks(t)
	const k = 12
	for again := 0; again <= k; again += 3 {
		begin := make(chan struct{})
		c := dial(t, peer(t, func(p *conversation) {
			<-begin
			p.answer(0, k)
			p.answer(k, again)
			p.rest()
		}), client.Options{})
		var all sync.WaitGroup
		for g := range k {
			all.Go(func() {
				_, err := c.Append(patient(t), numbered(0))
				outcome(t, err, nil)
				if g < again {
					_, err := c.Append(patient(t), numbered(1))
					outcome(t, err, nil)
				}
			})
		}
		poll(t, "the writing goroutine", func() bool { return c.Written() == k && c.Idle() })
		close(begin)
		all.Wait()
	}
}

// TestGatherSlowCallback: a slow callback delays no append of other goroutines.
func TestGatherSlowCallback(t *testing.T) {
	noLeaks(t)
	const k, slow = 3, time.Millisecond
	client.SetGatherMax(t, slow)
	for _, waits := range []bool{true, false} {
		begin, arrived := make(chan struct{}), make(chan struct{})
		c := dial(t, peer(t, func(p *conversation) {
			<-begin
			p.answer(0, k)
			p.want(`{"id":"3","entry":[1]}`)
			close(arrived)
			p.say(`{"id":"3","index":4}`)
			p.rest()
		}), client.Options{})
		var all sync.WaitGroup
		all.Add(k)
		for n := range k {
			err := c.AppendAsync(context.Background(), []byte("[0]"), func(_ uint64, err error) {
				defer all.Done()
				outcome(t, err, nil)
				switch {
				case n == 0 && waits: // another goroutine's append, while this one is running
					all.Go(func() {
						_, err := c.Append(patient(t), []byte("[1]"))
						outcome(t, err, nil)
					})
				case n == 0: // one that does not wait, before a slow one
					all.Add(1)
					c.AppendAsync(context.Background(), []byte("[1]"), func(_ uint64, err error) { outcome(t, err, nil); all.Done() })
					for begun := time.Now(); time.Since(begun) < 2*slow; {
					}
					return
				case n == 2 || waits:
					return
				}
				select {
				case <-arrived:
				case <-time.After(patience):
					t.Errorf("waits %v: an append was not sent while a callback ran", waits)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		poll(t, "the writing goroutine", func() bool { return c.Written() == k && c.Idle() })
		close(begin)
		all.Wait()
	}
}

// TestGatherMuch: bytes that the connection does not take at once are still written, in
// order.
func TestGatherMuch(t *testing.T) {
	noLeaks(t)
	const k, size = 24, 600 << 10
	client.SetGatherMax(t, patience) // so that it goes out as one write
	c := dial(t, serve(t).addr, client.Options{MaxInFlight: 64 << 20})
	var all sync.WaitGroup
	all.Add(2 * k)
	for n := range k {
		err := c.AppendAsync(context.Background(), []byte("[0]"), func(_ uint64, err error) {
			outcome(t, err, nil)
			entry := fmt.Appendf(nil, `["%d","%s"]`, n, bytes.Repeat([]byte{'x'}, size))
			err = c.AppendAsync(context.Background(), entry, func(index uint64, err error) {
				outcome(t, err, nil)
				all.Done()
			})
			if err != nil {
				t.Error(err)
			}
			all.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	n := 0
	for e, err := range c.Read(patient(t), k+1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Appendf(nil, `["%d"`, n); !bytes.HasPrefix(e.Value, want) || len(e.Value) < size {
			t.Fatalf("entry %d is %.20s of %d bytes, want %s and more than %d", e.Index, e.Value, len(e.Value), want, size)
		}
		n++
	}
	if n != k {
		t.Errorf("%d entries are stored, want %d", n, k)
	}
}
