package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// distantFake is a log on several machines. The test decides what the others say about its head.
type distantFake struct {
	*fakeLog
	asked chan struct{} // gets a token for each question

	mu     sync.Mutex
	answer chan struct{} // closed when the others answer
	err    error         // instead of an answer
	head   uint64        // as the others know it, if this machine is behind
}

func newDistantFake() *distantFake {
	return &distantFake{fakeLog: newFakeLog(), asked: make(chan struct{}, 1000), answer: make(chan struct{})}
}

// answers makes the others answer from now on, with err if that is not nil.
func (l *distantFake) answers(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	close(l.answer)
}

// silent makes the others stop answering.
func (l *distantFake) silent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = make(chan struct{})
}

// wait waits for an answer.
func (l *distantFake) wait(ctx context.Context) error {
	l.asked <- struct{}{}
	l.mu.Lock()
	answer := l.answer
	l.mu.Unlock()
	select {
	case <-answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *distantFake) Head(ctx context.Context) (uint64, error) {
	if err := l.wait(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.Known(), l.head), nil
}

// setHead gives the others entries through head, which have not reached this machine.
func (l *distantFake) setHead(head uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = head
}

func (l *distantFake) Since(ctx context.Context, time int64) (uint64, error) {
	if err := l.wait(ctx); err != nil {
		return 0, err
	}
	return l.fakeLog.Since(ctx, time)
}

func (l *distantFake) Known() uint64 {
	head, _ := l.fakeLog.Head(context.Background())
	return head
}

// wantAsked waits until the others have been asked.
func (l *distantFake) wantAsked(t *testing.T) {
	t.Helper()
	select {
	case <-l.asked:
	case <-time.After(patience):
		t.Fatal("nobody was asked")
	}
}

// TestAppendsWhileTheHeadIsAsked: writes that come after a read are acknowledged while it waits for
// its snapshot, and another read has to wait. The read's history includes them.
func TestAppendsWhileTheHeadIsAsked(t *testing.T) {
	noLeaks(t)
	log := newDistantFake()
	log.put(t, `{"n":1}`)
	h := start(t, log, Config{})
	c := h.dial()
	for at, read := range []string{`{"id":"r","from":1}`, `{"from":1,"read":3}`, `{"last":3,"read":4}`} {
		if at > 0 {
			c = h.dial()
			log.silent()
		}
		first := 2 * at
		c.send(read)
		log.wantAsked(t)
		c.append(first+2, 1)
		c.want(ack(first+2, first+2))
		c.send(`{"id":"again","from":2}`)
		c.want(`{"id":"again","error":"already reading"}`)
		c.append(first+3, 1)
		c.want(ack(first+3, first+3))
		log.answers(nil)
		switch at {
		case 0:
			c.want(entry(1, 1), entry(2, 2), entry(3, 3), current)
		case 1:
			c.want(entry(1, 1), entry(2, 2), entry(3, 3), head(5))
		case 2:
			c.want(entry(5, 5), entry(6, 6), entry(7, 7), current)
		}
	}
	log.silent() // neither the end of a read nor a status asks for the head
	c.append(8, 1)
	c.want(ack(8, 8), entry(8, 8), head(8))
	c.send(`{"stat":true}`)
	if got := c.line(); !strings.HasPrefix(got, `{"stat":{"head":8,`) {
		t.Errorf("got %s", got)
	}
}

// TestReadsThatNobodyAnswers: the peer is told that a read cannot begin now, with the read's id, and
// may write and read again.
func TestReadsThatNobodyAnswers(t *testing.T) {
	noLeaks(t)
	log := newDistantFake()
	log.put(t, `{"n":1}`)
	h := start(t, log, Config{})
	c := h.dial()
	filter := fmt.Sprintf(`{"pad":"%s"}`, strings.Repeat("x", 2*filterFree))
	for err, text := range map[string]string{
		"not available now: an election is under way": "not available now: an election is under way",
		"no leader":        "not available now: no leader",
		"open /a/b: no":    "not available now: open b: no",
		"not stored: what": "not available now: not stored: what",
	} {
		for read, begin := range map[string]string{
			`{"from":1,"read":1}`:                          `{`,
			`{"id":"r","from":1}`:                          `{"id":"r",`,
			`{"id":"s","since":"2001-01-01T00:00:00Z"}`:    `{"id":"s",`,
			fmt.Sprintf(`{"last":1,"where":%s}`, filter):   `{`,
			fmt.Sprintf(`{"from":1,"where":%s }`, filter):  `{`,
			`{"from":1,"through":1}`:                       `{`,
			`{"id":"again","last":1,"hash":true,"read":1}`: `{"id":"again",`,
		} {
			log.silent()
			c.send(read)
			log.wantAsked(t)
			next := int(log.Known()) + 1
			c.append(0, 1) // would take the place of the read if that was received
			c.want(ack(0, next))
			log.answers(errors.New(err))
			c.want(fmt.Sprintf(`%s"error":"%s"}`, begin, text))
			n := int(log.Known()) + 1
			c.append(n, 1)
			c.want(ack(n, n))
		}
	}
	poll(t, "the memory of filters", func() bool { h.memory.mu.Lock(); defer h.memory.mu.Unlock(); return h.memory.used == 0 })
	log.silent()
	log.answers(nil)
	last := int(log.Known())
	c.send(fmt.Sprintf(`{"from":%d}`, last))
	c.want(entry(last, last), current)
}

// TestSinceThatNobodyAnswers: the head was told, but not where a time is.
func TestSinceThatNobodyAnswers(t *testing.T) {
	noLeaks(t)
	log := newDistantFake()
	log.answers(nil)
	h := start(t, sinceless{log}, Config{})
	c := h.dial()
	c.send(`{"since":"2001-01-01T00:00:00Z"}`)
	c.want(`{"error":"not available now: no leader"}`)
	c.send(`{"from":1}`)
	c.want(current)
}

// sinceless is a log that cannot find the place of a time.
type sinceless struct{ *distantFake }

func (sinceless) Since(context.Context, int64) (uint64, error) { return 0, errors.New("no leader") }

// TestAskedForTooLong: the server stops waiting for the others after a while.
func TestAskedForTooLong(t *testing.T) {
	noLeaks(t)
	log := newDistantFake()
	s := New(log, Config{})
	s.askMax = time.Millisecond
	c := startServer(t, s).dial()
	const told = "not available now: the other machines of the log have not answered for 1ms"
	c.send(`{"from":1}`)
	c.want(`{"error":"` + told + `"}`)
	_, err := s.Head(t.Context())
	if unread, ok := errors.AsType[*ReadError](err); !ok || !unread.Later() || unread.Text != told {
		t.Errorf("the head: %v", err)
	}
	_, err = s.Since(t.Context(), 1)
	if unread, ok := errors.AsType[*ReadError](err); !ok || !unread.Later() || unread.Text != told {
		t.Errorf("the place of a time: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.askMax = patience
	if _, err := s.Head(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the head for a caller who has left: %v", err)
	}
}

// TestEndsWhileTheHeadIsAsked: whatever ends a connection also ends the request for its read's head;
// but the end of the input does not, and the read continues.
func TestEndsWhileTheHeadIsAsked(t *testing.T) {
	for name, end := range map[string]func(h *host, c *client, log *distantFake){
		"the peer is gone": func(h *host, c *client, _ *distantFake) {
			c.nc.(*net.TCPConn).SetLinger(0)
			c.nc.Close()
		},
		"invalid JSON": func(h *host, c *client, _ *distantFake) {
			c.append(1, 1)
			c.write("no\n")
			c.want(ack(1, 1), `{"error":"invalid JSON"}`)
			c.wantEnd()
			c.nc.Close()
		},
		"shutdown": func(h *host, c *client, log *distantFake) {
			log.hold()
			c.append(1, 1)
			log.fakeLog.wait(t, 1)
			stopped := make(chan struct{})
			go func() { h.shutdown(); close(stopped) }()
			log.open()
			c.want(ack(1, 1))
			c.wantEnd()
			c.nc.Close()
			<-stopped
		},
		"end of input": func(h *host, c *client, log *distantFake) {
			c.append(1, 1)
			c.half()
			c.want(ack(1, 1))
			log.answers(nil)
			c.want(entry(1, 1), current)
			c.wantEnd()
		},
		"end of input without an answer": func(h *host, c *client, log *distantFake) {
			c.half()
			log.answers(errors.New("no leader"))
			c.want(`{"error":"not available now: no leader"}`)
			c.wantEnd()
		},
		"shutdown after the end of input": func(h *host, c *client, _ *distantFake) {
			c.half()
			h.shutdown()
			c.wantEnd()
		},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			log := newDistantFake()
			h := start(t, log, Config{})
			c := h.dial()
			c.send(`{"from":1}`)
			log.wantAsked(t)
			end(h, c, log)
			poll(t, "the end of the connection", func() bool { return h.Connections() == 0 })
		})
	}
}

// lingering is a log that is slow to notice that nobody waits for its head any more.
type lingering struct {
	*distantFake
	left atomic.Bool
}

func (l *lingering) Head(ctx context.Context) (uint64, error) {
	head, err := l.distantFake.Head(ctx)
	time.Sleep(20 * time.Millisecond)
	l.left.Store(true)
	return head, err
}

// TestShutdownJoinsWhatAsks: once Shutdown has returned, the log may be closed.
func TestShutdownJoinsWhatAsks(t *testing.T) {
	log := &lingering{distantFake: newDistantFake()}
	h := start(t, log, Config{})
	c := h.dial()
	c.send(`{"from":1}`)
	c.half()
	log.wantAsked(t)
	h.shutdown()
	if !log.left.Load() {
		t.Error("the log is still being asked after Shutdown")
	}
}

// TestOrderOfWhatComesWithARead: the errors of messages that arrive together with a read come before
// its lines, however quick the answer is, and the head is not requested before.
func TestOrderOfWhatComesWithARead(t *testing.T) {
	noLeaks(t)
	log := newDistantFake()
	log.put(t, `{"n":1}`)
	log.answers(nil)
	h := start(t, log, Config{})
	for range 100 {
		c := h.dial()
		c.send(`{"from":1,"read":1}`, `{"from":1}`, `{"id":"x","entry":7}`, `{"from":1}`)
		c.want(`{"error":"already reading"}`, `{"error":"already reading"}`)
		refused := `{"id":"x","error":"not stored: invalid message: \"entry\" is 7, want an object, an array or null"}`
		lines := []string{c.line(), c.line(), c.line()}
		for i, line := range lines { // this comes among those of the read
			if line == refused {
				lines = append(lines[:i], lines[i+1:]...)
				break
			}
		}
		if len(lines) != 2 || lines[0] != entry(1, 1) || lines[1] != head(1) {
			t.Fatalf("got %q", lines)
		}
		c.nc.Close()
	}
}

// TestRepliesWhileEntriesAreOnTheirWay: while a read waits for entries that other machines have and
// this one does not, replies continue.
func TestRepliesWhileEntriesAreOnTheirWay(t *testing.T) {
	noLeaks(t)
	for read, last := range map[string]string{`{"from":1}`: current, `{"from":1,"read":4}`: head(4)} {
		log := newDistantFake()
		log.put(t, `{"n":1}`)
		log.setHead(4)
		log.answers(nil)
		h := start(t, log, Config{})
		c := h.dial()
		c.send(read)
		log.wantAsked(t)
		for n := 2; n <= 4; n++ {
			c.append(n, 1)
			c.want(ack(n, n))
		}
		c.want(entry(1, 1), entry(2, 2), entry(3, 3), entry(4, 4), last)
		// Entries that are already here wait for nothing.
		log.setHead(7)
		c = h.dial()
		c.send(`{"from":1,"through":2}`)
		c.want(entry(1, 1), entry(2, 2), head(7))
		// Nor does a stopping server wait.
		c.send(`{"from":5}`)
		c.append(5, 1)
		c.want(ack(5, 5))
		stopped := make(chan struct{})
		go func() { h.shutdown(); close(stopped) }()
		c.wantEnd()
		c.nc.Close()
		<-stopped
	}
}
