package client_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/client"
)

// poll waits for something that must happen.
func poll(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// lone appends one at a time until an append may lead. The peer must answer as answerLone does,
// or be a server.
func lone(t testing.TB, c *client.Client) {
	t.Helper()
	if !client.CanLead {
		t.Skip("appends do not lead here")
	}
	for range client.LeadAfter {
		_, err := c.Append(context.Background(), []byte("[0]"))
		outcome(t, err, nil)
	}
	poll(t, "leading to be possible", c.MayLead)
}

// answerLone answers the appends of lone.
func (p *conversation) answerLone() {
	for n := range client.LeadAfter {
		p.want(fmt.Sprintf(`{"id":"%d","entry":[0]}`, n))
		p.say(fmt.Sprintf(`{"id":"%d","index":%d}`, n, n+1))
	}
}

// TestLeadStays: appends that come one at a time keep leading; other kinds of appends, or
// appends from many goroutines, bring the reading goroutine back, and so does an idle period.
func TestLeadStays(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{})
	ctx, cancel := context.WithCancel(patient(t))
	defer cancel()
	for range 3 {
		lone(t, c)
		led := 0
		for n := range 1000 {
			if c.MayLead() {
				led++
			}
			ctx := ctx
			if n%2 == 0 {
				ctx = context.Background()
			}
			_, err := c.Append(ctx, []byte("[1]"))
			outcome(t, err, nil)
		}
		if led < 500 { // all, unless the test itself was delayed
			t.Errorf("of 1000 appends %d could lead", led)
		}
		var answered sync.WaitGroup
		answered.Add(1)
		lone(t, c)
		if err := c.AppendAsync(ctx, []byte("[2]"), func(_ uint64, err error) { outcome(t, err, nil); answered.Done() }); err != nil {
			t.Fatal(err)
		}
		answered.Wait()
		if c.MayLead() {
			t.Error("an append may still lead after an append that does not wait")
		}
		lone(t, c)
		poll(t, "the reading goroutine", func() bool { return !c.MayLead() })
	}
}

// TestLeadMixed: each append gets its own answer, however many goroutines append, by Append or
// AppendAsync.
func TestLeadMixed(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{})
	const rounds, most = 300, 6
	var mu sync.Mutex
	indices := make(map[uint64]string)
	took := func(entry string, index uint64, err error) {
		outcome(t, err, nil)
		mu.Lock()
		defer mu.Unlock()
		if indices[index] != "" {
			t.Errorf("index %d is given to %s and %s", index, indices[index], entry)
		}
		indices[index] = entry
	}
	for round := range rounds {
		var wg sync.WaitGroup
		each := rand.IntN(12)
		for g := range 1 + rand.IntN(most)*rand.IntN(2) {
			wg.Go(func() {
				for n := range each {
					entry := fmt.Sprintf(`[%d,%d,%d]`, round, g, n)
					if rand.IntN(8) == 0 {
						wg.Add(1)
						if err := c.AppendAsync(patient(t), []byte(entry), func(index uint64, err error) { took(entry, index, err); wg.Done() }); err != nil {
							t.Error(err)
							wg.Done()
						}
						continue
					}
					index, err := c.Append(patient(t), []byte(entry))
					took(entry, index, err)
				}
			})
		}
		wg.Wait()
	}
	n := 0
	for e, err := range c.Read(patient(t), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; string(e.Value) != indices[e.Index] {
			t.Fatalf("entry %d is %s, and was acknowledged as %s", e.Index, e.Value, indices[e.Index])
		}
	}
	if n != len(indices) {
		t.Errorf("%d entries are stored, %d acknowledged", n, len(indices))
	}
}

// TestLeadEndNoticed: a connection that has ended while no goroutine read is noticed before
// the next append is sent, so that it goes over another.
func TestLeadEndNoticed(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := dial(t, h.addr, client.Options{})
	for n := range 8 {
		lone(t, c)
		h.stop()
		h.start()
		index, err := c.Append(patient(t), []byte("[1]"))
		if outcome(t, err, nil); index != uint64((client.LeadAfter+1)*(n+1)) {
			t.Fatalf("index %d after %d restarts", index, n+1)
		}
	}
}

