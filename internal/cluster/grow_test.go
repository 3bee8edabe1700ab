//go:build !nocluster

package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/cluster/clustertest"
)

// TestGrow adds two nodes to a cluster of three, one at a time. The log gets replicas on them once both
// run. Then any two of the five may be lost, while a node that has lost its disk needs all others.
func TestGrow(t *testing.T) {
	if testing.Short() {
		t.Skip("five nodes, and seven starts: not in a short run")
	}
	t.Parallel()
	const d, e, n = 3, 4, 40 // messages of 256 KiB each: two blocks
	c := clustertest.Start(t, options())
	js := createLog(t, c.Conn(0), 3)
	publishLarge(t, js, 0, n)
	c.Caught(n)
	c.Grow(5)
	for i := range 3 {
		c.Stop(i)
		c.Start(i)
		c.Ready()
		poll(t, func() string {
			for _, m := range c.Node(i).Status(t.Context()).Members[:3] {
				if !m.Current || m.Problem != "" {
					return fmt.Sprintf("after the restart of node %d: %+v", i, m)
				}
			}
			return ""
		})
	}
	if reason := c.Node(0).Status(t.Context()).Reason; reason != "" {
		t.Errorf("three of five nodes are not ready: %s", reason)
	}

	// The first of the new nodes joins without the second, even with a disk that it has lost since.
	for range 2 {
		c.Start(d)
		c.Ready()
		if problem := c.Node(d).Replica(); !strings.Contains(problem, "once all nodes") {
			t.Errorf("the problem of a new node is %q", problem)
		}
		if replicas := replicasOf(t, c); replicas != 3 {
			t.Errorf("with four nodes there are %d replicas, want 3", replicas)
		}
		c.Stop(d)
		c.Wipe(d)
	}
	c.Start(d)
	c.Ready()
	publishLarge(t, c.JetStream(d), n, n+10)
	c.Start(e)
	c.Ready()
	poll(t, func() string {
		if replicas := replicasOf(t, c); replicas != 5 {
			return fmt.Sprintf("there are %d replicas, want 5", replicas)
		}
		return ""
	})
	c.Caught(n + 10)
	for i, v := range c.Node(d).Verify(t.Context()) {
		if v.Problem != "" || v.Messages != n+10 {
			t.Errorf("node %d verifies %+v", i, v)
		}
	}

	// Two nodes are lost, and one of them comes back without its disk.
	c.Stop(0)
	c.Stop(1)
	publishLarge(t, c.JetStream(e), n+10, n+20)
	c.Wipe(0)
	c.Start(0)
	poll(t, func() string {
		if reason := c.Node(0).Status(t.Context()).Reason; !strings.Contains(reason, "node b does not answer") {
			return fmt.Sprintf("the reason is %q", reason)
		}
		return ""
	})
	c.Start(1)
	c.Ready()
	c.Caught(n + 20)
	checkMessages(t, c, n+20, largeMessage)
}

// replicasOf returns how many replicas the log has.
func replicasOf(t *testing.T, c *clustertest.Cluster) int {
	t.Helper()
	stream, err := c.JetStream(0).Stream(t.Context(), cluster.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config.Replicas
}
