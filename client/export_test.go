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

// Vacant reports whether the next append of the lane may lead.
func (c *Client) Vacant() bool { return c.look().turn == vacant }

// Written is how many appends have been written, or are being written.
func (c *Client) Written() int { s := c.look(); return int(s.next) - s.unwritten }

// InLine is how many appends wait to be written.
func (c *Client) InLine() int { return c.look().unwritten }

// Idle reports whether nobody writes.
func (c *Client) Idle() bool { return !c.look().busy }

type laneState struct {
	turn      turn
	next      uint64
	unwritten int
	busy      bool
}

func (c *Client) look() laneState {
	l := c.lane.Load()
	if l == nil { // nothing has been appended
		return laneState{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return laneState{l.turn, l.next, len(l.calls) - l.taken, l.busy}
}

// Interrupt begins what Close does.
func (c *Client) Interrupt() { c.lane.Load().interrupt() }

// BeforeDirectWrite has hook run before each write that does not wait.
func (c *Client) BeforeDirectWrite(hook func()) {
	l, err := c.connected(context.Background())
	if err != nil {
		panic(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.direct.Out = hooked{l.direct.Out, hook}
}

type hooked struct {
	syscall.RawConn
	before func()
}

func (h hooked) Write(f func(fd uintptr) bool) error {
	h.before()
	return h.RawConn.Write(f)
}

// ReadsUntil is until when the lane reads, zero for ever.
func (c *Client) ReadsUntil() time.Time {
	l := c.lane.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadline
}

// SetGatherMax sets for how long callbacks may gather, for the clients of the test.
func SetGatherMax(t testing.TB, d time.Duration) {
	before := gatherMax
	gatherMax = d
	t.Cleanup(func() { gatherMax = before })
}
