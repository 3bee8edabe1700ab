package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/client"
)

var single = [][]byte{[]byte("[1]")}

// withReceipt is the simplest write that needs a feature.
var withReceipt = client.Write{Entries: single, Receipt: true}

// TestUnsupported: if a server does not say that it supports a write's or a read's features,
// only the question is sent, and the error says what is missing and where.
func TestUnsupported(t *testing.T) {
	at := uint64(41)
	writes := map[string]client.Write{
		"if": {Entries: single, If: &at}, "once": {Entries: single, Once: true}, "receipt": withReceipt,
		"entries": {Entries: [][]byte{[]byte("[1]"), []byte("[2]")}},
	}
	for name, server := range map[string]struct{ answer, text string }{
		"without features":    {`{"stat":{"version":"2.0.3","head":7}}`, `the server, version 2.0.3, lacks the feature "NAME"`},
		"with others":         {`{"stat":{"features":["IF","one"]}}`, `the server, which does not tell its version, lacks the feature "NAME"`},
		"without stat":        {`{"error":"invalid message: it has no member \"entry\" or \"from\""}`, `lacks the feature "NAME"`},
		"the original":        {`{"error":"invalid message"}`, `lacks the feature "NAME"`},
		"without the right":   {`{"error":"unauthorized: this token may not read"}`, "the server does not report its features: unauthorized: this token may not read"},
		"that has failed":     {`{"error":"stat: no memory"}`, "the server does not report its features: stat: no memory"},
		"with an odd feature": {`{"stat":{"features":7}}`, `the answer to {"stat":true} is "{\"features\":7}"`},
	} {
		for feature, write := range writes {
			for _, async := range []bool{false, true} {
				t.Run(name+"/"+feature+map[bool]string{true: "/async"}[async], func(t *testing.T) {
					noLeaks(t)
					addr := peer(t, func(p *conversation) {
						if p.want(asks) {
							p.say(server.answer)
						}
						// The connection remains usable for others.
						if p.want(`{"id":"0","entry":[0]}`) {
							p.say(`{"id":"0","index":1}`)
						}
						p.rest()
					})
					c := dial(t, addr, client.Options{})
					for range 2 { // one of them asks
						_, err := put(c, t, write, async)
						outcome(t, err, client.ErrNotSent)
						if !errors.Is(err, client.ErrUnsupported) && !errors.Is(err, client.ErrProtocol) || !strings.Contains(err.Error(), strings.ReplaceAll(server.text, "NAME", feature)) {
							t.Errorf("error is %v, want %s", err, server.text)
						}
					}
					if index, err := c.Append(patient(t), []byte("[0]")); index != 1 || err != nil {
						t.Errorf("an append got index %d, error %v", index, err)
					}
				})
			}
		}
	}
}

// TestFeaturesOfEachConnection: a server's answer about its features applies only to its
// connection.
func TestFeaturesOfEachConnection(t *testing.T) {
	noLeaks(t)
	newer := func(p *conversation) {
		if p.want(asks) {
			p.say(knowing)
		}
		for _, id := range []string{"0", "1"} { // not asked for again
			if p.want(`{"id":"` + id + `","entry":[1],"receipt":true}`) {
				p.say(`{"id":"` + id + `","index":1}`)
			}
		}
	}
	older := func(p *conversation) {
		if p.want(asks) {
			p.say(`{"stat":{"version":"1.9.0"}}`)
		}
		if line, ok := p.line(); ok {
			t.Errorf("an old server gets %s", line)
		}
	}
	c := dial(t, peer(t, newer, older), client.Options{})
	for range 2 {
		_, err := c.Put(patient(t), withReceipt)
		outcome(t, err, nil)
	}
	for { // until the client has noticed the end of the first connection
		_, err := c.Put(patient(t), withReceipt)
		if !errors.Is(err, client.ErrLost) {
			outcome(t, err, client.ErrNotSent)
			if !errors.Is(err, client.ErrUnsupported) {
				t.Errorf("error is %v", err)
			}
			return
		}
	}
}

