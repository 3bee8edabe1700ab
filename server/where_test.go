package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// evens puts the entries from..through into the log: those with an even number are of kind a,
// the others of kind b.
func evens(t *testing.T, log Log, from, through int) {
	t.Helper()
	var run []string
	for n := from; n <= through; n++ {
		run = append(run, even(n))
	}
	put(t, log, run...)
}

func even(n int) string { return fmt.Sprintf(`{"in":{"kind":"%c"},"n":%d}`, "ab"[n%2], n) }

// found returns the lines of the given entries.
func found(numbers ...int) (lines []string) {
	for _, n := range numbers {
		lines = append(lines, fmt.Sprintf(`{"index":%d,"entry":%s}`, n, even(n)))
	}
	return lines
}

// TestWhere: the lines that a read with a filter sends, from history and while it follows.
func TestWhere(t *testing.T) {
	const a = `"where":{"in":{"kind":"a"}}`
	next := func(head, next int) string { return fmt.Sprintf(`{"head":%d,"next":%d}`, head, next) }
	for _, tt := range []struct {
		name  string
		has   int // entries before the read
		read  string
		want  []string
		later int      // entries appended then
		then  []string // lines sent because of them
	}{
		{"from the beginning", 5, `{"from":1,` + a + `}`, lines(found(2, 4), current), 5, found(6, 8, 10)},
		{"no match", 5, `{"from":1,"where":{"n":"1"}}`, lines(current), 5, nil},
		{"all match", 2, `{"from":1,"where":{}}`, lines(found(1, 2), current), 2, found(3, 4)},
		{"any notation", 3, "{\"from\":1,\"where\": { \"n\" : 2.0e0 , \"in\" : { \"\\u006bind\":\"a\" } } }", lines(found(2), current), 0, nil},
		{"a read counts matches", 9, `{"from":1,"read":3,` + a + `}`, lines(found(2, 4, 6), head(9)), 0, nil},
		{"a read is full at the head", 6, `{"from":1,"read":3,` + a + `}`, lines(found(2, 4, 6), head(6)), 0, nil},
		{"a read is full later", 5, `{"from":1,"read":3,` + a + `}`, lines(found(2, 4), current), 4, lines(found(6), head(9))},
		{"through", 9, `{"from":3,"through":7,` + a + `}`, lines(found(4, 6), head(9)), 0, nil},
		{"through beyond the head", 3, `{"from":1,"through":5,` + a + `}`, lines(found(2), current), 4, lines(found(4), head(7))},
		{"through, and a shorter read", 9, `{"from":1,"through":7,"read":2,` + a + `}`, lines(found(2, 4), head(9)), 0, nil},
		{"through, and a longer read", 9, `{"from":1,"through":7,"read":20,` + a + `}`, lines(found(2, 4, 6), head(9)), 0, nil},
		{"scan", 9, `{"from":2,"scan":4,` + a + `}`, lines(found(2, 4), next(9, 6)), 0, nil},
		{"scan, through the head", 9, `{"from":6,"scan":4,` + a + `}`, lines(found(6, 8), next(9, 10)), 0, nil},
		{"scan, beyond the head", 3, `{"from":2,"scan":4,` + a + `}`, lines(found(2), current), 4, lines(found(4), next(7, 6))},
		{"scan, from beyond the head", 3, `{"from":6,"scan":1,` + a + `}`, lines(current), 3, lines(found(6), next(6, 7))},
		{"scan, and a shorter read", 9, `{"from":1,"scan":6,"read":2,` + a + `}`, lines(found(2, 4), head(9)), 0, nil},
		{"scan, and a read that is full with it", 9, `{"from":1,"scan":4,"read":2,` + a + `}`, lines(found(2, 4), head(9)), 0, nil},
		{"scan, and a longer read", 9, `{"from":1,"scan":4,"read":3,` + a + `}`, lines(found(2, 4), next(9, 5)), 0, nil},
		{"scan, and a nearer through", 9, `{"from":1,"scan":5,"through":4,` + a + `}`, lines(found(2, 4), head(9)), 0, nil},
		{"scan, and the same through", 9, `{"from":1,"scan":4,"through":4,` + a + `}`, lines(found(2, 4), head(9)), 0, nil},
		{"scan, and a farther through", 9, `{"from":1,"scan":3,"through":4,` + a + `}`, lines(found(2), next(9, 4)), 0, nil},
		{"a huge scan", 2, `{"from":2,"scan":1e30,` + a + `}`, lines(found(2), current), 2, found(4)},
		{"last", 9, `{"last":3,` + a + `}`, lines(found(8), current), 1, found(10)},
		{"since", 9, `{"since":"2025-11-24T16:00:07Z",` + a + `}`, lines(found(8), current), 1, found(10)},
		{"time", 3, `{"from":1,"time":true,` + a + `}`, lines(`{"index":2,"time":"2025-11-24T16:00:02.000000Z","entry":`+even(2)+`}`, current), 1,
			lines(`{"index":4,"time":"2025-11-24T16:00:04.000000Z","entry":` + even(4) + `}`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			for _, run := range []int{0, 4} { // entries at a time
				if run > 0 && strings.Contains(tt.read, `"time"`) {
					continue
				}
				log := newFakeLog()
				log.run = run
				evens(t, log, 1, tt.has)
				h := start(t, log, Config{})
				c := h.dial()
				c.send(tt.read)
				c.want(tt.want...)
				if tt.later > 0 {
					evens(t, log, tt.has+1, tt.has+tt.later)
				}
				c.want(tt.then...)
				if all := lines(tt.want, tt.then); strings.HasPrefix(all[len(all)-1], `{"head":`) {
					c.send(`{"from":1,"read":1}`)
					c.want(append(found(1), head(tt.has+tt.later))...)
					continue
				}
				poll(t, "the follower to be at the head", func() bool { s := h.Stats(); return s.Behind == 0 && s.Followers == 1 })
				c.send(`{"from":1,"read":1}`)
				c.want(`{"error":"already reading"}`)
			}
		})
	}
}

