package daemon

import (
	"errors"
	"os"
	"strings"
	"testing"

	"tcp-log-server/client"
	"tcp-log-server/engine"
	"tcp-log-server/internal/replicated"
)

// TestSeedCluster: a log moves from one machine to three and back to one, with its entries, times and id,
// and every copy of it stays a copy.
func TestSeedCluster(t *testing.T) {
	config := sourceConfig(t)
	source := run(t, config)
	fillSome(t, dialed(t, source.addr, client.Options{}), 500)
	copying := copyConfig(t, source.addr)
	copied := run(t, copying)
	fillSome(t, dialed(t, source.addr, client.Options{}), 100)
	sameLogs(t, source.addr, copied.addr, client.Options{})
	store, digest := statAt(t, source.addr, client.Options{}).Store, digestAt(t, source.addr, 600)

	k := newTrio(t)
	k.configs[0].Cluster.Seed = config.Data
	if err := source.stop(); err != nil {
		t.Fatal(err)
	}
	k.start(t, 0, 1, 2)
	for i := range 3 {
		if got := digestAt(t, k.addr(i), 600); got != digest {
			t.Errorf("node %d has the digest %s, want %s", i, got, digest)
		}
	}
	if s := statAt(t, k.addr(1), client.Options{}); s.Store != store || s.Epoch != 2 || s.Head != 600 {
		t.Errorf("the cluster's log is %s in epoch %d with %d entries, want %s in epoch 2 with 600", s.Store, s.Epoch, s.Head, store)
	}
	fillSome(t, dialed(t, k.addr(1), client.Options{}), 100)

	// The old server's replica follows the cluster, and so does the old server.
	if err := copied.stop(); err != nil {
		t.Error(err)
	}
	copying.Source.Addr = k.addr(2)
	copied = run(t, copying)
	sameLogs(t, k.addr(2), copied.addr, client.Options{})
	digest = digestAt(t, k.addr(0), 700)
	old := copyConfig(t, k.addr(1))
	old.Data = config.Data
	again := run(t, old)
	sameLogs(t, k.addr(1), again.addr, client.Options{})
	if err := again.stop(); err != nil {
		t.Error(err)
	}

	// Back to one machine.
	if err := copied.stop(); err != nil {
		t.Error(err)
	}
	if sum := fsckDirectory(t, copying.Data); !strings.Contains(digest, sum.Digest) {
		t.Errorf("fsck's digest is %s, the cluster's %s", sum.Digest, digest)
	}
	p, err := engine.Promote(engine.NewConfig(copying.Data))
	if err != nil || p.Epoch.Number != 3 {
		t.Fatalf("the promoted replica is in epoch %d, %v, want 3", p.Epoch.Number, err)
	}
	copying.Source = nil
	single := run(t, copying)
	if got := digestAt(t, single.addr, 700); got != digest {
		t.Errorf("the log on one machine has the digest %s, want %s", got, digest)
	}
	fillSome(t, dialed(t, single.addr, client.Options{}), 1)
}

// TestSeedRestart: once a cluster has its seed, the setting is harmless, even if the directory is gone.
func TestSeedRestart(t *testing.T) {
	config := sourceConfig(t)
	source := run(t, config)
	fillSome(t, dialed(t, source.addr, client.Options{}), 50)
	if err := source.stop(); err != nil {
		t.Fatal(err)
	}
	k := newTrio(t)
	k.configs[0].Cluster.Seed = config.Data
	k.start(t, 0, 1, 2)
	fillSome(t, dialed(t, k.addr(2), client.Options{}), 7)
	if err := os.RemoveAll(config.Data); err != nil {
		t.Fatal(err)
	}
	k.stop(t, 0)
	k.start(t, 0)
	if head := statAt(t, k.addr(0), client.Options{}).Head; head != 57 {
		t.Errorf("the head is %d, want 57", head)
	}
}

// TestSeedNotUsed: logs with which a cluster cannot begin.
func TestSeedNotUsed(t *testing.T) {
	config := sourceConfig(t)
	source := run(t, config)
	fillSome(t, dialed(t, source.addr, client.Options{}), 50)

	k := newTrio(t)
	k.configs[1].Cluster.Seed = config.Data
	if err := k.configs[1].Validate(); err == nil || !strings.Contains(err.Error(), "cluster-seed is for the first of cluster-nodes, a, and this is b") {
		t.Errorf("the settings of node b with a seed: %v", err)
	}
	one := k.configs[0]
	one.Cluster.Nodes, _, _ = strings.Cut(one.Cluster.Nodes, ",")
	for name, want := range map[string]string{
		config.Data: "stop the server that runs there",
		t.TempDir(): "there is no log in",
		one.Data:    "belongs to node a of a cluster",
	} {
		one.Cluster.Seed = name
		if err := Run(t.Context(), one); !errors.Is(err, replicated.ErrSeed) || !strings.Contains(err.Error(), want) {
			t.Errorf("with the seed %s: %v, want %q in it", name, err, want)
		}
	}
	if err := source.stop(); err != nil {
		t.Fatal(err)
	}
	one.Cluster.Seed = config.Data
	node := run(t, one)
	if head := statAt(t, node.addr, client.Options{}).Head; head != 50 {
		t.Errorf("the head is %d, want 50", head)
	}
}
