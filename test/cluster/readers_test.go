package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// begin starts the clients of a cluster: writers of all kinds, and on each gateway a follower, a
// client that asks for the head, and one that reads entries by index.
func begin(c *cluster, h *history, p pace) *clients {
	k := &clients{c: c, h: h, pace: p, stop: make(chan struct{}), end: make(chan struct{})}
	for i := range writers {
		k.writing.Go(func() { k.write(i) })
	}
	next := h.onceNext()
	for i := range 2 {
		k.writing.Go(func() { k.writeIf(i) })
		k.writing.Go(func() { k.writeOnce(i, next) })
	}
	for _, gateway := range c.nodes {
		k.reading.Go(func() { k.follow(gateway) })
		k.writing.Go(func() { k.askHead(gateway) })
		k.writing.Go(func() { k.readIndex(gateway) })
	}
	return k
}

// halt stops the writers, and waits until everything is answered.
func (k *clients) halt() {
	close(k.stop)
	k.writing.Wait()
}

// finish ends the readers.
func (k *clients) finish() {
	close(k.end)
	k.reading.Wait()
}

// line is a line that a reader receives.
type line struct {
	Index   uint64
	Entry   json.RawMessage
	Current bool
	Head    *uint64
	Error   string
}

// follow reads the log of a gateway from its first entry, and then new entries as they come.
func (k *clients) follow(gateway *node) {
	next := uint64(1)
	for {
		select {
		case <-k.end:
			return
		case <-time.After(50 * time.Millisecond):
		}
		c, err := gateway.dial()
		if err != nil {
			continue
		}
		gone := make(chan struct{})
		go func() {
			select {
			case <-k.end:
			case <-gone:
			}
			c.Close()
		}()
		next = k.followFrom(gateway, c, next)
		close(gone)
	}
}

// followFrom follows until the connection ends. It returns the next index.
func (k *clients) followFrom(gateway *node, c net.Conn, next uint64) uint64 {
	if _, err := fmt.Fprintf(c, "{\"from\":%d}\n", next); err != nil {
		return next
	}
	for lines := bufio.NewReaderSize(c, 64<<10); ; {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return next
		}
		var l line
		switch err := json.Unmarshal(text, &l); {
		case err != nil:
			k.h.fault("a follower of gateway %s got %q", gateway.name, text)
			return next
		case l.Current:
		case l.Error != "":
			return next
		case l.Index != next:
			k.h.fault("a follower of gateway %s got index %d, want %d", gateway.name, l.Index, next)
			return next
		default:
			k.h.read(gateway.name, l.Index, l.Entry)
			next++
		}
	}
}

// askHead asks a gateway for the head, again and again.
func (k *clients) askHead(gateway *node) {
	k.eachOf(gateway, func(c net.Conn, lines *bufio.Reader) bool {
		called := k.h.now()
		if _, err := fmt.Fprint(c, "{\"last\":1,\"read\":1}\n"); err != nil {
			return false
		}
		head := uint64(0) // of the read's snapshot: the index of the last entry
		for {
			l, ok := k.line(gateway, c, lines)
			switch {
			case !ok:
				return false
			case l.Error != "":
				k.pause(100 * time.Millisecond)
				return false
			case l.Index > 0:
				head = l.Index
				k.h.read(gateway.name, l.Index, l.Entry)
			case l.Head != nil:
				k.h.headIs(gateway.name, called, head)
				k.pause(10 * time.Millisecond)
				return true
			case l.Current: // the log is empty
				return false
			}
		}
	})
}

// readIndex reads acknowledged entries by index.
func (k *clients) readIndex(gateway *node) {
	k.eachOf(gateway, func(c net.Conn, lines *bufio.Reader) bool {
		most := k.h.highest()
		if most == 0 {
			k.pause(50 * time.Millisecond)
			return true
		}
		index := 1 + rand.Uint64N(most)
		if rand.IntN(2) == 0 {
			index = most
		}
		if _, err := fmt.Fprintf(c, "{\"from\":%d,\"read\":1}\n", index); err != nil {
			return false
		}
		for {
			l, ok := k.line(gateway, c, lines)
			switch {
			case !ok:
				return false
			case l.Error != "":
				k.pause(100 * time.Millisecond)
				return false
			case l.Index > 0 && l.Index != index:
				k.h.fault("a read of index %d at gateway %s got index %d", index, gateway.name, l.Index)
			case l.Index > 0:
				k.h.read(gateway.name, l.Index, l.Entry)
			case l.Head != nil:
				k.pause(10 * time.Millisecond)
				return true
			}
		}
	})
}

// eachOf runs do with connections to a gateway until the clients are halted. do returns false to get
// another connection.
func (k *clients) eachOf(gateway *node, do func(c net.Conn, lines *bufio.Reader) bool) {
	for !k.halted() {
		c, err := gateway.dial()
		if err != nil {
			k.pause(50 * time.Millisecond)
			continue
		}
		for lines := bufio.NewReader(c); !k.halted() && do(c, lines); {
		}
		c.Close()
		k.pause(20 * time.Millisecond)
	}
}

// line reads a line. ok is false if the connection has ended.
func (k *clients) line(gateway *node, c net.Conn, lines *bufio.Reader) (l line, ok bool) {
	c.SetReadDeadline(time.Now().Add(answerTime))
	text, err := lines.ReadBytes('\n')
	if timedOut(err) {
		k.h.fault("gateway %s has sent a reader nothing for %v", gateway.name, answerTime)
	}
	if err != nil {
		return l, false
	}
	if err := json.Unmarshal(bytes.TrimSpace(text), &l); err != nil {
		k.h.fault("gateway %s sends a reader %q", gateway.name, text)
		return l, false
	}
	return l, true
}

// highest returns the last index that a reader has seen.
func (h *history) highest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(max(1, len(h.seen)) - 1)
}
