package server

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// stagedFake is a fakeLog that says what it is about to do when the test does.
type stagedFake struct {
	*fakeLog
	taking, waiting, answering func()
	left                       bool
}

func (l *stagedFake) Attend(taking, waiting, answering func()) (leave func()) {
	l.taking, l.waiting, l.answering = taking, waiting, answering
	return func() { l.left = true }
}

// startStaged serves n connections that are lent to one gatherer, whose log holds what
// is appended.
func startStaged(t *testing.T, n int) (*stagedFake, *host, []*client) {
	t.Helper()
	skipWithoutGatherer(t)
	noLeaks(t)
	lendAtOnce(t)
	log := &stagedFake{fakeLog: newFakeLog()}
	h := start(t, log, Config{})
	h.gatherers = h.gatherers[:1]
	clients := h.dialLent(n)
	log.hold()
	return log, h, clients
}

// sendUnwatched sends a write on the first connection, and after that the text on all.
// The gatherer hears of the first write and leaves the others to the log, which is
// answering.
func sendUnwatched(t *testing.T, h *host, clients []*client, text string) {
	t.Helper()
	clients[0].append(2, 1)
	g := h.gatherers[0]
	poll(t, "the gatherer to leave what comes to the log", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return !g.watching
	})
	for _, c := range clients {
		c.write(text)
	}
}

const oneWrite = `{"id":"3","entry":{"n":3}}` + "\n"

// TestSweepBeforeTaking: what has come while a log answers is submitted when it is about
// to take its next batch.
func TestSweepBeforeTaking(t *testing.T) {
	log, h, clients := startStaged(t, sweepFrom)
	log.answering()
	sendUnwatched(t, h, clients, oneWrite)
	poll(t, "a sweep to find them", func() bool {
		log.taking()
		return log.pending() == len(clients)+1
	})
	log.waiting()
	log.open()
	for _, c := range clients[1:] {
		c.line()
	}
	h.shutdown()
	if !log.left {
		t.Error("the log is still attended after the server has ended")
	}
	log.taking() // is harmless
	log.waiting()
	log.answering()
}

// TestWaitingFindsAll: what has come while a log answers is submitted also where it does
// not take a batch, but waits or ends.
func TestWaitingFindsAll(t *testing.T) {
	log, h, clients := startStaged(t, sweepFrom)
	log.answering()
	sendUnwatched(t, h, clients, oneWrite)
	log.waiting()
	log.wait(t, len(clients)+1)
	for _, c := range clients { // and goes on to be
		c.write(oneWrite)
	}
	log.wait(t, 2*len(clients)+1)
	log.open()
}

// TestFewAreNotSwept: of a few connections the goroutine reads on all the time.
func TestFewAreNotSwept(t *testing.T) {
	log, _, clients := startStaged(t, sweepFrom-1)
	log.answering()
	for range 3 {
		had := log.pending()
		for i, c := range clients {
			c.write(oneWrite)
			log.wait(t, had+i+1)
		}
	}
	log.open()
}

// TestSweepEnds: a sweep before a batch is taken reads no more than is good for one.
func TestSweepEnds(t *testing.T) {
	log, h, clients := startStaged(t, sweepFrom)
	log.answering()
	had := h.Stats().Received
	lines := strings.Repeat(`{"id":"3","entry":{"pad":"`+strings.Repeat("x", 1000)+`"}}`+"\n", 48)
	sendUnwatched(t, h, clients, lines)
	first := uint64(len(`{"id":"2","entry":{"n":2}}`) + 1)
	log.taking()
	if n := h.Stats().Received - had - first; n == 0 || n > sweepMax+gatherMax {
		t.Errorf("a sweep has read %d bytes of %d, want some, and %d at most", n, len(clients)*len(lines), sweepMax+gatherMax)
	}
	log.waiting()
	log.wait(t, 48*len(clients)+1)
	log.open()
}

// TestRounds: with a log that commits in rounds, every append of every connection is
// answered, whatever meets.
func TestRounds(t *testing.T) {
	skipWithoutGatherer(t)
	noLeaks(t)
	lendAtOnce(t)
	h := start(t, openDisk(t), Config{})
	var all sync.WaitGroup
	for _, c := range h.dialLent(2 * sweepFrom * len(h.gatherers)) {
		all.Go(func() {
			for n := range 100 {
				c.append(10+2*n, 1+n%2)
				for i := range 1 + n%2 {
					if got, want := c.line(), fmt.Sprintf(`{"id":"%d",`, 10+2*n+i); !strings.HasPrefix(got, want) {
						t.Errorf("got %s, want %s…", got, want)
						return
					}
				}
			}
		})
	}
	all.Wait()
}
