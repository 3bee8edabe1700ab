package server

import (
	"fmt"
	"math"
	"testing"
)

func TestBoundedReads(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	for n := 1; n <= 5; n++ {
		log.put(t, fmt.Sprintf(`{"n":%d}`, n))
	}
	h := start(t, log, Config{})
	// With a head of 5: the lines before and after three more entries.
	for _, test := range []struct {
		read          string
		before, after []string
	}{
		{`{"from":1,"read":1}`, []string{entry(1, 1), head(5)}, nil},
		{`{"from":2,"read":3}`, []string{entry(2, 2), entry(3, 3), entry(4, 4), head(5)}, nil},
		{`{"from":5,"read":1}`, []string{entry(5, 5), head(5)}, nil},
		{`{"from":4,"read":2}`, []string{entry(4, 4), entry(5, 5), head(5)}, nil},
		{`{"from":4,"read":3}`, []string{entry(4, 4), entry(5, 5), current}, []string{entry(6, 6), head(8)}},
		{`{"from":4,"read":5}`, []string{entry(4, 4), entry(5, 5), current}, []string{entry(6, 6), entry(7, 7), entry(8, 8), head(8)}},
		{`{"from":5,"read":9}`, []string{entry(5, 5), current}, []string{entry(6, 6), entry(7, 7), entry(8, 8)}},
		{`{"from":6,"read":1}`, []string{current}, []string{entry(6, 6), head(8)}},
		{`{"from":7,"read":1}`, []string{current}, []string{entry(7, 7), head(8)}},
		{`{"from":9,"read":1}`, []string{current}, nil},
		{fmt.Sprintf(`{"from":1,"read":%d}`, uint64(math.MaxUint64)), []string{entry(1, 1), entry(2, 2), entry(3, 3), entry(4, 4), entry(5, 5), current}, []string{entry(6, 6), entry(7, 7), entry(8, 8)}},
		{`{"from":1e300,"read":1e300}`, []string{current}, nil},
	} {
		t.Run(test.read, func(t *testing.T) {
			log.mu.Lock()
			log.entries, log.acked = log.entries[:5], 5
			log.mu.Unlock()
			c := h.dial()
			defer c.nc.Close()
			c.send(test.read)
			c.want(test.before...)
			log.put(t, `{"n":6}`, `{"n":7}`, `{"n":8}`)
			c.want(test.after...)
			c.half()
			c.wantEnd()
		})
	}
}

func TestReadAgainAfterTheHead(t *testing.T) {
	noLeaks(t)
	h := start(t, openDisk(t), Config{})
	c := h.dial()
	const entries, size = 1000, 7
	c.append(1, entries)
	for n := 1; n <= entries; n++ {
		c.want(ack(n, n))
	}
	// Pull it all, like a client that wants no more than it can take.
	next := 1
	for ; next+size-1 <= entries; next += size {
		c.send(fmt.Sprintf(`{"from":%d,"read":%d}`, next, size))
		for n := next; n < next+size; n++ {
			c.want(entry(n, n))
		}
		c.want(head(entries))
	}
	// The last one goes beyond the head, and ends once there is more.
	c.send(fmt.Sprintf(`{"from":%d,"read":%d}`, next, size))
	for n := next; n <= entries; n++ {
		c.want(entry(n, n))
	}
	c.want(current)
	c.send(`{"from":1}`)
	c.want(`{"error":"already reading"}`)
	for n := entries + 1; n < next+size; n++ {
		c.append(n, 1)
		c.want(ack(n, n), entry(n, n))
	}
	c.want(head(next + size - 1))
	// A read that streams may follow one that was bounded.
	c.send(fmt.Sprintf(`{"from":%d}`, next+size-1))
	c.want(entry(next+size-1, next+size-1), current)
}

func TestHeadIsThatOfTheMoment(t *testing.T) {
	noLeaks(t)
	h := start(t, openDisk(t), Config{})
	c := h.dial()
	c.send(`{"from":2,"read":2}`)
	c.want(current)
	c.append(1, 10) // one batch: the head is beyond the read's last entry
	c.want(ack(1, 1), ack(2, 2), entry(2, 2), ack(3, 3), entry(3, 3), head(10))
	for n := 4; n <= 10; n++ {
		c.want(ack(n, n))
	}
}
