package server

import (
	"strings"
	"testing"
)

// TestLargeLinesTakeTurns: a large line waits for its turn to be parsed, and nothing else
// waits for it: neither the writes before it nor other connections.
func TestLargeLinesTakeTurns(t *testing.T) {
	noLeaks(t)
	h := start(t, openMemory(t), Config{})
	turns := h.parsing
	if err := turns.scratch.Acquire(t.Context(), scratchMax); err != nil { // take the turn
		t.Fatal(err)
	}
	large := `{"id":"large","entry":{"z":"` + strings.Repeat(":", largeLine) + `","a":0}}`
	c, gone, other := h.dial(), h.dial(), h.dial()
	c.send(`{"id":"before","entry":[]}`, large, `{"id":"after","entry":[]}`)
	c.want(`{"id":"before","index":1}`)
	gone.send(large)
	poll(t, "two lines to arrive", func() bool { return h.Stats().Received > uint64(2*len(large)) })
	other.append(2, 1)
	other.want(ack(2, 2))
	if head, _ := h.log.Head(t.Context()); head != 2 {
		t.Fatalf("the head is %d before the turn, want 2", head)
	}
	h.mu.Lock()
	for conn := range h.conns {
		if conn.nc.RemoteAddr().String() == gone.nc.LocalAddr().String() {
			conn.cut(errStalled)
		}
	}
	h.mu.Unlock()
	gone.wantEnd()
	turns.scratch.Release(scratchMax)
	c.want(`{"id":"large","index":3}`, `{"id":"after","index":4}`)
	poll(t, "all memory to be given back", func() bool { return turns.memory.inUse() == 0 })
}
