package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestHalfCloseWithPendingWrites(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	c := start(t, log, Config{}).dial()
	c.append(1, 3)
	c.write(`{"id":"4","entry":{"n":4}}`) // without a newline: it ends with the input
	c.half()
	log.wait(t, 4)
	log.open()
	c.want(ack(1, 1), ack(2, 2), ack(3, 3), ack(4, 4))
	c.wantEnd()
}

func TestHalfCloseWithAReplayRunning(t *testing.T) {
	noLeaks(t)
	log := openMemory(t)
	h := start(t, log, Config{})
	const entries = 20_000
	fill(t, log, entries, 1000)
	for _, read := range []string{`{"from":1}`, fmt.Sprintf(`{"from":1,"read":%d}`, entries+5)} {
		c := h.dial()
		c.send(read)
		c.half()
		for n := 1; n <= entries; n++ {
			if line := c.line(); !strings.HasPrefix(line, fmt.Sprintf(`{"index":%d,"entry":{"n":%d,`, n, n)) {
				t.Fatalf("got %.100s, want entry %d", line, n)
			}
		}
		c.want(current)
		c.wantEnd()
	}
}

func TestHalfCloseWhileFollowing(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	h := start(t, log, Config{})
	c := h.dial()
	c.send(`{"from":1}`)
	c.want(current)
	log.hold()
	c.append(1, 1)
	c.half()
	log.wait(t, 1)
	log.open()
	c.want(ack(1, 1), entry(1, 1))
	c.wantEnd()
}

func TestInvalidJSONAfterAcceptedWrites(t *testing.T) {
	noLeaks(t)
	h := start(t, openDisk(t), Config{})
	// Input after the invalid line is not examined, but if left unread it must not cost
	// the client any lines sent to it.
	for _, rest := range []string{"", "x", strings.Repeat("{\"id\":\"late\",\"entry\":[]}\n", 200_000)} {
		c := h.dial()
		head, _ := h.log.Head(t.Context())
		sent := make(chan error, 1)
		go func() {
			c.append(1, 100)
			_, err := io.WriteString(c.nc, "{\"id\":\"bad\",\"entry\":[}\n"+rest)
			sent <- err
		}()
		for n := 1; n <= 100; n++ {
			c.want(ack(n, int(head)+n))
		}
		c.want(`{"error":"invalid JSON"}`)
		c.wantEnd()
		if err := <-sent; err != nil {
			t.Errorf("the connection was reset: %v", err)
		}
		c.nc.Close()
		if now, _ := h.log.Head(t.Context()); now != head+100 {
			t.Errorf("the head is %d, want %d", now, head+100)
		}
	}
}

func TestInvalidJSONWaitsForTheAcks(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	c := start(t, log, Config{}).dial()
	c.send(`{"from":1}`)
	c.want(current)
	c.send(`{"id":"1","entry":{"n":1}}`, `oops`)
	log.wait(t, 1)
	log.open()
	if line := c.line(); line != ack(1, 1) {
		t.Fatalf("got %s, want the ack", line)
	}
	line := c.line()
	if line == entry(1, 1) { // a follower may get it before the error
		line = c.line()
	}
	if line != `{"error":"invalid JSON"}` {
		t.Errorf("got %s, want the error", line)
	}
	c.wantEnd()
}

func TestMaxConnections(t *testing.T) {
	noLeaks(t)
	h := start(t, openFake(t), Config{MaxConnections: 2})
	a, b := h.dial(), h.dial()
	poll(t, "two connections", func() bool { return h.Connections() == 2 })
	c := h.dial()
	c.want(`{"error":"too many connections"}`)
	c.wantEnd()
	a.half()
	a.wantEnd()
	poll(t, "one connection", func() bool { return h.Connections() == 1 })
	d := h.dial()
	d.append(1, 1)
	d.want(ack(1, 1))
	b.append(2, 1)
	b.want(ack(2, 2))
}

func TestShutdownAcknowledgesWhatWasAccepted(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	h := start(t, log, Config{})
	writer, follower, idle := h.dial(), h.dial(), h.dial()
	follower.send(`{"from":1}`)
	follower.want(current)
	poll(t, "three connections", func() bool { return h.Connections() == 3 })
	writer.append(1, 5)
	log.wait(t, 5)
	done := make(chan struct{})
	go func() { defer close(done); h.shutdown() }()
	idle.wantEnd()
	if _, err := net.Dial("tcp", h.addr); err == nil {
		t.Error("a connection was accepted during Shutdown")
	}
	select {
	case <-done:
		t.Error("Shutdown did not wait for the writes")
	default:
	}
	log.open()
	writer.want(ack(1, 1), ack(2, 2), ack(3, 3), ack(4, 4), ack(5, 5))
	writer.wantEnd()
	if rest, err := io.ReadAll(follower.r); err != nil {
		t.Errorf("the follower got %q, %v", rest, err)
	}
	for _, c := range []*client{writer, follower, idle} {
		c.nc.Close()
	}
	<-done
	// A server that has been shut down serves no more connections.
	a, b := net.Pipe()
	defer a.Close()
	h.ServeConn(b)
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("ServeConn after Shutdown: read %v, want EOF", err)
	}
}

// Everything that reaches the log before a clean end is acknowledged.
func TestShutdownInTheMiddleOfWrites(t *testing.T) {
	noLeaks(t)
	for range 6 {
		log := openFake(t)
		h := start(t, log, Config{})
		const writers = 4
		acks := make(chan int, writers)
		for range writers {
			c := h.dial()
			go func() {
				for {
					if _, err := io.WriteString(c.nc, strings.Repeat("{\"id\":\"1\",\"entry\":{\"n\":1}}\n", 500)); err != nil {
						return
					}
				}
			}()
			go func() {
				n := 0
				for {
					if _, err := c.r.ReadString('\n'); err != nil {
						break
					}
					n++
				}
				c.nc.Close()
				acks <- n
			}()
		}
		poll(t, "writes", func() bool { head, _ := log.Head(t.Context()); return head > 5000 })
		h.shutdown()
		got := 0
		for range writers {
			got += <-acks
		}
		if head, _ := log.Head(t.Context()); got != int(head) {
			t.Fatalf("%d writes were acknowledged, but %d are in the log", got, head)
		}
	}
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	noLeaks(t)
	log := openMemory(t)
	fill(t, log, 30_000, 1000)
	h := start(t, log, Config{})
	c := h.dial()
	c.send(`{"from":1}`)
	c.line() // and takes no more
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown returned %v, want DeadlineExceeded", err)
	}
	if n := h.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