// TestLeadFault: input or the end of the connection that came while no goroutine read is noticed
// before the next append is sent, which therefore goes over another connection.
func TestLeadFault(t *testing.T) {
	for _, fault := range []string{"", `{"error":"the server is stopping"}` + "\n"} {
		t.Run(fault, func(t *testing.T) {
			noLeaks(t)
			end, ended := make(chan struct{}), make(chan struct{})
			addr := peer(t, func(p *conversation) {
				p.answerLone()
				<-end
				io.WriteString(p.nc, fault)
				p.nc.Close()
				close(ended)
			}, func(p *conversation) {
				p.want(`{"id":"0","entry":[1]}`)
				p.say(`{"id":"0","index":9}`)
				p.rest()
			})
			c := dial(t, addr, client.Options{})
			lone(t, c)
			close(end)
			<-ended
			index, err := c.Append(patient(t), []byte("[1]"))
			if outcome(t, err, nil); index != 9 {
				t.Errorf("index is %d, want 9", index)
			}
		})
	}
}

// TestLeadContextEnded: an append that leads waits no longer than its context, and what it has
// begun continues without it.
func TestLeadContextEnded(t *testing.T) {
	noLeaks(t)
	begun, read, answer, arrived := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	large := `["` + strings.Repeat("x", 16<<20) + `"]`
	first := client.LeadAfter
	addr := peer(t, func(p *conversation) {
		p.answerLone()
		p.r.Peek(1)
		close(begun)
		<-read
		p.want(fmt.Sprintf(`{"id":"%d","entry":%s}`, first, large), fmt.Sprintf(`{"id":"%d","entry":[1]}`, first+1))
		<-answer
		p.say(fmt.Sprintf(`{"id":"%d","index":11}`, first), fmt.Sprintf(`{"id":"%d","index":12}`, first+1))
		for n := first + 2; n < 2*first+2; n++ {
			p.want(fmt.Sprintf(`{"id":"%d","entry":[0]}`, n))
			p.say(fmt.Sprintf(`{"id":"%d","index":13}`, n))
		}
		p.want(fmt.Sprintf(`{"id":"%d","entry":[2]}`, 2*first+2))
		close(arrived)
		p.rest()
	})
	c := dial(t, addr, client.Options{MaxInFlight: 64 << 20})
	lone(t, c)
	ctx, cancel := context.WithCancel(patient(t))
	go func() { <-begun; cancel() }()
	_, err := c.Append(ctx, []byte(large)) // the connection takes only a part of it
	outcome(t, err, client.ErrUnknown)
	close(read)
	answered := make(chan uint64)
	go func() {
		index, err := c.Append(patient(t), []byte("[1]"))
		outcome(t, err, nil)
		answered <- index
	}()
	close(answer)
	if index := <-answered; index != 12 {
		t.Errorf("index is %d, want 12", index)
	}
	lone(t, c)
	ctx, cancel = context.WithCancel(patient(t))
	go func() { <-arrived; cancel() }()
	_, err = c.Append(ctx, []byte("[2]")) // written completely, and never answered
	outcome(t, err, client.ErrUnknown)
}

// TestLeadClosed: Close and the end of the connection end an append that leads.
func TestLeadClosed(t *testing.T) {
	for name, end := range map[string]func(c *client.Client, p *conversation){
		"closed":  func(c *client.Client, _ *conversation) { c.Close() },
		"ended":   func(_ *client.Client, p *conversation) { p.nc.Close() },
		"reset":   func(_ *client.Client, p *conversation) { p.reset(); p.nc.Close() },
		"garbage": func(_ *client.Client, p *conversation) { io.WriteString(p.nc, "?\n") },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			taken := make(chan *conversation)
			addr := peer(t, func(p *conversation) {
				p.answerLone()
				p.want(fmt.Sprintf(`{"id":"%d","entry":[1]}`, client.LeadAfter))
				taken <- p
				p.rest()
			})
			c := dial(t, addr, client.Options{})
			lone(t, c)
			go func() { end(c, <-taken) }()
			_, err := c.Append(patient(t), []byte("[1]"))
			outcome(t, err, client.ErrUnknown)
		})
	}
}

