//go:build !nocluster

package cluster_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/cluster/clustertest"
)

// TestOtherLog: a node that comes back with the replica of an earlier cluster with higher terms takes
// nothing from the present cluster with the same name and secret, however it comes.
func TestOtherLog(t *testing.T) {
	if testing.Short() {
		t.Skip("twenty starts of nodes: not in a short run")
	}
	t.Parallel()
	c := clustertest.Start(t, options())
	publish(t, createLog(t, c.Conn(0), 3), 0, 10)
	c.Caught(10)
	for range 3 { // elections raise the terms
		for i := range 3 {
			c.Stop(i)
			c.Start(i)
			c.Ready()
		}
	}
	c.Close()
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(c.Dir(2))); err != nil {
		t.Fatal(err)
	}
	putOld := func() {
		t.Helper()
		c.Stop(2)
		c.Wipe(2)
		if err := os.CopyFS(c.Dir(2), os.DirFS(old)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		c.Wipe(i)
	}
	startAll(c)
	c.Ready()
	const n = 30
	publish(t, createLog(t, c.Conn(0), 3), 0, n)
	c.Caught(n)
	// The others are running: they have not been restarted, and do not name their log as they connect.
	putOld()
	c.Start(2)
	select {
	case <-c.Node(2).Failed():
		if err := c.Node(2).Err(); !strings.Contains(err.Error(), cluster.ErrOtherLog.Error()) {
			t.Errorf("the node has failed by %v", err)
		}
	case <-time.After(clustertest.Timeout):
		t.Fatal("the node with another log goes on")
	}
	goOn := func(from, to int) {
		t.Helper()
		for i := range 2 {
			if err := c.Node(i).Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		publish(t, c.JetStream(0), from, to)
		if c.Node(2).Status(t.Context()).Ready {
			t.Error("the node with another log takes part")
		}
	}
	c.Close()
	putOld()
	startAll(c)
	goOn(n, n+5)

	c.Close()
	putOld()
	c.Start(2) // it finds no other node, and starts JetStream
	poll(t, func() string {
		if s := c.Node(2).Status(t.Context()).Reason; !strings.Contains(s, "no majority") {
			return fmt.Sprintf("the node that is alone says %q", s)
		}
		return ""
	})
	c.Start(0)
	c.Start(1)
	goOn(n+5, n+10)
	c.Stop(2)
	c.Wipe(2)
	c.Start(2)
	c.Ready()
	publish(t, c.JetStream(2), n+10, n+15)
	c.Caught(n + 15)
	checkMessages(t, c, n+15, message)
}

// startAll starts all nodes concurrently.
func startAll(c *clustertest.Cluster) {
	var starting sync.WaitGroup
	for i := range c.Members {
		starting.Go(func() { c.Start(i) })
	}
	starting.Wait()
}
