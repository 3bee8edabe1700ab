package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/client"
)

// onceLine returns the line of a write with Once.
func onceLine(id int, entry string) string {
	return fmt.Sprintf(`{"id":"%d","entry":%s,"once":true}`, id, entry)
}

// told answers the question for the features.
func (p *conversation) told() bool {
	if !p.want(asks) {
		return false
	}
	p.say(knowing)
	return true
}

// TestOnceRepeats: a write with Once is sent again after each answer and each loss that is not
// final, over a new connection only after asking what its server supports.
func TestOnceRepeats(t *testing.T) {
	noLeaks(t)
	line := func(id int) string { return onceLine(id, "[1]") }
	var waits []error
	options := quick
	options.OnRetry = func(err error, _ time.Duration) { waits = append(waits, err) }
	resumed := 0
	options.OnResume = func() { resumed++ }
	addr := peer(t,
		func(p *conversation) { p.want(asks) },
		func(p *conversation) { _ = p.told() && p.want(line(0)) },
		func(p *conversation) { p.say(`{"error":"too many connections"}`) },
		func(p *conversation) { p.reset() },
		func(p *conversation) {
			p.told()
			for id, answer := range []string{
				"not stored: no space left on device", "outcome unknown: the disk failed",
				"not stored: log has failed and takes no more appends: input/output error", "not stored: log is closed",
			} {
				if p.want(line(id)) {
					p.say(fmt.Sprintf(`{"id":"%d","error":"%s"}`, id, answer))
				}
			}
			if p.want(line(4)) {
				p.say(`{"id":"4","index":44,"seen":true}`)
			}
			p.rest()
		})
	c := dial(t, addr, options)
	index, seen, err := c.AppendOnce(patient(t), []byte("[1]"))
	outcome(t, err, nil)
	if index != 44 || !seen {
		t.Errorf("index is %d, seen %v, want 44 and true", index, seen)
	}
	if c.Close(); len(waits) != 8 || resumed != 1 {
		t.Errorf("OnRetry was told %d times: %v, OnResume %d times, want 8 and 1", len(waits), waits, resumed)
	}
}

