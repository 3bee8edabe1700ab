package daemon

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/client"
	"tcp-log-server/internal/cluster"
)

// verifyAt asks a node to verify the cluster, through an entry.
func verifyAt(t *testing.T, addr string, through int) (found []cluster.Verification) {
	t.Helper()
	var answer struct {
		Digest, Error string
		Replicas      []cluster.Verification
	}
	line := asked(t, addr, fmt.Sprintf(`{"digest":{"from":1,"through":%d,"replicas":true}}`, through))
	if err := json.Unmarshal([]byte(line), &answer); err != nil || answer.Error != "" || len(answer.Replicas) != 3 {
		t.Fatalf("the answer is %s, %v", line, err)
	}
	return answer.Replicas
}

// awaitWhole waits until all replicas are whole and equal.
func (k *trio) awaitWhole(t *testing.T, i, through int) {
	t.Helper()
	var found []cluster.Verification
	eventually(t, "three whole replicas", func() bool {
		found = verifyAt(t, k.addr(i), through)
		for _, v := range found {
			if v.Problem != "" || v.Sum != found[0].Sum || v.Sum == "" {
				return false
			}
		}
		return true
	})
	if found[0].Node != "a" || found[1].Node != "b" || found[2].Node != "c" {
		t.Errorf("the nodes are %+v", found)
	}
}

// flipBit damages a node's replica in the middle of its first block.
func (k *trio) flipBit(t *testing.T, i int) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(k.configs[i].clusterDir(), "jetstream", "$G", "streams", k.configs[i].Cluster.Stream, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatal("the replica has no blocks: ", err)
	}
	path := blocks[0]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyCluster damages the replica of a stopped node: all nodes still read the log correctly, verify
// names the damaged one, and it fetches its replica again.
func TestVerifyCluster(t *testing.T) {
	k := startTrio(t)
	fillSome(t, dialed(t, k.addr(0), client.Options{}), 300)
	k.awaitWhole(t, 0, 300)
	digest := digestAt(t, k.addr(0), 300)
	k.stop(t, 2)
	k.flipBit(t, 2)
	k.start(t, 2)
	var found []cluster.Verification
	eventually(t, "two whole replicas", func() bool {
		found = verifyAt(t, k.addr(1), 300)
		return found[0].Problem == "" && found[1].Problem == ""
	})
	if p := found[2].Problem; !strings.HasPrefix(p, "jetstream/") || !strings.Contains(p, ", after message ") {
		t.Errorf("of the damaged replica is said: %s", p)
	}
	for i := range 3 {
		if got := digestAt(t, k.addr(i), 300); got != digest {
			t.Errorf("node %d reads a log with the digest %s, want %s", i, got, digest)
		}
	}
	fillSome(t, dialed(t, k.addr(2), client.Options{}), 50)

	k.stop(t, 2)
	k.start(t, 2)
	k.awaitWhole(t, 2, 350)

	// A whole replica is fetched again on request.
	if _, err := cluster.FetchAgain(k.configs[1].clusterDir()); err == nil {
		t.Error("a node that runs can be told to fetch its replica again")
	}
	k.stop(t, 1)
	aside := filepath.Join(k.configs[1].clusterDir(), "replaced")
	if _, err := os.Stat(aside); err == nil {
		t.Error("a replica was put aside before")
	}
	if node, err := cluster.FetchAgain(k.configs[1].clusterDir()); err != nil || node != "b" {
		t.Fatal(node, err)
	}
	k.start(t, 1)
	k.awaitWhole(t, 0, 350)
	if _, err := os.Stat(aside); err != nil {
		t.Error("the replica was not put aside: ", err)
	}
	k.stop(t, 1)
	k.start(t, 1) // only once
	k.awaitWhole(t, 0, 350)
}

// TestOtherKind: the directories of a node and of a single server are not mistaken for each other.
func TestOtherKind(t *testing.T) {
	config := sourceConfig(t)
	source := run(t, config)
	fillSome(t, dialed(t, source.addr, client.Options{}), 3)
	if err := source.stop(); err != nil {
		t.Fatal(err)
	}
	one := newTrio(t).configs[0]
	one.Cluster.Nodes, _, _ = strings.Cut(one.Cluster.Nodes, ",")
	if err := run(t, one).stop(); err != nil {
		t.Fatal(err)
	}
	refused := func(config Config, want string) {
		t.Helper()
		if err := Run(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the daemon ends with %v, want %q in it", err, want)
		}
	}
	plain := config
	plain.Data = one.Data
	refused(plain, "belongs to node a of a cluster: start it with cluster-nodes")
	plain.Source = &Source{Addr: "localhost:1"}
	refused(plain, "belongs to node a of a cluster: start it with cluster-nodes")
	node := one
	node.Data = config.Data
	refused(node, "has the log of a single server")
	node.Data, node.Cluster.Seed = t.TempDir(), one.Data
	refused(node, "belongs to node a of a cluster: seed with a replica of that")
	if err := run(t, one).stop(); err != nil {
		t.Fatal(err)
	}
	run(t, config)
}

// TestVerifyDirectory: a server that is not a node says that it has no replicas.
func TestVerifyDirectory(t *testing.T) {
	source := run(t, sourceConfig(t))
	fillSome(t, dialed(t, source.addr, client.Options{}), 3)
	if got := asked(t, source.addr, `{"digest":{"from":1,"through":3,"replicas":true}}`); got != `{"error":"this server is no node of a cluster, so it has no replicas to verify"}` {
		t.Errorf("the answer is %s", got)
	}
}
