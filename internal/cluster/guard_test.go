//go:build !nocluster

package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/cluster/clustertest"
)

// blocks returns the directory of the log's blocks on a node.
func blocks(c *clustertest.Cluster, i int) string {
	return filepath.Join(c.Dir(i), "jetstream", "$G", "streams", cluster.DefaultStream, "msgs")
}

// flip changes a bit in the middle of a file.
func flip(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedBit damages the replica of a stopped node so that NATS would count the rest of the block as
// deleted. If the node then took part with what is left, the log would end there: the other nodes' disks
// are lost, one after the other.
func TestFlippedBit(t *testing.T) {
	for damagedNode := range 3 {
		if testing.Short() && damagedNode > 0 {
			break
		}
		t.Run(fmt.Sprintf("node %d", damagedNode), func(t *testing.T) {
			t.Parallel()
			const n = 80 // of 256 KiB each: three blocks
			c := clustertest.Start(t, options())
			publishLarge(t, createLog(t, c.Conn(0), 3), 0, n)
			c.Caught(n)
			c.Stop(damagedNode)
			if _, err := os.Stat(filepath.Join(blocks(c, damagedNode), "2.blk")); err != nil {
				t.Fatal("the log has one block only, and the end of the newest is fetched again anyway:", err)
			}
			flip(t, filepath.Join(blocks(c, damagedNode), "1.blk"))
			if err := os.Remove(filepath.Join(blocks(c, damagedNode), "index.db")); err != nil {
				t.Fatal(err)
			}
			c.Start(damagedNode)
			c.Ready()
			c.Caught(n)
			for i := range c.Members {
				if i == damagedNode {
					continue
				}
				c.Stop(i)
				c.Wipe(i)
				c.Start(i)
				c.Ready()
				c.Caught(n)
			}
			publishLarge(t, c.JetStream(0), n, n+10)
			c.Caught(n + 10)
			checkMessages(t, c, n+10, largeMessage)
		})
	}
}

// TestTwoDamaged damages two of three replicas. Neither node may fetch the log while the others do not
// certainly have it. The third has all of it on its disk, for an operator to make a log from.
func TestTwoDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("two elections and three fetched replicas: not in a short run")
	}
	t.Parallel()
	const a, b, d, n = 0, 1, 2, 80
	c := clustertest.Start(t, options())
	publishLarge(t, createLog(t, c.Conn(a), 3), 0, n)
	c.Caught(n)
	c.Stop(d)
	flip(t, filepath.Join(blocks(c, d), "1.blk"))
	if err := os.Remove(filepath.Join(blocks(c, d), "index.db")); err != nil {
		t.Fatal(err)
	}
	poll(t, func() string { // otherwise node b notices the damage by itself
		noted, err := os.ReadFile(filepath.Join(c.Dir(b), "REPLICA"))
		if want := fmt.Sprintf(`"messages":%d`, n); err != nil || !strings.Contains(string(noted), want) {
			return fmt.Sprintf("node b has noted %s, %v, want %s", noted, err, want)
		}
		return ""
	})
	flip(t, filepath.Join(blocks(c, b), "1.blk")) // while the node runs

	c.Start(d)
	reason := "node b has a damaged replica too: "
	poll(t, func() string {
		status := c.Node(d).Status(t.Context())
		if status.Ready {
			t.Fatal("the node takes part with the only whole replica elsewhere")
		}
		if !strings.Contains(status.Reason, reason) || !strings.Contains(status.Reason, "1.blk, offset") {
			return fmt.Sprintf("the reason is %q, want %q and the place", status.Reason, reason)
		}
		if m := status.Members[d]; m.Problem == "" {
			return fmt.Sprintf("the node shows no problem: %+v", m)
		}
		return ""
	})
	for i, v := range c.Node(a).Verify(t.Context()) {
		if (v.Problem == "") != (i == a) {
			t.Errorf("node a verifies %+v", v)
		}
	}
	publishLarge(t, c.JetStream(a), n, n+1) // the two others still agree

	poll(t, func() string {
		if v := c.Node(a).Verify(t.Context())[a]; v.Messages != n+1 {
			return fmt.Sprintf("node a has %+v", v)
		}
		return ""
	})
	c.Stop(a)
	whole, err := cluster.OpenStopped(c.Dir(a))
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	read := 0
	err = whole.Read(t.Context(), func(seq uint64, message []byte) error {
		if read++; seq != uint64(read) || string(message) != string(largeMessage(read-1)) {
			return fmt.Errorf("message %d is %.40q", seq, message)
		}
		return nil
	}, func(cluster.Logged) error { return nil })
	if err != nil || read != n+1 {
		t.Errorf("%d messages are read from the disk of node a, want %d: %v", read, n+1, err)
	}
}

// TestDamagedLeader makes the others elect a node whose replica is damaged: it must not stay the leader.
func TestDamagedLeader(t *testing.T) {
	t.Parallel()
	const n, damaged = 80, 0
	c := clustertest.Start(t, options())
	js := createLog(t, c.Conn(1), 3)
	publishLarge(t, js, 0, n)
	c.Caught(n)
	flip(t, filepath.Join(blocks(c, damaged), "1.blk"))
	if v := c.Node(1).Verify(t.Context()); v[damaged].Problem == "" {
		t.Fatalf("the damage is not found: %+v", v)
	}
	leader := func() string { return c.Node(1).Status(t.Context()).Leader }
	nc := c.Conn(1)
	poll(t, func() string {
		_, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+cluster.DefaultStream, []byte(`{"placement":{"preferred":"a"}}`), time.Second)
		for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if leader() == "a" {
				return ""
			}
		}
		return fmt.Sprintf("node a does not lead: %v", err)
	})
	poll(t, func() string {
		if name := leader(); name == "" || name == "a" {
			return fmt.Sprintf("%q leads, want another node than a", name)
		}
		return ""
	})
}

// poll waits until f returns "".
func poll(t testing.TB, f func() string) {
	t.Helper()
	for end := time.Now().Add(clustertest.Timeout); ; time.Sleep(20 * time.Millisecond) {
		switch problem := f(); {
		case problem == "":
			return
		case time.Now().After(end):
			t.Fatalf("after %v: %s", clustertest.Timeout, problem)
		}
	}
}

// TestNewDisk replaces the disk of a node while another one is away.
func TestNewDisk(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, options())
	publish(t, createLog(t, c.Conn(0), 3), 0, 20)
	c.Caught(20)
	c.Stop(2)
	c.Stop(1)
	c.Wipe(1)
	c.Start(1)
	poll(t, func() string {
		status := c.Node(1).Status(t.Context())
		if status.Ready {
			t.Fatal("the node takes part before the third node is back")
		}
		if !strings.Contains(status.Reason, "node c does not answer") {
			return status.Reason
		}
		return ""
	})
	c.Start(2)
	c.Ready()
	poll(t, func() string { return c.Node(1).Replica() })
	for i := range 3 { // no node calls it whole before it is
		if members := c.Node(i).Status(t.Context()).Members; members[1].Messages < 20 || members[1].Problem != "" {
			t.Errorf("node %d says %+v of the new disk", i, members[1])
		}
	}
	c.Caught(20)
	checkMessages(t, c, 20, message)
}
