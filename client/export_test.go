package client

import (
	"context"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/internal/nowait"
)

const (
	CanLead   = nowait.Possible
	LeadAfter = leadAfter
)

// MayLead reports whether the next append of the pipeline may lead.
func (c *Client) MayLead() bool { return c.look().reads == byNone }

// Written returns how many appends have been written, or are being written.
func (c *Client) Written() int { s := c.look(); return int(s.next) - s.unwritten }

// InLine returns how many appends wait to be written.
func (c *Client) InLine() int { return c.look().unwritten }

// Idle reports whether no goroutine writes.
func (c *Client) Idle() bool { return !c.look().busy }

type pipelineState struct {
	reads     reads
	next      uint64
	unwritten int
	busy      bool
}

func (c *Client) look() pipelineState {
	p := c.pipeline.Load()
	if p == nil { // nothing has been appended
		return pipelineState{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return pipelineState{p.reads, p.next, len(p.calls) - p.taken, p.busy}
}

// Interrupt begins to close, as Close does.
func (c *Client) Interrupt() { c.pipeline.Load().interrupt() }

// BeforeDirectWrite runs hook before each write that does not wait.
func (c *Client) BeforeDirectWrite(hook func()) {
	p, err := c.connected(context.Background())
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.direct.Out = hooked{p.direct.Out, hook}
}

type hooked struct {
	syscall.RawConn
	before func()
}

func (h hooked) Write(f func(fd uintptr) bool) error {
	h.before()
	return h.RawConn.Write(f)
}

// ReadsUntil returns the pipeline's read deadline, zero if it has none.
func (c *Client) ReadsUntil() time.Time {
	p := c.pipeline.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deadline
}

// SetGatherMax sets for how long callbacks may gather, for the clients of the test.
func SetGatherMax(t testing.TB, d time.Duration) {
	before := gatherMax
	gatherMax = d
	t.Cleanup(func() { gatherMax = before })
}
