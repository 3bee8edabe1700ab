package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// pace is the load of a writer.
type pace struct {
	depth int           // entries that it sends at once
	pause time.Duration // after their replies
}

var (
	// steady is so little that the effects of faults show rather than the load of this machine, and
	// enough that some entry is always in flight.
	steady = pace{8, 40 * time.Millisecond}
	// hard makes writers wait for the cluster. Every other round of a long run is hard.
	hard = pace{128, 4 * time.Millisecond}
)

const (
	writers    = 16
	stay       = 3 * time.Second // about how long a writer stays with a gateway
	answerTime = patience        // a reply that takes longer is a fault
	impatience = 2 * time.Second // every other writer tries another gateway after this time
)

// clients are the clients of a cluster.
type clients struct {
	c    *cluster
	h    *history
	pace pace
	stop chan struct{} // closed when writers are to stop sending
	end  chan struct{} // closed when readers are to end

	writing, reading sync.WaitGroup
}

// halted reports whether writers are to stop sending.
func (k *clients) halted() bool {
	select {
	case <-k.stop:
		return true
	default:
		return false
	}
}

// pause waits for d, or until the clients are halted.
func (k *clients) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-k.stop:
	}
}

// answer is a reply to a write.
type answer struct {
	ID    string
	Index uint64
	Head  *uint64
	Seen  bool
	Error string
}

// kind returns the kind of the answer, and an error if it has none.
func (a *answer) kind() (kind, error) {
	switch {
	case a.Index > 0 && a.Error == "":
		return acked, nil
	case a.Index == 0 && strings.HasPrefix(a.Error, "not stored: "):
		return refused, nil
	case a.Index == 0 && strings.HasPrefix(a.Error, "outcome unknown: "):
		return unknown, nil
	}
	return 0, fmt.Errorf("an answer is %+v", *a)
}

// each runs do with connections to gateways, one after another, beginning with the given number,
// until the clients are halted. do returns when its connection has ended, or has been open for long
// enough: each gateway is to have writers again soon after it has come back.
func (k *clients) each(number int, do func(gateway *node, c net.Conn, until time.Time)) {
	for run := 0; !k.halted(); run++ {
		gateway := k.c.nodes[(number+run)%len(k.c.nodes)]
		c, err := gateway.dial()
		if err != nil {
			k.pause(50 * time.Millisecond)
			continue
		}
		do(gateway, c, time.Now().Add(stay/2+rand.N(stay)))
		c.Close()
	}
}

// write sends entries, several at a time.
func (k *clients) write(number int) {
	k.each(number, func(gateway *node, c net.Conn, until time.Time) {
		s := k.h.open(fmt.Sprintf("w%d", number), gateway.name)
		replies := bufio.NewReader(c)
		for !k.halted() && time.Now().Before(until) {
			var lines bytes.Buffer
			first := len(s.outcomes)
			for range k.pace.depth {
				n := k.h.sending(s)
				fmt.Fprintf(&lines, "{\"id\":\"%d\",\"entry\":%s}\n", n, s.entry(n))
			}
			if _, err := c.Write(lines.Bytes()); err != nil {
				return
			}
			backOff := false
			for n := first; n < first+k.pace.depth; n++ {
				if number%2 == 0 && replies.Buffered() == 0 && !k.arrives(c, replies) {
					return
				}
				a, ok := k.answer(gateway, c, replies)
				if !ok {
					return
				}
				got, err := a.kind()
				if err != nil || a.ID != fmt.Sprint(n) || a.Seen {
					k.h.fault("gateway %s answers entry %d of %s with %+v", gateway.name, n, s.name, a)
					return
				}
				k.h.told(s, n, got, a.Index, a.Error)
				backOff = backOff || got != acked
			}
			if backOff { // another gateway may take it
				k.pause(200 * time.Millisecond)
				return
			}
			k.pause(k.pace.pause/2 + rand.N(k.pace.pause))
		}
	})
}

// arrives waits for an answer, but not for long. If all clients waited patiently for a gateway that
// is stopped or cut off, none would use the others.
func (k *clients) arrives(c net.Conn, replies *bufio.Reader) bool {
	c.SetReadDeadline(time.Now().Add(impatience))
	_, err := replies.Peek(1)
	return err == nil
}

