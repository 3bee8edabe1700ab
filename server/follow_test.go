package server

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
)

func TestWriteJustBeforeARead(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	c := start(t, log, Config{}).dial()
	// The write is not yet in the log when the read is parsed.
	c.send(`{"id":"1","entry":{"n":1}}`, `{"from":1}`)
	c.want(current)
	log.wait(t, 1)
	log.release(nil)
	c.want(ack(1, 1), entry(1, 1))
}

// A write that arrives together with a read is beyond its snapshot, however quick the log
// is.
func TestWriteThatArrivesWithARead(t *testing.T) {
	noLeaks(t)
	for name, log := range map[string]Log{"fake": newFakeLog(), "disk": openEngine(t, engine.NewConfig(t.TempDir()))} {
		h := start(t, log, Config{})
		for n := 1; n <= 50; n++ {
			c := h.dial()
			c.send(fmt.Sprintf(`{"id":"%d","entry":{"n":%d}}`, n, n), fmt.Sprintf(`{"from":%d}`, n))
			if t.Failed() {
				t.Fatal(name)
			}
			c.want(current, ack(n, n), entry(n, n))
		}
	}
}

func TestErrorsGoBeforeTheFirstStreamedLine(t *testing.T) {
	noLeaks(t)
	log := openFake(t)
	put(t, log, `{"n":1}`, `{"n":2}`)
	h := start(t, log, Config{})
	send, want := []string{`{"from":1}`}, []string(nil)
	for range 200 { // all of it fits one packet and the server's first buffer
		send = append(send, `{"from":2}`)
		want = append(want, `{"error":"already reading"}`)
	}
	for range 20 {
		c := h.dial()
		c.send(send...)
		c.want(want...)
		c.want(entry(1, 1), entry(2, 2), current)
	}
}

// A log's head may be ahead of its completions: the entry still comes after its reply.
func TestReadWhoseSnapshotIsNotYetAcknowledged(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	c := start(t, log, Config{}).dial()
	c.append(1, 1)
	log.wait(t, 1)
	log.gate = make(chan struct{})
	released := make(chan struct{})
	go func() { defer close(released); log.open() }()
	poll(t, "the head to move", func() bool { head, _ := log.Head(t.Context()); return head == 1 })
	c.send(`{"from":1}`)
	c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if line, err := c.r.ReadString('\n'); !isDeadline(err) {
		t.Fatalf("got %q, %v before the write was acknowledged", line, err)
	}
	c.nc.SetReadDeadline(time.Now().Add(patience))
	close(log.gate)
	c.want(ack(1, 1), entry(1, 1), current)
	<-released
}

func TestAcksAndEntriesInIndexOrderWhileFollowing(t *testing.T) {
	noLeaks(t)
	c := start(t, openDisk(t), Config{}).dial()
	c.send(`{"from":1}`)
	c.want(current)
	for n := 1; n <= 20; n++ {
		c.append(n, 1)
		c.want(ack(n, n), entry(n, n))
	}
	c.append(21, 980) // in one write
	for n := 21; n <= 1000; n++ {
		c.want(ack(n, n), entry(n, n))
	}
}

func TestRefusalsWhileFollowing(t *testing.T) {
	noLeaks(t)
	c := start(t, openDisk(t), Config{}).dial()
	c.send(`{"from":1}`)
	c.want(current)
	c.send(`{"id":"1","entry":{"n":1}}`, `{"id":"x","entry":{"a":0,"a":0}}`, `{"id":"2","entry":{"n":2}}`)
	c.want(ack(1, 1), entry(1, 1), `{"id":"x","error":"not stored: duplicate member \"a\" at byte 7 of the entry"}`, ack(2, 2), entry(2, 2))
}