// TestWhereUnreadable: unreadable entries might match, so each has its line, and counts.
func TestWhereUnreadable(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	damaged := errors.New("damaged")
	log.unreadable = map[uint64]error{3: damaged, 4: damaged, 5: damaged, 7: damaged}
	log.run = 10
	evens(t, log, 1, 6)
	h := start(t, log, Config{})
	bad := func(n int) string { return fmt.Sprintf(`{"index":%d,"error":"damaged"}`, n) }
	bounded := h.dial()
	bounded.send(`{"from":1,"read":3,"where":{"in":{"kind":"a"}}}`)
	bounded.want(append(found(2), bad(3), bad(4), head(6))...)
	c := h.dial()
	c.send(`{"from":1,"where":{"n":2}}`)
	c.want(append(found(2), bad(3), bad(4), bad(5), current)...)
	evens(t, log, 7, 9)
	c.want(bad(7))
}

// TestWhereRepliesInTheirPlace: the reply to a write comes between the entries before and after it,
// even if the filter leaves its entry out.
func TestWhereRepliesInTheirPlace(t *testing.T) {
	noLeaks(t)
	h := start(t, openDisk(t), Config{})
	c := h.dial()
	c.send(`{"from":1,"where":{"kind":"a"}}`)
	c.want(current)
	var send, want []string
	for n := 1; n <= 300; n++ {
		kind := "ab"[n%2]
		send = append(send, fmt.Sprintf(`{"id":"%d","entry":{"kind":"%c"}}`, n, kind))
		want = append(want, ack(n, n))
		if kind == 'a' {
			want = append(want, fmt.Sprintf(`{"index":%d,"entry":{"kind":"a"}}`, n))
		}
		if n%7 == 0 {
			send = append(send, fmt.Sprintf(`{"id":"%d","entry":7}`, n))
			want = append(want, fmt.Sprintf(`{"id":"%d","error":"not stored: invalid message: \"entry\" is 7, want an object, an array or null"}`, n))
		}
	}
	c.send(send...)
	c.want(want...)
}

// TestAt: a peer is told how far its filter has got once it has found nothing for a while, but only
// if it does not know already.
func TestAt(t *testing.T) {
	noLeaks(t)
	log := openFake(t)
	evens(t, log, 1, 5)
	s := New(log, Config{})
	s.atAfter = 50 * time.Millisecond
	c := startServer(t, s).dial()
	c.send(`{"from":2,"where":{"n":4}}`)
	c.want(append(found(4), current, `{"at":5}`)...)
	evens(t, log, 6, 8)
	c.want(`{"at":8}`)
	c.nc.SetReadDeadline(time.Now().Add(4 * s.atAfter))
	if line, err := c.r.ReadString('\n'); !isDeadline(err) {
		t.Fatalf("got %q, %v from an idle log", line, err)
	}
	c.nc.SetReadDeadline(time.Now().Add(patience))
	put(t, log, `{"n":4}`)
	c.want(`{"index":9,"entry":{"n":4}}`)
	evens(t, log, 10, 10)
	c.want(`{"at":10}`)

	// A read that has examined nothing has nothing to report.
	ahead := startServer(t, s).dial()
	ahead.send(`{"from":20,"where":{"n":4}}`)
	ahead.want(current)
	ahead.nc.SetReadDeadline(time.Now().Add(4 * s.atAfter))
	if line, err := ahead.r.ReadString('\n'); !isDeadline(err) {
		t.Fatalf("got %q, %v before the first entry", line, err)
	}
}

// endlessLog is a log of many equal entries. Appended entries are not among them.
type endlessLog struct {
	*fakeLog
	head  atomic.Uint64
	entry string
}

func (l *endlessLog) Head(context.Context) (uint64, error) { return l.head.Load(), nil }

func (l *endlessLog) Acked() (uint64, <-chan struct{}) {
	_, moved := l.fakeLog.Acked()
	return l.head.Load(), moved
}

