package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestRepliesComeInTheOrderOfTheWrites(t *testing.T) {
	noLeaks(t)
	c := start(t, openDisk(t), Config{}).dial()
	var send, want []string
	index := 0
	for n := range 3000 {
		switch {
		case n%7 == 3:
			send = append(send, fmt.Sprintf(`{"id":"%d","entry":{"a":1,"a":2}}`, n))
			want = append(want, fmt.Sprintf(`{"id":"%d","error":"not stored: duplicate member \"a\" at byte 7 of the entry"}`, n))
		case n%11 == 5:
			send = append(send, fmt.Sprintf(`{"id":"%d","entry":["\ud800"]}`, n))
			want = append(want, fmt.Sprintf(`{"id":"%d","error":"not stored: lone surrogate at byte 2 of the entry"}`, n))
		default:
			index++
			send = append(send, fmt.Sprintf(`{"entry":[%d],"id":"%d"}`, n, n))
			want = append(want, ack(n, index))
		}
	}
	go c.send(send...)
	c.want(want...)
}

func TestRefusalsWaitForTheWritesBeforeThem(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	c := start(t, log, Config{}).dial()
	c.send(`{"from":1e9}`)
	c.want(current)
	c.append(1, 1)
	log.wait(t, 1)
	c.send(`{"id":"2","entry":{"a":1,"a":2}}`)
	c.send(`{"id":"3","entry":"text"}`, `{}`)
	// An error that is not a reply to a write does not wait: it comes first.
	c.send(`{"from":1}`)
	c.want(`{"error":"already reading"}`)
	poll(t, "the refusals to arrive at the log", func() bool { return log.calls() >= 2 })
	log.open()
	c.want(ack(1, 1))
	c.want(`{"id":"2","error":"not stored: duplicate member \"a\" at byte 7 of the entry"}`)
	c.want(`{"id":"3","error":"not stored: invalid message: \"entry\" is a string, want an object, an array or null"}`)
	c.want(notMessage)
}

func TestErrorsOfTheLogAnswerEachWriteInOrder(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	c := start(t, log, Config{}).dial()
	send := func(id int) { // two writes around one that is refused
		c.send(fmt.Sprintf(`{"id":"%d","entry":[]}`, id), fmt.Sprintf(`{"id":"%d","entry":{"a":1,"a":2}}`, id+1), fmt.Sprintf(`{"id":"%d","entry":null}`, id+2))
	}
	refused := func(id int) string {
		return fmt.Sprintf(`{"id":"%d","error":"not stored: duplicate member \"a\" at byte 7 of the entry"}`, id)
	}
	for round, test := range []struct {
		err  error
		text string
	}{
		{errors.New("not stored: disk full"), "not stored: disk full"},
		{nil, ""},
		{errors.New("outcome unknown: the sync of \"x\" failed"), `outcome unknown: the sync of \"x\" failed`},
		{errors.New("not stored: <\x01\xff>"), `not stored: <\u0001` + "\uFFFD>"},
	} {
		id := round * 3
		send(id)
		log.wait(t, 2)
		log.release(test.err)
		if test.err == nil {
			c.want(ack(id, 1), refused(id+1), ack(id+2, 2))
			continue
		}
		c.want(fmt.Sprintf(`{"id":"%d","error":"%s"}`, id, test.text), refused(id+1), fmt.Sprintf(`{"id":"%d","error":"%s"}`, id+2, test.text))
	}
}

func TestWritersOfManyConnections(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	h := start(t, log, Config{})
	const writers, each, burst = 8, 400, 20
	done := make(chan map[int]int, writers) // index → id
	for w := range writers {
		c := h.dial()
		go func() {
			got := make(map[int]int)
			defer func() { done <- got }()
			for n := 0; n < each; n += burst {
				c.append(w*each+n, burst)
				for i := range burst {
					var id, index int
					if _, err := fmt.Sscanf(c.line(), `{"id":"%d","index":%d}`, &id, &index); err != nil || id != w*each+n+i {
						t.Errorf("writer %d: got id %d and %v, want id %d", w, id, err, w*each+n+i)
						return
					}
					got[index] = id
				}
			}
		}()
	}
	ids := make(map[int]int)
	for range writers {
		for index, id := range <-done {
			ids[index] = id
		}
	}
	if len(ids) != writers*each {
		t.Fatalf("%d indices were acknowledged, want %d", len(ids), writers*each)
	}
	c := h.dial()
	c.send(fmt.Sprintf(`{"from":1,"read":%d}`, writers*each))
	for index := 1; index <= writers*each; index++ {
		c.want(entry(ids[index], index))
	}
	c.want(head(writers * each))
}

// All connections together have no more than MaxInFlight bytes of entries under way,
// unless one alone has more, and none of them is forgotten.
func TestMaxInFlight(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	const limit, writers = 1000, 6
	h := start(t, log, Config{MaxInFlight: limit})
	entry := `["` + strings.Repeat("x", 395) + `"]` // 400 bytes with its newline: two fit
	for round := range 3 {
		var clients []*client
		for range writers {
			c := h.dial()
			c.send(`{"id":"1","entry":` + entry + `}`)
			clients = append(clients, c)
		}
		for stored := 0; stored < writers; stored += 2 {
			log.wait(t, 2)
			if n := log.pending(); n != 2 {
				t.Fatalf("%d entries are under way, want 2", n)
			}
			log.release(nil)
		}
		for _, c := range clients {
			if line := c.line(); !ackLine.MatchString(line) {
				t.Fatalf("round %d: got %s", round, line)
			}
			c.nc.Close()
		}
	}
	c := h.dial()
	c.send(`{"id":"1","entry":["` + strings.Repeat("x", 5*limit) + `"]}`)
	log.wait(t, 1)
	log.open()
	c.want(ack(1, 3*writers+1))
}

// TestWriteThatFillsAGroup: a write that is larger than a group collects, or fills one,
// has one reply, like any other.
func TestWriteThatFillsAGroup(t *testing.T) {
	noLeaks(t)
	c := start(t, openDisk(t), Config{}).dial()
	small := `{"id":"1","entry":["` + strings.Repeat("x", 100_000) + `"]}`
	large := `{"id":"2","entry":["` + strings.Repeat("x", 3*groupMax) + `"]}`
	var send, want []string
	for range 10 {
		send = append(send, small, small, large, small)
		for _, n := range []int{1, 1, 2, 1} {
			want = append(want, ack(n, len(want)+1))
		}
	}
	go c.send(send...)
	c.want(want...)
	c.send(`{}`)
	c.want(notMessage)
}