// TestOnceEnds: a write with Once ends if no further attempt can help. The error says what is
// known about the entry.
func TestOnceEnds(t *testing.T) {
	lost := func(p *conversation) { _ = p.told() && p.want(onceLine(0, "[1]")) } // so that it may be stored
	answer := func(text string) func(*conversation) {
		return func(p *conversation) {
			if p.told() && p.want(onceLine(0, "[1]")) {
				p.say(fmt.Sprintf(`{"id":"0","error":"%s"}`, text))
			}
			p.rest()
		}
	}
	turnAway := func(p *conversation) { p.say(`{"error":"unauthorized"}`) }
	old := func(p *conversation) { p.want(asks); p.say(`{"stat":{"version":"1.0.0"}}`); p.rest() }
	for _, c := range []struct {
		name    string
		scripts []func(*conversation)
		outcome error
		also    error
		text    string
	}{
		{"too long", []func(*conversation){answer("not stored: the entry is 101 bytes long, over the limit of 100")}, client.ErrRefused, nil, "101 bytes"},
		{"long line", []func(*conversation){answer("not stored: the line is over the limit of 65636 bytes")}, client.ErrRefused, nil, "65636"},
		{"no right", []func(*conversation){answer("not stored: unauthorized: this token may not write")}, client.ErrRefused, nil, "may not write"},
		{"no message", []func(*conversation){answer("not stored: invalid message: something")}, client.ErrRefused, nil, "something"},
		{"odd", []func(*conversation){func(p *conversation) { _ = p.told() && p.want(onceLine(0, "[1]")); p.say("what?") }}, client.ErrUnknown, client.ErrProtocol, "what?"},
		{"turned away", []func(*conversation){turnAway}, client.ErrNotSent, client.ErrUnauthorized, ""},
		{"old", []func(*conversation){old}, client.ErrNotSent, client.ErrUnsupported, `version 1.0.0, lacks the feature "once"`},
		{"lost, too long", []func(*conversation){lost, answer("not stored: the entry is 101 bytes long, over the limit of 100")}, client.ErrUnknown, nil, "an attempt was not answered, and then: not stored: the entry is 101 bytes"},
		{"lost, turned away", []func(*conversation){lost, turnAway}, client.ErrUnknown, client.ErrUnauthorized, ""},
		{"lost, old", []func(*conversation){lost, old}, client.ErrUnknown, client.ErrUnsupported, `version 1.0.0, lacks the feature "once"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			cl := dial(t, peer(t, c.scripts...), quick)
			_, _, err := cl.AppendOnce(patient(t), []byte("[1]"))
			outcome(t, err, c.outcome)
			if c.also != nil && !errors.Is(err, c.also) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("error is %v, want %v, %q", err, c.also, c.text)
			}
		})
	}
}

// TestOnceFaulty: an entry that no server accepts is not sent again, however the refusal is
// worded, and is not stored, even though an earlier attempt was not answered.
func TestOnceFaulty(t *testing.T) {
	noLeaks(t)
	entry := `{"a":1,"a":2}`
	cl := dial(t, peer(t, func(p *conversation) { _ = p.told() && p.want(onceLine(0, entry)) }, func(p *conversation) {
		if p.told() && p.want(onceLine(0, entry)) {
			p.say(`{"id":"0","error":"not stored: we do not like it"}`)
		}
		p.rest()
	}), quick)
	_, _, err := cl.AppendOnce(patient(t), []byte(entry))
	outcome(t, err, client.ErrRefused)
}

// TestOnceContextEnded: the end of the context ends the attempts, and the error says whether
// one of them may have stored the entry, and how the last one ended.
func TestOnceContextEnded(t *testing.T) {
	ended := errors.New("ended by the test")
	line := onceLine(0, "[1]")
	var end func()
	endThen := func(script func(*conversation) bool) func(*conversation) {
		return func(p *conversation) {
			if script(p) {
				end()
			}
			p.rest()
		}
	}
	for _, c := range []struct {
		name    string
		script  func(*conversation)
		retries int // after these the context ends
		outcome error
		text    string
	}{
		{"asked", endThen(func(p *conversation) bool { return p.want(asks) }), 0, client.ErrNotSent, "not sent: ended by the test"},
		{"sent", endThen(func(p *conversation) bool { return p.told() && p.want(line) }), 0, client.ErrUnknown, "outcome unknown: ended by the test"},
		{"lost", func(p *conversation) { _ = p.told() && p.want(line) }, 2, client.ErrUnknown, "outcome unknown: ended by the test; an earlier attempt: not sent: dial"},
		{"refused", func(p *conversation) {
			if p.told() && p.want(line) {
				p.say(`{"id":"0","error":"not stored: no space left on device"}`)
			}
			p.rest()
		}, 1, client.ErrRefused, "not stored: ended by the test; an earlier attempt: not stored: no space left on device"},
		{"not connected", func(*conversation) {}, 2, client.ErrNotSent, "not sent: ended by the test; an earlier attempt: not sent: dial"},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			ctx, cancel := context.WithCancelCause(patient(t))
			end = func() { cancel(ended) }
			options := quick
			retries := 0
			options.OnRetry = func(error, time.Duration) {
				if retries++; retries == c.retries {
					end()
				}
			}
			cl := dial(t, peer(t, c.script), options)
			_, _, err := cl.AppendOnce(ctx, []byte("[1]"))
			outcome(t, err, c.outcome)
			if !errors.Is(err, ended) || !strings.HasPrefix(fmt.Sprint(err), c.text) {
				t.Errorf("error is %v, want %s", err, c.text)
			}
		})
	}
}

// TestOnceWithdrawn: a write whose context ends before it is written is not sent, but its
// neighbours are.
func TestOnceWithdrawn(t *testing.T) {
	noLeaks(t)
	asked, go1 := make(chan struct{}), make(chan struct{})
	addr := peer(t, func(p *conversation) {
		p.want(asks)
		close(asked)
		<-go1
		p.say(knowing)
		for id, entry := range []string{"[1]", "[3]"} {
			if p.want(onceLine(id, entry)) {
				p.say(fmt.Sprintf(`{"id":"%d","index":%d}`, id, id+1))
			}
		}
		p.rest()
	})
	c := dial(t, addr, client.Options{})
	ctx, cancel := context.WithCancel(patient(t))
	var got sync.WaitGroup
	var mu sync.Mutex
	errs := make(map[int]error)
	for n := 1; n <= 3; n++ {
		got.Add(1)
		writeCtx := patient(t)
		if n == 2 {
			writeCtx = ctx
		}
		err := c.PutAsync(writeCtx, client.Write{Entries: [][]byte{fmt.Appendf(nil, "[%d]", n)}, Once: true}, func(_ client.Result, err error) {
			mu.Lock()
			errs[n] = err
			mu.Unlock()
			if n == 2 {
				close(go1)
			}
			got.Done()
		})
		outcome(t, err, nil)
	}
	<-asked
	cancel()
	got.Wait()
	outcome(t, errs[1], nil)
	outcome(t, errs[2], client.ErrNotSent)
	outcome(t, errs[3], nil)
}

// TestOnceInOrder: the writes with Once of one goroutine are stored in the order of the calls, as
// far as each is answered, even if connections are lost at any point and some writes are refused
// for a while.
func TestOnceInOrder(t *testing.T) {
	noLeaks(t)
	const count = 300
	var mu sync.Mutex
	var stored []string // by all peers in order
	peerOf := func(lines int) func(p *conversation) {
		return func(p *conversation) {
			if !p.told() {
				return
			}
			for n := 0; ; n++ {
				line, ok := p.line()
				if !ok || lines > 0 && n == lines {
					return
				}
				id, entry := "", ""
				if _, err := fmt.Sscanf(line, `{"id":%q,"entry":[%s`, &id, &entry); err != nil {
					t.Errorf("line is %q: %v", line, err)
					return
				}
				entry, _, _ = strings.Cut(entry, "]")
				mu.Lock()
				at := slices.Index(stored, entry)
				if at < 0 {
					stored = append(stored, entry)
					at = len(stored) - 1
				}
				mu.Unlock()
				if n < lines/2 { // otherwise it is stored and not answered
					p.say(fmt.Sprintf(`{"id":%q,"index":%d}`, id, at+1))
				}
			}
		}
	}
	// Dial's connection is the first; each ends before the next is made.
	whole := peerOf(1 << 30)
	c := dial(t, peer(t, peerOf(1), peerOf(7), peerOf(100), peerOf(2), peerOf(60), whole), quick)
	var wg sync.WaitGroup
	for n := range count {
		wg.Add(1)
		err := c.PutAsync(patient(t), client.Write{Entries: [][]byte{fmt.Appendf(nil, "[%d]", n)}, Once: true}, func(r client.Result, err error) {
			outcome(t, err, nil)
			if r.Index != uint64(n+1) {
				t.Errorf("entry %d has index %d", n, r.Index)
			}
			wg.Done()
		})
		outcome(t, err, nil)
	}
	wg.Wait()
}

// TestOnceClosed: Close ends writes with Once, including those that wait for a connection.
func TestOnceClosed(t *testing.T) {
	for name, script := range map[string]func(p *conversation, closes func()){
		"sent":      func(p *conversation, closes func()) { _ = p.told() && p.want(onceLine(0, "[1]")); closes(); p.rest() },
		"asked":     func(p *conversation, closes func()) { p.want(asks); closes(); p.rest() },
		"lost":      func(p *conversation, closes func()) { _ = p.told() && p.want(onceLine(0, "[1]")) },
		"not taken": func(*conversation, func()) {},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			ready := make(chan struct{})
			closes := sync.OnceFunc(func() { close(ready) })
			options := quick
			options.OnRetry = func(error, time.Duration) { closes() }
			c := dial(t, peer(t, func(p *conversation) { script(p, closes) }), options)
			got := make(chan error)
			go func() {
				_, _, err := c.AppendOnce(patient(t), []byte("[1]"))
				got <- err
			}()
			<-ready
			c.Close()
			err := <-got
			want := client.ErrNotSent
			if name == "sent" || name == "lost" {
				want = client.ErrUnknown
			}
			outcome(t, err, want)
			if !errors.Is(err, client.ErrClosed) {
				t.Errorf("error is %v", err)
			}
			if _, _, err := c.AppendOnce(patient(t), []byte("[1]")); !errors.Is(err, client.ErrClosed) {
				t.Errorf("after Close the error is %v", err)
			}
		})
	}
}

// TestOnceAwaitsOthers: a write that was refused for a while is sent again when the others that
// were sent with it have their outcomes, so that none is under way twice at a time.
func TestOnceAwaitsOthers(t *testing.T) {
	noLeaks(t)
	again := make(chan struct{}, 1)
	addr := peer(t, func(p *conversation) {
		if !p.told() || !p.want(onceLine(0, "[1]"), onceLine(1, "[2]")) {
			return
		}
		p.say(`{"id":"0","error":"not stored: no space left on device"}`)
		select {
		case <-again:
			t.Error("the client tries again before all have been answered")
		case <-time.After(100 * time.Millisecond):
		}
		p.say(`{"id":"1","index":1}`)
		if p.want(onceLine(2, "[1]")) {
			p.say(`{"id":"2","index":2}`)
		}
		p.rest()
	})
	options := quick
	options.OnRetry = func(error, time.Duration) { again <- struct{}{} }
	c := dial(t, addr, options)
	var wg sync.WaitGroup
	for n := 1; n <= 2; n++ {
		wg.Add(1)
		err := c.PutAsync(patient(t), client.Write{Entries: [][]byte{fmt.Appendf(nil, "[%d]", n)}, Once: true}, func(r client.Result, err error) {
			outcome(t, err, nil)
			if r.Index != uint64(3-n) {
				t.Errorf("entry %d has index %d", n, r.Index)
			}
			wg.Done()
		})
		outcome(t, err, nil)
	}
	wg.Wait()
}