func (l *endlessLog) Read(ctx context.Context, from, through uint64, fn readFunc) error {
	const count = 1000
	run := []byte(strings.Repeat(l.entry+"\n", count))
	for ; from <= through; from += count {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(count, int(through-from+1))
		if err := fn(from, n, run[:n*(len(l.entry)+1)], fakeTime(1), nil); err != nil {
			return err
		}
	}
	return nil
}

// newEndlessLog returns a log whose end no test reaches.
func newEndlessLog() *endlessLog {
	l := &endlessLog{fakeLog: newFakeLog(), entry: `{"kind":"b"}`}
	l.head.Store(1 << 40)
	return l
}

const endlessRead = `{"from":1,"where":{"kind":"a"}}`

// TestWhereAnswersMeanwhile: while a filter finds nothing, the connection's writes are answered and
// its peer is told how far the filter has got.
func TestWhereAnswersMeanwhile(t *testing.T) {
	noLeaks(t)
	s := New(newEndlessLog(), Config{})
	s.atAfter = 20 * time.Millisecond
	c := startServer(t, s).dial()
	c.send(endlessRead)
	told := 0
	at := func() {
		t.Helper()
		line := c.line()
		before := told
		if _, err := fmt.Sscanf(line, `{"at":%d}`, &told); err != nil || told <= before {
			t.Fatalf("got %s after %d", line, before)
		}
	}
	for n := 1; n <= 3; n++ {
		at()
		c.append(n, 1)
		for {
			if b, err := c.r.Peek(5); err != nil || string(b) != `{"at"` {
				break
			}
			at()
		}
		c.want(ack(n, n))
	}
	if stats := s.Stats(); stats.Replays != 1 || stats.MostBehind >= 1<<40-uint64(told)+1 {
		t.Errorf("stats are %+v after %d entries", stats, told)
	}
}

// TestWhereEnds: a filter that finds nothing stops when the server shuts down, and when the
// connection is gone.
func TestWhereEnds(t *testing.T) {
	for name, end := range map[string]func(h *host, c *client){
		"shutdown":       func(h *host, c *client) { h.shutdown(); c.r.ReadString('x') },
		"cut":            func(_ *host, c *client) { c.nc.Close() },
		"half, then cut": func(_ *host, c *client) { c.half(); c.nc.Close() },
		"invalid": func(_ *host, c *client) {
			c.send("x")
			line := c.line()
			for strings.HasPrefix(line, `{"at":`) { // of the time before
				line = c.line()
			}
			if line != `{"error":"invalid JSON"}` {
				c.t.Errorf("got %s", line)
			}
			c.wantEnd()
		},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			for _, following := range []bool{false, true} {
				log := newEndlessLog()
				if following {
					log.head.Store(0)
				}
				s := New(log, Config{})
				s.atAfter = 20 * time.Millisecond // writing is how a server finds out that its peer is gone
				h := startServer(t, s)
				c := h.dial()
				c.send(endlessRead)
				if following {
					c.want(current)
					log.head.Store(1 << 40)
					log.fakeLog.put(t, "[]") // to wake it
				}
				poll(t, "the read to begin", func() bool { s := h.Stats(); return s.Replays+s.Followers == 1 && s.Behind > 0 })
				end(h, c)
				poll(t, "the read to end", func() bool { s := h.Stats(); return s.Replays+s.Followers == 0 })
			}
		})
	}
}

// TestFiltersAreBounded: filters that peers keep count toward Config.MaxHeld. When memory is short,
// the connections that have kept theirs for longest are cut.
func TestFiltersAreBounded(t *testing.T) {
	noLeaks(t)
	const size, most, peers = 100 << 10, 1 << 20, 40
	log := openFake(t)
	h := start(t, log, Config{MaxHeld: most})
	read := fmt.Sprintf(`{"from":1%%s,"where":{"pad":"%s"}}`, strings.Repeat("x", size))
	var clients []*client
	for n := range peers {
		c := h.dial()
		clients = append(clients, c)
		c.send(fmt.Sprintf(read, ""))
		c.want(current)
		if got := h.memory.inUse(); got > most || got < min(int64(n+1)*size, most/3) {
			t.Fatalf("%d bytes are held by %d filters of %d, want %d at most", got, n+1, size, most)
		}
	}
	// The last ones are served, the first are not.
	evens(t, log, 1, 1)
	last := clients[peers-1]
	last.append(2, 1)
	last.want(ack(2, 2))
	if line, err := clients[0].r.ReadString('\n'); err == nil {
		t.Errorf("the first still has %s", line)
	}
	for _, c := range clients {
		c.nc.Close()
	}
	poll(t, "all memory to be free", func() bool { return h.memory.inUse() == 0 })

	// A read that has ended holds none.
	c := h.dial()
	for range 3 {
		c.send(fmt.Sprintf(read, `,"through":1`))
		c.want(head(2))
	}
	poll(t, "all memory to be free", func() bool { return h.memory.inUse() == 0 })
}
