package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"tcp-log-server/client"
)

// TestFollow: history, then new entries, until the context ends.
func TestFollow(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{})
	fill(t, c, 1, 3)
	ctx, cancel := context.WithCancelCause(patient(t))
	defer cancel(nil)
	enough := errors.New("enough")
	next := uint64(2)
	var last error
	for e, err := range c.Follow(ctx, 2) {
		if err != nil {
			last = err
			continue
		}
		if e.Index != next || string(e.Value) != fmt.Sprintf(`{"n":%d}`, next) {
			t.Errorf("entry %d is %s, want entry %d", e.Index, e.Value, next)
		}
		switch next {
		case 3:
			fill(t, c, 4, 2)
		case 5:
			time.AfterFunc(time.Millisecond, func() { cancel(enough) })
		}
		next++
	}
	if next != 6 || !errors.Is(last, enough) {
		t.Errorf("it ended before entry %d with %v, want before 6 with the context's cause", next, last)
	}
}

// TestFollowCut follows through connections that are cut at random bytes, while the
// server is also stopped and restarted: every entry arrives, once, in order.
func TestFollowCut(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	rng := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	addr := proxy(t, func() string { return h.addr }, func() (down, up int64) { return rng.Int64N(3000), 1 << 30 })
	const count = 2000
	retries, resumes := 0, 0
	options := quick
	options.OnRetry = func(err error, wait time.Duration) {
		if err == nil || wait > options.MaxBackoff {
			t.Errorf("OnRetry is told %v and %v", err, wait)
		}
		retries++
	}
	options.OnResume = func() { resumes++ }
	c := dial(t, addr, options)
	var wg sync.WaitGroup
	wg.Go(func() {
		writer := dial(t, h.addr, client.Options{})
		for n := 1; n <= count; n++ {
			if index, err := writer.Append(patient(t), numbered(n)); index != uint64(n) || err != nil {
				t.Errorf("append %d: index %d, error %v", n, index, err)
				return
			}
			if n%700 == 0 {
				h.stop()
				h.start()
			}
		}
	})
	next := uint64(1)
	for e, err := range c.Follow(patient(t), 1) {
		if err != nil || e.Index != next || string(e.Value) != fmt.Sprintf(`{"n":%d}`, next) {
			t.Errorf("entry %d is %s, error %v, want entry %d", e.Index, e.Value, err, next)
			break
		}
		if next++; next > count {
			break
		}
	}
	wg.Wait()
	if retries < 10 || resumes < 3 || resumes > retries {
		t.Errorf("%d retries, %d resumptions; want many, the latter no more than the former", retries, resumes)
	}
}

// TestFollowResumes: the request on each connection, and that entries that arrived
// incomplete are requested again.
func TestFollowResumes(t *testing.T) {
	noLeaks(t)
	addr := peer(t,
		func(p *conversation) {
			if p.want(`{"from":7}`) {
				p.say(`{"current":true}`) // and nothing more
			}
		},
		func(p *conversation) {
			if p.want(`{"from":7}`) {
				p.say(`{"error":"too many connections"}`)
			}
		},
		func(p *conversation) {
			if p.want(`{"from":7}`) {
				p.say(`{"error":"not available now: the archive: no answer"}`)
			}
		},
		func(p *conversation) {
			if p.want(`{"from":7}`) {
				p.nc.Write([]byte(`{"index":7,"entry":["a"]}` + "\n" + `{"index":8,"entry":["b"]}`))
			}
		},
		func(p *conversation) {
			if p.want(`{"from":7}`) {
				p.say(`{"index":7,"entry":["a"]}`, `{"index":8,"error":"damaged"}`)
			}
		},
		func(p *conversation) {
			if p.want(`{"from":8}`) {
				p.say(`{"index":8,"entry":["it is back"]}`, `{"index":9,"entry":["c"]}`)
				p.rest()
			}
		})
	c := dial(t, addr, quick)
	var got []string
	for e, err := range c.Follow(patient(t), 7) {
		got = append(got, fmt.Sprint(e.Index, " ", string(e.Value), err))
		if e.Index == 9 {
			break
		}
	}
	expect(t, "entries", got, `7 ["a"]<nil>`, `8 entry 8: damaged`, `9 ["c"]<nil>`)
}

// TestFollowDiverged: a log that is not the one followed before is not followed further.
func TestFollowDiverged(t *testing.T) {
	for name, says := range map[string]string{
		"another entry": `{"index":1,"entry":["other"]}`,
		"shorter":       `{"current":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			addr := peer(t,
				func(p *conversation) { p.line(); p.say(`{"index":1,"entry":["one"]}`) },
				func(p *conversation) { p.line(); p.say(says, `{"index":2,"entry":["two"]}`); p.rest() })
			c := dial(t, addr, quick)
			got := 0
			var last error
			for _, err := range c.Follow(patient(t), 1) {
				got++
				last = err
			}
			if got != 2 || !errors.Is(last, client.ErrDiverged) {
				t.Errorf("%d things came, the last is %v; want one entry and ErrDiverged", got, last)
			}
		})
	}
}

// TestFollowLasting: errors that a reconnect cannot fix end a Follow.
func TestFollowLasting(t *testing.T) {
	for says, want := range map[string]error{
		`{"error":"unauthorized"}`:        client.ErrUnauthorized,
		`{"error":"not allowed to read"}`: client.ErrServer,
		`{"index":2,"entry":{}}`:          client.ErrProtocol,
	} {
		noLeaks(t)
		addr := peer(t, func(p *conversation) { p.line(); p.say(says); p.rest() })
		for _, err := range dial(t, addr, quick).Follow(patient(t), 1) {
			if !errors.Is(err, want) {
				t.Errorf("%s: error is %v, want %v", says, err, want)
			}
		}
	}
}