// answer reads an answer. ok is false if the connection has ended.
func (k *clients) answer(gateway *node, c net.Conn, replies *bufio.Reader) (a answer, ok bool) {
	c.SetReadDeadline(time.Now().Add(answerTime))
	line, err := replies.ReadBytes('\n')
	if timedOut(err) {
		k.h.fault("gateway %s has not answered for %v", gateway.name, answerTime)
	}
	if err != nil {
		return a, false
	}
	if err := json.Unmarshal(line, &a); err != nil {
		k.h.fault("gateway %s answers %q", gateway.name, line)
		return a, false
	}
	return a, true
}

// timedOut reports whether err is a timeout.
func timedOut(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// writeIf sends entries on the condition that they follow the last known entry.
func (k *clients) writeIf(number int) {
	k.each(number, func(gateway *node, c net.Conn, until time.Time) {
		s := k.h.open(fmt.Sprintf("i%d", number), gateway.name)
		replies := bufio.NewReader(c)
		head := uint64(0)
		for !k.halted() && time.Now().Before(until) {
			called, n := k.h.now(), k.h.sending(s)
			if _, err := fmt.Fprintf(c, "{\"id\":\"%d\",\"entry\":%s,\"if\":%d}\n", n, s.entry(n), head); err != nil {
				return
			}
			a, ok := k.answer(gateway, c, replies)
			if !ok {
				return
			}
			got, err := a.kind()
			switch {
			case err != nil || a.ID != fmt.Sprint(n) || a.Seen:
				k.h.fault("gateway %s answers entry %d of %s with %+v", gateway.name, n, s.name, a)
				return
			case got == acked && a.Index != head+1:
				k.h.fault("gateway %s has stored entry %d of %s at index %d, and it was to follow %d", gateway.name, n, s.name, a.Index, head)
			case a.Head != nil && (*a.Head == head || got != refused):
				k.h.fault("gateway %s answers an append that was to follow %d with %+v", gateway.name, head, a)
			}
			k.h.told(s, n, got, a.Index, "")
			switch {
			case got == acked:
				head = a.Index
			case a.Head != nil: // the order of the stream has decided it: it is not a guess
				k.h.headIs(gateway.name, called, *a.Head)
				head = *a.Head
				continue
			default:
				k.pause(200 * time.Millisecond)
				return
			}
			k.pause(steady.pause)
		}
	})
}

// writeOnce sends the same entries as the other writers of its kind, with once, each until it is
// acknowledged, from a number on.
func (k *clients) writeOnce(number, next int) {
	k.each(number, func(gateway *node, c net.Conn, until time.Time) {
		replies := bufio.NewReader(c)
		for !k.halted() && time.Now().Before(until) {
			k.h.onceSent(next)
			if _, err := fmt.Fprintf(c, "{\"id\":\"o\",\"entry\":%s,\"once\":true}\n", onceText(next)); err != nil {
				return
			}
			a, ok := k.answer(gateway, c, replies)
			if !ok {
				return
			}
			switch got, err := a.kind(); {
			case err != nil || a.ID != "o":
				k.h.fault("gateway %s answers an append with once with %+v", gateway.name, a)
				return
			case got == acked:
				k.h.onceTold(gateway.name, next, a.Index)
				next++
				k.pause(steady.pause)
			default:
				k.pause(200 * time.Millisecond)
				return
			}
		}
	})
}

func onceText(n int) string { return fmt.Sprintf(`{"n":%d,"w":"once"}`, n) }

// onceNext returns the number after those of all entries sent with once.
func (h *history) onceNext() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.once)
}

func (h *history) onceSent(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.once[n] == nil {
		h.once[n] = &onceEntry{sent: h.now()}
	}
}

func (h *history) onceTold(gateway string, n int, index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.once[n]
	if o.index != 0 && o.index != index {
		h.faultLocked("gateway %s has %s at index %d, and another told %d", gateway, onceText(n), index, o.index)
	}
	o.index = index
	h.acknowledged(gateway, o.sent, h.now())
}