// TestLeadOthersDone: another append's callback does not run on the goroutine of an append that
// leads, even if both answers arrive at once.
func TestLeadOthersDone(t *testing.T) {
	noLeaks(t)
	first := client.LeadAfter
	addr := peer(t, func(p *conversation) {
		p.answerLone()
		p.want(fmt.Sprintf(`{"id":"%d","entry":[1]}`, first), fmt.Sprintf(`{"id":"%d","entry":[2]}`, first+1))
		p.say(fmt.Sprintf(`{"id":"%d","index":11}`, first), fmt.Sprintf(`{"id":"%d","index":12}`, first+1))
		p.want(fmt.Sprintf(`{"id":"%d","entry":[3]}`, first+2))
		p.say(fmt.Sprintf(`{"id":"%d","index":13}`, first+2))
		p.rest()
	})
	c := dial(t, addr, client.Options{})
	lone(t, c)
	led, answered := make(chan uint64), make(chan uint64)
	returned := make(chan struct{})
	go func() {
		index, err := c.Append(patient(t), []byte("[1]"))
		outcome(t, err, nil)
		close(returned)
		led <- index
	}()
	poll(t, "an append that leads", func() bool { return !c.MayLead() })
	poll(t, "its line to be written", func() bool { return c.Written() == first+1 })
	if err := c.AppendAsync(patient(t), []byte("[2]"), func(index uint64, err error) {
		outcome(t, err, nil)
		<-returned
		answered <- index
	}); err != nil {
		t.Fatal(err)
	}
	if index := <-led; index != 11 {
		t.Errorf("index is %d, want 11", index)
	}
	if index := <-answered; index != 12 {
		t.Errorf("index is %d, want 12", index)
	}
	index, err := c.Append(patient(t), []byte("[3]"))
	if outcome(t, err, nil); index != 13 {
		t.Errorf("index is %d, want 13", index)
	}
}

// TestLeadUnsentAtClose: an append that leads and has not written its line when the client is
// closed is known not to be sent.
func TestLeadUnsentAtClose(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{})
	lone(t, c)
	poll(t, "the writing goroutine to rest", c.Idle)
	c.BeforeDirectWrite(c.Interrupt)
	_, err := c.Append(context.Background(), []byte("[1]"))
	outcome(t, err, client.ErrNotSent)
}

// TestCloseStalled: Close does not wait for answers, even while a goroutine is stuck in a write.
func TestCloseStalled(t *testing.T) {
	large := []byte(`["` + strings.Repeat("x", 12<<20) + `"]`)
	noLeaks(t)
	for _, leads := range []bool{false, true} {
		for range 6 {
			begun, closed := make(chan struct{}), make(chan struct{})
			addr := peer(t, func(p *conversation) {
				if leads {
					p.answerLone()
				}
				p.r.Peek(1)
				close(begun)
				<-closed
			})
			c := dial(t, addr, client.Options{MaxInFlight: 64 << 20})
			if leads {
				lone(t, c)
			}
			ended := make(chan error)
			go func() {
				_, err := c.Append(context.Background(), large)
				ended <- err
			}()
			<-begun
			began := time.Now()
			c.Close()
			outcome(t, <-ended, client.ErrNotSent) // its line lacks the newline
			if took := time.Since(began); took > time.Second {
				t.Errorf("Close took %v", took)
			}
			if until := c.ReadsUntil(); until.After(began) { // it is by chance that nothing waited for it
				t.Errorf("after Close the connection is read until %v", until)
			}
			close(closed)
		}
	}
}
