package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
)

// hashOf returns the hash of an entry, as a receipt has it.
func hashOf(canonical string) string {
	sum := blake3.Sum256([]byte(canonical))
	return hex.EncodeToString(sum[:])
}

// receiptOf returns the end of a reply with the receipt of an entry of a fakeLog.
func receiptOf(index uint64, entry string) string {
	return `"hash":"` + hashOf(entry) + `","time":` + string(appendTime(nil, fakeTime(index))) + "}"
}

const refusedTwice = `,"error":"not stored: duplicate member \"a\" at byte 7 of the entry"}`

// TestSafeWrites: the results of writes with conditions, batches and receipts, sent one by one
// and all at once, to a log with one entry, {"old":true}.
func TestSafeWrites(t *testing.T) {
	type exchange struct{ send, want string }
	for _, test := range []struct {
		name   string
		sends  []exchange
		stored []string // after {"old":true}
	}{
		{"if", []exchange{
			{`{"id":"1","entry":[1],"if":1}`, ack(1, 2)},
			{`{"id":"2","entry":[2],"if":1}`, `{"id":"2","error":"not stored: the head is 2, not 1","head":2}`},
			{`{"if":2e0,"id":"3","entry":[3]}`, ack(3, 3)},
			{`{"if":-0,"id":"4","entry":[4]}`, `{"id":"4","error":"not stored: the head is 3, not 0","head":3}`},
			{`{"if":1e300,"id":"5","entry":[5]}`, `{"id":"5","error":"not stored: the head is 3, not 9223372036854775807","head":3}`},
		}, []string{`[1]`, `[3]`}},
		{"if among plain writes counts those before it", []exchange{
			{`{"id":"1","entry":[1]}`, ack(1, 2)},
			{`{"id":"2","entry":[2]}`, ack(2, 3)},
			{`{"id":"3","entry":{"a":1,"a":1},"if":3}`, `{"id":"3"` + refusedTwice},
			{`{"id":"4","entry":[4],"if":3}`, ack(4, 4)},
			{`{"id":"5","entry":[5]}`, ack(5, 5)},
			{`{"id":"6","entry":[6],"if":4}`, `{"id":"6","error":"not stored: the head is 5, not 4","head":5}`},
			{`{"id":"7","entry":[7]}`, ack(7, 6)},
			{`{"id":"8","entry":[8],"if":6}`, ack(8, 7)},
			{`{"id":"9","entry":[9],"if":7}`, ack(9, 8)},
		}, []string{`[1]`, `[2]`, `[4]`, `[5]`, `[7]`, `[8]`, `[9]`}},
		{"once", []exchange{
			{`{"id":"1","entry":{"old":true},"once":true}`, `{"id":"1","index":1,"seen":true}`},
			{`{"id":"2","entry":{"b":1,"a":1.0},"once":true}`, ack(2, 2)},
			{`{"id":"3","entry":{"a":1,"b":1e0},"once":true}`, `{"id":"3","index":2,"seen":true}`},
			{`{"id":"4","entry":{"a":1,"a":1},"once":true}`, `{"id":"4"` + refusedTwice},
			{`{"id":"5","entry":[5],"once":true}`, ack(5, 3)},
			{`{"id":"6","entry":{"a":1,"b":1},"once":false}`, ack(6, 4)},
			{`{"id":"7","entry":{"a":1,"b":1},"once":true}`, `{"id":"7","index":2,"seen":true}`},
			{`{"id":"8","entry":[8]}`, ack(8, 5)},
			{`{"id":"9","entry":[8],"once":true}`, `{"id":"9","index":5,"seen":true}`},
		}, []string{`{"a":1,"b":1}`, `[5]`, `{"a":1,"b":1}`, `[8]`}},
		{"entries", []exchange{
			{`{"id":"1","entries":[{"b":1,"a":1}]}`, `{"id":"1","index":2,"count":1}`},
			{`{"id":"2","entries":[ [1] ,null, {} ]}`, `{"id":"2","index":3,"count":3}`},
			{`{"id":"3","entries":[[3],{"a":1,"a":1},["\ud800"]]}`, `{"id":"3","error":"not stored: entry 2 of 3: duplicate member \"a\" at byte 7 of the entry"}`},
			{`{"id":"4","entries":[[3],7,"text"]}`, `{"id":"4","error":"not stored: entry 2 of 3: it is 7, want an object, an array or null"}`},
			{`{"id":"5","entries":[[5],[5]],"if":5}`, `{"id":"5","index":6,"count":2}`},
			{`{"id":"6","entries":[[6],[6]],"if":6}`, `{"id":"6","error":"not stored: the head is 7, not 6","head":7}`},
			{`{"id":"7","entry":[7]}`, ack(7, 8)},
			{`{"id":"8","entries":[[8]],"once":false}`, `{"id":"8","index":9,"count":1}`},
		}, []string{`{"a":1,"b":1}`, `[1]`, `null`, `{}`, `[5]`, `[5]`, `[7]`, `[8]`}},
		{"receipts", []exchange{
			{`{"id":"1","entry":{"b":1,"a":1},"receipt":true}`, `{"id":"1","index":2,` + receiptOf(2, `{"a":1,"b":1}`)},
			{`{"id":"2","entry":[2]}`, ack(2, 3)},
			{`{"id":"3","entry":{"a":1,"a":1},"receipt":true}`, `{"id":"3"` + refusedTwice},
			{`{"id":"4","entry":[4],"receipt":true,"if":3}`, `{"id":"4","index":4,` + receiptOf(4, `[4]`)},
			{`{"id":"5","entry":[5],"receipt":true,"if":3}`, `{"id":"5","error":"not stored: the head is 4, not 3","head":4}`},
			{`{"id":"6","entry":{"old":true},"once":true,"receipt":true}`, `{"id":"6","index":1,"seen":true,` + receiptOf(1, `{"old":true}`)},
			{`{"id":"7","entry":[2],"once":true}`, `{"id":"7","index":3,"seen":true}`},
			{`{"id":"8","entry":[8],"once":true,"receipt":true}`, `{"id":"8","index":5,` + receiptOf(5, `[8]`)},
			{`{"id":"9","entry":[9],"receipt":false}`, ack(9, 6)},
			{`{"id":"10","entries":[[10],{}],"receipt":true}`, `{"id":"10","index":7,"count":2,"hashes":["` + hashOf(`[10]`) + `","` + hashOf(`{}`) + `"],"time":` + string(appendTime(nil, fakeTime(7))) + `}`},
		}, []string{`{"a":1,"b":1}`, `[2]`, `[4]`, `[8]`, `[9]`, `[10]`, `{}`}},
	} {
		for _, apart := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, apart %v", test.name, apart), func(t *testing.T) {
				noLeaks(t)
				log := newFakeLog()
				log.put(t, `{"old":true}`)
				c := start(t, log, Config{}).dial()
				var sends, wants []string
				for _, e := range test.sends {
					if apart {
						c.send(e.send)
						c.want(e.want)
					}
					sends, wants = append(sends, e.send), append(wants, e.want)
				}
				if !apart {
					c.send(sends...)
					c.want(wants...)
				}
				c.half()
				c.wantEnd()
				var stored []string
				for _, e := range log.entries[1:] {
					stored = append(stored, string(e))
				}
				if got, want := strings.Join(stored, "\n"), strings.Join(test.stored, "\n"); got != want {
					t.Errorf("the log holds\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

// TestBatchLimit: the entries of one write have a common limit, and members that have a meaning
// only in a write are ignored in a read.
func TestBatchLimit(t *testing.T) {
	noLeaks(t)
	c := start(t, openFake(t), Config{MaxEntry: 100}).dial()
	batch := func(n int) string { return `{"id":"x","entries":[["` + strings.Repeat("x", n) + `"],[],{}]}` }
	c.send(batch(90))
	c.want(`{"id":"x","error":"not stored: the entries are 101 bytes long together, over the limit of 100"}`)
	c.send(batch(89))
	c.want(`{"id":"x","index":1,"count":3}`)
	for _, read := range []string{`"if":-1,"if":-1`, `"once":1`, `"receipt":[]`} {
		c.send(`{"from":1,"read":1,"id":7,` + read + `}`)
		c.want(`{"index":1,"entry":["`+strings.Repeat("x", 89)+`"]}`, head(3))
	}
}

// waitingLog is a log that cannot tell yet which entries it holds.
type waitingLog struct {
	*fakeLog
	known   chan struct{} // closed once it can
	waiting atomic.Int64  // calls of AwaitOnce that wait
	fails   error
}

func (l *waitingLog) AwaitOnce(ctx context.Context) error {
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	select {
	case <-l.known:
		return l.fails
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestOnceWaits: a write with "once" waits until the log can tell which entries it holds.
// Messages sent before it do not wait, those after it do, and other connections do not.
func TestOnceWaits(t *testing.T) {
	noLeaks(t)
	log := &waitingLog{fakeLog: newFakeLog(), known: make(chan struct{})}
	h := start(t, log, Config{})
	c, other := h.dial(), h.dial()
	c.send(`{"id":"1","entry":{"n":1}}`, `{"id":"2","entry":{"n":1},"once":true}`, `{"id":"3","entry":[],"once":true}`)
	c.want(ack(1, 1))
	poll(t, "the write to wait", func() bool { return log.waiting.Load() == 1 })
	other.append(4, 1)
	other.want(ack(4, 2))
	c.send(`{"id":"5","entry":{"n":5}}`)
	c.half()
	close(log.known)
	c.want(`{"id":"2","index":1,"seen":true}`, ack(3, 3), ack(5, 4))
	c.wantEnd()
}

// TestReadBeforeOnceWaits: a read that comes before a waiting write continues.
func TestReadBeforeOnceWaits(t *testing.T) {
	noLeaks(t)
	log := &waitingLog{fakeLog: newFakeLog(), known: make(chan struct{})}
	log.put(t, `{"n":1}`)
	c := start(t, log, Config{}).dial()
	c.send(`{"from":1}`, `{"id":"2","entry":{"n":1},"once":true}`)
	c.want(entry(1, 1), current)
	log.put(t, `{"n":2}`)
	c.want(entry(2, 2))
	close(log.known)
	c.want(`{"id":"2","index":1,"seen":true}`)
}

// TestReadBeforeOnceWaitsAgain: the same if the log could tell before, and has to look again.
func TestReadBeforeOnceWaitsAgain(t *testing.T) {
	noLeaks(t)
	log := &forgetfulLog{fakeLog: newFakeLog()}
	log.put(t, `{"n":1}`)
	c := start(t, log, Config{}).dial()
	c.send(`{"id":"1","entry":{"n":1},"once":true}`)
	c.want(`{"id":"1","index":1,"seen":true}`)
	again := &waitingLog{fakeLog: log.fakeLog, known: make(chan struct{})}
	log.now.Store(again)
	c.send(`{"last":1}`, `{"id":"2","entry":{"n":1},"once":true}`)
	c.want(entry(1, 1), current)
	close(again.known)
	c.want(`{"id":"2","index":1,"seen":true}`)
}

// forgetfulLog is a log that can tell which entries it holds until it is told otherwise.
type forgetfulLog struct {
	*fakeLog
	now atomic.Pointer[waitingLog]
}

func (l *forgetfulLog) AwaitOnce(ctx context.Context) error {
	if now := l.now.Load(); now != nil {
		return now.AwaitOnce(ctx)
	}
	return nil
}

// TestOnceCannot: the log's error refuses the writes that need to know, and no others.
func TestOnceCannot(t *testing.T) {
	noLeaks(t)
	log := &waitingLog{fakeLog: newFakeLog(), known: make(chan struct{}), fails: errors.New("not stored: the lookup /var/lib/log/lookup is unreadable")}
	close(log.known)
	h := start(t, log, Config{})
	c := h.dial()
	c.send(`{"id":"1","entry":[1],"once":true,"receipt":true}`, `{"id":"2","entry":{"a":1,"a":1}}`, `{"id":"3","entry":[3],"once":true}`, `{"id":"4","entry":[4],"receipt":true}`)
	refused := `,"error":"not stored: the lookup lookup is unreadable"}`
	c.want(`{"id":"1"`+refused, `{"id":"2"`+refusedTwice, `{"id":"3"`+refused, `{"id":"4","index":1,`+receiptOf(1, `[4]`))
	if n := h.Stats().Errors.Unstored; n != 2 {
		t.Errorf("%d entries count as not stored, want 2", n)
	}
}

// TestShutdownWhileOnceWaits: a waiting write does not delay a shutdown: it is refused, and
// earlier writes are acknowledged.
func TestShutdownWhileOnceWaits(t *testing.T) {
	noLeaks(t)
	log := &waitingLog{fakeLog: newFakeLog(), known: make(chan struct{})}
	h := start(t, log, Config{})
	c, gone := h.dial(), h.dial()
	c.send(`{"id":"1","entry":{"n":1}}`, `{"id":"2","entry":[],"once":true}`, `{"id":"3","entry":[],"once":true}`)
	c.want(ack(1, 1))
	gone.send(`{"id":"1","entry":[],"once":true}`)
	poll(t, "the writes to wait", func() bool { return log.waiting.Load() == 2 })
	h.mu.Lock()
	for conn := range h.conns {
		if conn.raw.RemoteAddr().String() == gone.nc.LocalAddr().String() {
			conn.cut(errors.New("cut by the test"))
		}
	}
	h.mu.Unlock()
	poll(t, "the connection that was cut to end", func() bool { return log.waiting.Load() == 1 })
	h.shutdown()
	const stopping = `,"error":"not stored: the server is shutting down"}`
	c.want(`{"id":"2"`+stopping, `{"id":"3"`+stopping)
	c.wantEnd()
	if head, _ := log.Head(t.Context()); head != 1 {
		t.Errorf("the head is %d, want 1", head)
	}
}

// onceFails is a log that knows which entries it holds but cannot store anything.
type onceFails struct{ *fakeLog }

func (l onceFails) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.fakeLog.Append(entries, count, on, func(stored appends.Result, err error) {
		for i, p := range stored.Once {
			if !p.Seen {
				stored.Once[i], err = appends.Place{}, errors.New("outcome unknown: the sync failed")
			}
		}
		done(stored, err)
	})
}

// TestSeenWhateverTheError: entries that the log holds are acknowledged even though it can store
// no more.
func TestSeenWhateverTheError(t *testing.T) {
	noLeaks(t)
	log := onceFails{newFakeLog()}
	log.put(t, `{"n":1}`)
	h := start(t, log, Config{})
	c := h.dial()
	c.send(`{"id":"1","entry":[1],"once":true,"receipt":true}`, `{"id":"2","entry":{"n":1},"once":true}`, `{"id":"3","entry":{"n":1},"once":true,"receipt":true}`, `{"id":"4","entry":[4],"once":true}`)
	unknown := `,"error":"outcome unknown: the sync failed"}`
	c.want(`{"id":"1"`+unknown, `{"id":"2","index":1,"seen":true}`, `{"id":"3","index":1,"seen":true,`+receiptOf(1, `{"n":1}`), `{"id":"4"`+unknown)
	if n := h.Stats().Errors.Unstored; n != 2 {
		t.Errorf("%d entries count as not stored, want 2", n)
	}
}
