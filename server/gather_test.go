package server

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/server/internal/gather"
)

// hookedFake is a fakeLog whose hooks the test calls.
type hookedFake struct {
	*fakeLog
	beforeBatch, beforeWait, beforeReplies func()
	removed                                bool
}

func (l *hookedFake) SetHooks(beforeBatch, beforeWait, beforeReplies func()) (remove func()) {
	l.beforeBatch, l.beforeWait, l.beforeReplies = beforeBatch, beforeWait, beforeReplies
	return func() { l.removed = true }
}

// startHooked serves n connections that are handed off to one gatherer, with a log that
// holds back appends.
func startHooked(t *testing.T, n int) (*hookedFake, *host, []*client) {
	t.Helper()
	skipWithoutGatherer(t)
	noLeaks(t)
	handOffAtOnce(t)
	log := &hookedFake{fakeLog: newFakeLog()}
	s := New(log, Config{})
	s.gather = gather.New(1, log.SetHooks)
	h := startServer(t, s)
	clients := h.dialHandedOff(n)
	log.hold()
	return log, h, clients
}

// sendUnwatched sends a write on the first connection, and after that the text on all. The
// gatherer sees the first write and leaves the others to the log, which is sending
// replies.
func sendUnwatched(t *testing.T, h *host, clients []*client, text string) {
	t.Helper()
	clients[0].append(2, 1)
	poll(t, "the gatherer to leave further input to the log", func() bool { return !h.gather.Watching() })
	for _, c := range clients {
		c.write(text)
	}
}

const oneWrite = `{"id":"3","entry":{"n":3}}` + "\n"

// TestSweepBeforeBatch: input that arrives while a log sends replies is submitted when it
// is about to take its next batch.
func TestSweepBeforeBatch(t *testing.T) {
	log, h, clients := startHooked(t, gather.SweepFrom)
	log.beforeReplies()
	sendUnwatched(t, h, clients, oneWrite)
	poll(t, "a sweep to find them", func() bool {
		log.beforeBatch()
		return log.pending() == len(clients)+1
	})
	log.beforeWait()
	log.open()
	for _, c := range clients[1:] {
		c.line()
	}
	h.shutdown()
	if !log.removed {
		t.Error("the hooks are still there after the server has ended")
	}
	log.beforeBatch() // harmless
	log.beforeWait()
	log.beforeReplies()
}

// TestWaitingFindsAll: input that arrives while a log sends replies is also submitted if
// the log takes no batch, but waits or ends.
func TestWaitingFindsAll(t *testing.T) {
	log, h, clients := startHooked(t, gather.SweepFrom)
	log.beforeReplies()
	sendUnwatched(t, h, clients, oneWrite)
	log.beforeWait()
	log.wait(t, len(clients)+1)
	for _, c := range clients { // and continues to be
		c.write(oneWrite)
	}
	log.wait(t, 2*len(clients)+1)
	log.open()
}

// TestFewAreNotSwept: a few connections are always read on the gatherer's goroutine.
func TestFewAreNotSwept(t *testing.T) {
	log, _, clients := startHooked(t, gather.SweepFrom-1)
	log.beforeReplies()
	for range 3 {
		had := log.pending()
		for i, c := range clients {
			c.write(oneWrite)
			log.wait(t, had+i+1)
		}
	}
	log.open()
}

// TestSweepEnds: a sweep before a batch reads no more than one batch needs.
func TestSweepEnds(t *testing.T) {
	log, h, clients := startHooked(t, gather.SweepFrom)
	log.beforeReplies()
	had := h.Stats().Received
	lines := strings.Repeat(`{"id":"3","entry":{"pad":"`+strings.Repeat("x", 1000)+`"}}`+"\n", 48)
	sendUnwatched(t, h, clients, lines)
	first := uint64(len(`{"id":"2","entry":{"n":2}}`) + 1)
	log.beforeBatch()
	if n := h.Stats().Received - had - first; n == 0 || n > gather.SweepMax+gather.ReadMax {
		t.Errorf("a sweep has read %d bytes of %d, want some, and %d at most", n, len(clients)*len(lines), gather.SweepMax+gather.ReadMax)
	}
	log.beforeWait()
	log.wait(t, 48*len(clients)+1)
	log.open()
}

// TestRounds: with a log that commits in rounds, every append of every connection is
// answered, however events interleave.
func TestRounds(t *testing.T) {
	skipWithoutGatherer(t)
	noLeaks(t)
	handOffAtOnce(t)
	h := start(t, openDisk(t), Config{})
	var all sync.WaitGroup
	for _, c := range h.dialHandedOff(2 * gather.SweepFrom * max(1, runtime.GOMAXPROCS(0)/2)) {
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
