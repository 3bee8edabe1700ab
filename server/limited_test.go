package server

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/appends"
)

// limitedFake is a log that takes few bytes at once.
type limitedFake struct {
	*fakeLog
	max int

	mu     sync.Mutex
	counts []int // of the appends
}

func (l *limitedFake) MaxAppend() int { return l.max }

func (l *limitedFake) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	if len(entries) > l.max {
		done(appends.Result{}, fmt.Errorf("not stored: %d bytes are over the limit of %d", len(entries), l.max))
		return
	}
	l.mu.Lock()
	l.counts = append(l.counts, count)
	l.mu.Unlock()
	l.fakeLog.Append(entries, count, on, done)
}

func (l *limitedFake) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Append(entries, count, on, done)
}

// TestLimitOfAnAppend: if the log takes less at once than the server would, its limit applies to
// entries and batches, and writes that arrive together are divided.
func TestLimitOfAnAppend(t *testing.T) {
	noLeaks(t)
	log := &limitedFake{fakeLog: newFakeLog(), max: 40}
	h := start(t, log, Config{})
	c := h.dial()
	c.send(`{"stat":true}`)
	if got := c.line(); !strings.HasSuffix(got, `,"max_entry":39,"max_batch":40}}`) {
		t.Errorf("got %s", got)
	}
	array := func(size int) string { return `["` + strings.Repeat("x", size-4) + `"]` } // of that many bytes
	c.send(`{"id":"1","entry":`+array(39)+`}`, `{"id":"2","entry":`+array(40)+`}`,
		`{"id":"3","entries":[`+array(19)+`,`+array(19)+`]}`, `{"id":"4","entries":[`+array(20)+`,`+array(19)+`]}`)
	c.want(`{"id":"1","index":1}`, `{"id":"2","error":"not stored: the entry is 40 bytes long, over the limit of 39"}`,
		`{"id":"3","index":2,"count":2}`, `{"id":"4","error":"not stored: the entries are 41 bytes long together, over the limit of 40"}`)
	log.counts = nil
	c.append(10, 9) // of 9 bytes each with its newline, and the last of 9 too
	for n := range 9 {
		c.want(ack(10+n, 4+n))
	}
	if got := fmt.Sprint(log.counts); got != "[4 4 1]" {
		t.Errorf("9 entries of 9 bytes went to the log as %s", got)
	}
	var once strings.Builder
	for n := range 6 {
		fmt.Fprintf(&once, `{"id":"%d","entry":{"o":%d},"once":true}`+"\n", n, n%4)
	}
	c.write(once.String())
	for n := range 4 {
		c.want(ack(n, 13+n))
	}
	c.want(`{"id":"4","index":13,"seen":true}`, `{"id":"5","index":14,"seen":true}`)

	small := start(t, &limitedFake{fakeLog: newFakeLog(), max: 1000}, Config{MaxEntry: 100})
	if got := small.Capabilities(); got.MaxEntry != 100 || got.MaxBatch != 100 {
		t.Errorf("the server's own limits are lower, but it tells %d and %d", got.MaxEntry, got.MaxBatch)
	}
}

// TestLimitOfGatheredWrites: the same for connections that are read together.
func TestLimitOfGatheredWrites(t *testing.T) {
	skipWithoutGatherer(t)
	noLeaks(t)
	handOffAtOnce(t)
	log := &limitedFake{fakeLog: newFakeLog(), max: 40}
	h := start(t, log, Config{})
	clients := h.dialHandedOff(2)
	c, index := clients[0], 3
	for _, count := range []int{1, 3, 40, 2, 500} {
		c.append(100, count)
		for n := range count {
			c.want(ack(100+n, index))
			index++
		}
	}
}