// TestAskedMeanwhile: the answer to the question may come before or between the answers to
// appends that were sent earlier, and only the write that needs it waits for it.
func TestAskedMeanwhile(t *testing.T) {
	noLeaks(t)
	held := make(chan struct{})
	addr := peer(t, func(p *conversation) {
		if !p.want(`{"id":"0","entry":[0]}`, asks) {
			return
		}
		close(held)
		if p.want(`{"id":"1","entry":[0]}`) {
			p.say(`{"id":"0","index":1}`, knowing, `{"id":"1","index":2}`)
		}
		if p.want(`{"id":"2","entry":[1],"receipt":true}`) {
			p.say(`{"id":"2","index":3}`)
		}
		p.rest()
	})
	c := dial(t, addr, client.Options{})
	var wg sync.WaitGroup
	appendZero := func(want uint64) {
		wg.Add(1)
		err := c.AppendAsync(patient(t), []byte("[0]"), func(index uint64, err error) {
			outcome(t, err, nil)
			if index != want {
				t.Errorf("index is %d, want %d", index, want)
			}
			wg.Done()
		})
		outcome(t, err, nil)
	}
	appendZero(1)
	poll(t, "the append to be written", func() bool { return c.Written() == 1 })
	wg.Go(func() {
		r, err := c.Put(patient(t), withReceipt)
		outcome(t, err, nil)
		if r.Index != 3 {
			t.Errorf("index is %d, want 3", r.Index)
		}
	})
	<-held
	appendZero(2)
	wg.Wait()
}

// TestAskWhileLeading: a client whose appends lead asks too, whichever goroutine then reads.
func TestAskWhileLeading(t *testing.T) {
	if !client.CanLead {
		t.Skip("no append can lead here")
	}
	noLeaks(t)
	h := serve(t)
	c := dial(t, h.addr, client.Options{})
	for !c.MayLead() {
		_, err := c.Append(patient(t), []byte("[0]"))
		outcome(t, err, nil)
	}
	_, err := c.Put(patient(t), client.Write{Entries: single, If: new(uint64(1 << 40))})
	if !errors.Is(err, client.ErrUnsupported) && !errors.Is(err, client.ErrRefused) {
		t.Errorf("error is %v", err)
	}
	for range 2 * client.LeadAfter {
		_, err := c.Append(patient(t), []byte("[0]"))
		outcome(t, err, nil)
	}
	if !c.MayLead() {
		t.Error("no append may lead after the question was answered")
	}
}

// TestAskEnds: a write that waits for the features ends with its context, with the connection
// and with the client, and is not sent.
func TestAskEnds(t *testing.T) {
	ended := errors.New("ended by the test")
	for name, c := range map[string]struct {
		end  func(c *client.Client, cancel context.CancelCauseFunc, hangUp func())
		want error
	}{
		"context":    {func(_ *client.Client, cancel context.CancelCauseFunc, _ func()) { cancel(ended) }, ended},
		"connection": {func(_ *client.Client, _ context.CancelCauseFunc, hangUp func()) { hangUp() }, client.ErrLost},
		"client":     {func(c *client.Client, _ context.CancelCauseFunc, _ func()) { c.Close() }, client.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			asked, hangUp := make(chan struct{}), make(chan struct{})
			addr := peer(t, func(p *conversation) {
				p.want(asks)
				close(asked)
				<-hangUp
				if name != "connection" {
					p.rest()
				}
			})
			cl := dial(t, addr, client.Options{})
			ctx, cancel := context.WithCancelCause(patient(t))
			got := make(chan error)
			go func() {
				_, err := cl.Put(ctx, withReceipt)
				got <- err
			}()
			<-asked
			once := sync.OnceFunc(func() { close(hangUp) })
			c.end(cl, cancel, once)
			err := <-got
			outcome(t, err, client.ErrNotSent)
			if !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			once()
		})
	}
}

// TestPutInvalid: an invalid write is refused before anything is sent.
func TestPutInvalid(t *testing.T) {
	noLeaks(t)
	c := dial(t, peer(t, func(p *conversation) {
		if line, ok := p.line(); ok {
			t.Errorf("the client sends %q", line)
		}
	}), client.Options{})
	for text, write := range map[string]client.Write{
		"not sent: a write has no entry, want at least one":                                                    {},
		"not sent: a write has both Once and If, want one of them":                                             {Entries: single, Once: true, If: new(uint64)},
		"not sent: a write with Once has 2 entries, want one":                                                  {Entries: [][]byte{[]byte("[]"), []byte("[]")}, Once: true},
		"not sent: not a JSON object, array or null: it is a number":                                           {Entries: [][]byte{[]byte("7")}, Once: true},
		"not sent: entry 2 of 2: not a JSON object, array or null: it is a string":                             {Entries: [][]byte{[]byte("[]"), []byte(`"a"`)}},
		"not sent: entry 1 of 2: not a JSON object, array or null: unexpected data after the entry, at byte 2": {Entries: [][]byte{[]byte("[],[]"), []byte(`[]`)}},
	} {
		for _, async := range []bool{false, true} {
			_, err := put(c, t, write, async)
			outcome(t, err, client.ErrNotSent)
			if err.Error() != text {
				t.Errorf("error is %v, want %s", err, text)
			}
		}
	}
}
