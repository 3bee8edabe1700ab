package cluster

import (
	"sync"
	"testing"
)

// TestClock: the clock of one node is an hour ahead. Times never decrease along the log, and are the
// same on all gateways. Only the clock that gives entries their times is ahead: the rest of a cluster
// measures durations and never asks for the time.
func TestClock(t *testing.T) {
	t.Parallel()
	binary, err := aheadOfTime()
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, options{Binary: map[string]string{"b": binary}})
	endure(t, c, "leader", func(r *round) { r.killed(r.c.others(r.c.node("b"))[0]) })
	first, err := c.node("a").readThrough(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the first entry: %s", first)
}

// aheadOfTime is a server whose clock is an hour ahead.
var aheadOfTime = sync.OnceValues(func() (string, error) {
	return buildAltered("tcp-log-server-ahead", "internal/replicated/batch.go", "m.time = time.Now().UnixMicro()", "m.time = time.Now().Add(time.Hour).UnixMicro()")
})
