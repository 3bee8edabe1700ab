package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/internal/porttest"
)

// trio is a cluster of three daemons in this process, a, b and c.
type trio struct {
	configs []Config
	nodes   []*running // nil for a stopped node
}

// newTrio returns a cluster of which no node runs.
func newTrio(t *testing.T) *trio {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("a secret for this test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var members []string
	for i := range 3 {
		members = append(members, fmt.Sprintf("%c=%s", 'a'+i, porttest.Addr(t)))
	}
	k := &trio{nodes: make([]*running, 3)}
	for i := range 3 {
		config := NewConfig(filepath.Join(dir, string(rune('a'+i))))
		config.Port = 0
		config.Cluster.Nodes, config.Cluster.Node = strings.Join(members, ","), string(rune('a'+i))
		config.Cluster.SecretFile = secret
		k.configs = append(k.configs, config)
	}
	return k
}

// startTrio returns a cluster of which all nodes serve.
func startTrio(t *testing.T) *trio {
	t.Helper()
	k := newTrio(t)
	k.start(t, 0, 1, 2)
	return k
}

// start starts nodes, and waits until they serve.
func (k *trio) start(t *testing.T, nodes ...int) {
	t.Helper()
	var starting sync.WaitGroup
	for _, i := range nodes {
		starting.Go(func() { k.nodes[i] = run(t, k.configs[i]) })
	}
	starting.Wait()
	for _, i := range nodes {
		if k.nodes[i] == nil {
			t.Fatalf("node %d has not started", i)
		}
	}
}

// stop stops a node.
func (k *trio) stop(t *testing.T, i int) {
	t.Helper()
	if err := k.nodes[i].stop(); err != nil {
		t.Error(err)
	}
	k.nodes[i] = nil
}

// addr returns the address of a node for clients.
func (k *trio) addr(i int) string { return k.nodes[i].addr }

// digestAt returns a server's digest of its log through an entry.
func digestAt(t *testing.T, addr string, through uint64) string {
	t.Helper()
	return asked(t, addr, fmt.Sprintf(`{"digest":{"from":1,"through":%d}}`, through))
}
