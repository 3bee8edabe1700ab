//go:build !nocluster

package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/cluster/clustertest"
)

// blocks is the directory of the log's blocks on a node.
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

// TestFlippedBit damages the replica of a node that has stopped, so that NATS would call the rest of the
// block deleted. If the node then took part with what is left, the log would end with it: the other
// nodes' disks are lost, one after the other.
func TestFlippedBit(t *testing.T) {
	for damagedNode := range 3 {
		if testing.Short() && damagedNode > 0 {
			break
		}
		t.Run(fmt.Sprintf("node %d", damagedNode), func(t *testing.T) {
			t.Parallel()
			const n = 300
			c := clustertest.Start(t, options())
			publish(t, createLog(t, c.Conn(0), 3), 0, n)
			c.Caught(n)
			c.Stop(damagedNode)
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
			publish(t, c.JetStream(0), n, n+10)
			c.Caught(n + 10)
			checkMessages(t, c, n+10)
		})
	}
}