func TestOtherWritersMixIn(t *testing.T) {
	noLeaks(t)
	h := start(t, openDisk(t), Config{})
	const own, others, each = 300, 3, 300
	c := h.dial()
	c.send(`{"from":1}`)
	c.want(current)
	var writers sync.WaitGroup
	defer writers.Wait() // entries may be streamed before the others have their replies
	for w := range others {
		other := h.dial()
		writers.Go(func() {
			for n := 0; n < each; n += 30 {
				other.append(1000*(w+1)+n, 30)
				for range 30 {
					other.line()
				}
			}
		})
	}
	writers.Go(func() {
		for n := 0; n < own; n += 10 {
			c.append(n, 10)
		}
	})
	index, nextID, acked := 0, 0, make(map[int]int)
	for index < own+others*each || nextID < own {
		line := c.line()
		var id, at, n int
		if _, err := fmt.Sscanf(line, `{"id":"%d","index":%d}`, &id, &at); err == nil {
			if id != nextID || at != index+1 {
				t.Fatalf("%s comes after entry %d and the ack of id %d: want it right before its entry", line, index, nextID-1)
			}
			acked[at] = id
			nextID++
			continue
		}
		if _, err := fmt.Sscanf(line, `{"index":%d,"entry":{"n":%d}}`, &at, &n); err != nil || at != index+1 {
			t.Fatalf("%s comes after entry %d: %v", line, index, err)
		}
		index = at
		if id, ok := acked[at]; n < 1000 && (!ok || id != n) {
			t.Fatalf("%s comes before its ack", line)
		}
	}
}

func TestFollowFromBeyondTheHead(t *testing.T) {
	noLeaks(t)
	log := openFake(t)
	put(t, log, `{"n":1}`)
	h := start(t, log, Config{})
	c, own := h.dial(), h.dial()
	c.send(`{"from":4}`)
	own.send(`{"from":4,"read":2}`)
	c.want(current)
	own.want(current)
	own.append(2, 1)
	own.want(ack(2, 2)) // without its entry
	own.append(3, 3)
	own.want(ack(3, 3), ack(4, 4), entry(4, 4), ack(5, 5), entry(5, 5), head(5))
	c.want(entry(4, 4), entry(5, 5))
}

func TestUnreadableEntries(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.unreadable = map[uint64]error{3: fmt.Errorf("damaged at %q", "x\n"), 4: fmt.Errorf("lost"), 7: fmt.Errorf("later")}
	log.run = 2
	for n := 1; n <= 5; n++ {
		log.put(t, fmt.Sprintf(`{"n":%d}`, n))
	}
	h := start(t, log, Config{})
	c, bounded := h.dial(), h.dial()
	history := []string{entry(1, 1), entry(2, 2), `{"index":3,"error":"damaged at \"x\\n\""}`, `{"index":4,"error":"lost"}`, entry(5, 5)}
	c.send(`{"from":1}`)
	c.want(append(history, current)...)
	bounded.send(`{"from":3,"read":2}`)
	bounded.want(history[2], history[3], head(5))
	c.append(6, 3)
	c.want(ack(6, 6), entry(6, 6), ack(7, 7), `{"index":7,"error":"later"}`, ack(8, 8), entry(8, 8))
}

func TestEntriesAreReadBackInCanonicalForm(t *testing.T) {
	noLeaks(t)
	c := start(t, openDisk(t), Config{}).dial()
	c.send(`{"from":1}`)
	c.want(current)
	c.send(`{ "entry" : { "z" : 1.0 , "a" : [ 1e2 , "\u0041\/" , 1e400 ] } , "id" : "\u0061\/" }`)
	// The id comes back as it was written, the entry in its one form.
	c.want(`{"id":"\u0061\/","index":1}`, `{"index":1,"entry":{"a":[100,"A/",1e+400],"z":1}}`)
	long := strings.Repeat("é", 200_000)
	c.send(`{"id":"long","entry":["` + long + `"]}`)
	c.want(`{"id":"long","index":2}`, `{"index":2,"entry":["`+long+`"]}`)
}
