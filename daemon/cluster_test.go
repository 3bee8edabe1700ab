package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/internal/porttest"
)

// threeNodes returns the configurations of a cluster of three nodes on this machine.
func threeNodes(t *testing.T) (configs []Config) {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("of all three nodes, as the test has it\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, name+"="+porttest.Addr(t))
	}
	for _, name := range []string{"a", "b", "c"} {
		config := NewConfig(filepath.Join(dir, name))
		config.Port, config.Metrics = 0, "127.0.0.1:0"
		config.Cluster.Nodes, config.Cluster.Node, config.Cluster.SecretFile = strings.Join(nodes, ","), name, secret
		config.Cluster.GiveUp = 20 * time.Second
		configs = append(configs, config)
	}
	return configs
}

// runAll runs daemons that wait for each other.
func runAll(t *testing.T, configs []Config) []*running {
	t.Helper()
	daemons := make([]*running, len(configs))
	var starting sync.WaitGroup
	for i, config := range configs {
		starting.Go(func() { daemons[i] = run(t, config) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return daemons
}

// TestCluster appends on one node of three and reads on another, stops one, continues, starts it again,
// and then restarts all of them.
func TestCluster(t *testing.T) {
	configs := threeNodes(t)
	daemons := runAll(t, configs)
	a := dialed(t, daemons[0].addr, client.Options{})
	b := dialed(t, daemons[1].addr, client.Options{})
	followed := make(chan client.Entry, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for e, err := range b.Follow(ctx, 1) {
			if err == nil {
				followed <- e
			}
		}
	}()
	last := uint64(0)
	put := func(c *client.Client, n int) {
		t.Helper()
		for range n {
			index, err := c.Append(t.Context(), fmt.Appendf(nil, `{"n":%d}`, last+1))
			if err != nil || index != last+1 {
				t.Fatalf("got index %d, %v, want %d", index, err, last+1)
			}
			last = index
		}
	}
	check := func() {
		t.Helper()
		for next := last - uint64(len(followed)) + 1; len(followed) > 0; next++ {
			if e := <-followed; e.Index != next {
				t.Fatalf("the follower got index %d, want %d", e.Index, next)
			}
		}
	}
	put(a, 20)
	eventually(t, "the follower on another node", func() bool { return len(followed) == 20 })
	check()

	s := statAt(t, daemons[0].addr, client.Options{})
	if s.Head != last || s.Cluster == nil || s.Cluster.Node != "a" || s.Failed != "" {
		t.Errorf("stat is %+v with cluster %+v", s, s.Cluster)
	}
	if got, want := fmt.Sprint(s.Settings["max-entry"]), fmt.Sprint(float64(s.MaxEntry)); got != want {
		t.Errorf("the settings show max-entry=%s, and an entry may have %s bytes", got, want)
	}
	eventually(t, "the leader to have heard of all", func() bool {
		c := statAt(t, daemons[0].addr, client.Options{}).Cluster
		n := 0
		for _, r := range c.Replicas {
			if r.Current && !r.Offline {
				n++
			}
		}
		return n == 3
	})

	// Two of three continue.
	if err := daemons[2].stop(); err != nil {
		t.Fatal(err)
	}
	put(a, 20)
	put(b, 20)
	eventually(t, "the follower while a node is down", func() bool { return len(followed) == 40 })
	check()
	daemons[2] = run(t, configs[2])
	c := dialed(t, daemons[2].addr, client.Options{})
	put(c, 5)
	want := logText(t, daemons[0].addr, client.Options{})
	if got := logText(t, daemons[2].addr, client.Options{}); got != want {
		t.Errorf("node c has\n%s\nand node a\n%s", got, want)
	}

	// All of them stop at once, and start again.
	cancel()
	var stopping sync.WaitGroup
	for _, d := range daemons {
		stopping.Go(func() {
			if err := d.stop(); err != nil {
				t.Error(err)
			}
		})
	}
	stopping.Wait()
	daemons = runAll(t, configs)
	for _, d := range daemons {
		if got := logText(t, d.addr, client.Options{}); got != want {
			t.Errorf("after a restart a node has\n%s\nwant\n%s", got, want)
		}
	}
	put(dialed(t, daemons[1].addr, client.Options{}), 5)
}

// TestClusterWaits runs one node of three: it says what it waits for and can be stopped. With a second
// one it serves. The first start of a cluster needs all of them.
func TestClusterWaits(t *testing.T) {
	configs := threeNodes(t)
	daemons := runAll(t, configs)
	if _, err := dialed(t, daemons[0].addr, client.Options{}).Append(t.Context(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for _, d := range daemons {
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
	}
	configs[0].Metrics = porttest.Addr(t)
	ready := func() (int, string) {
		resp, err := http.Get("http://" + configs[0].Metrics + "/readyz")
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	for round := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, configs[0]) }()
		eventually(t, "the node to say what it waits for", func() bool {
			status, text := ready()
			return status == 503 && strings.Contains(text, "waiting for the cluster: ")
		})
		if round == 0 {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("a node that waits ends with %v", err)
			}
			continue
		}
		other := run(t, configs[1])
		eventually(t, "two of three nodes to serve", func() bool { status, _ := ready(); return status == 200 })
		// Without the other there is no majority.
		if err := other.stop(); err != nil {
			t.Error(err)
		}
		eventually(t, "the node to say that it is alone", func() bool {
			status, text := ready()
			return status == 503 && strings.Contains(text, "majority")
		})
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("a node without a majority ends with %v", err)
		}
	}
}

// TestClusterSettings: which settings of a cluster are refused, and how.
func TestClusterSettings(t *testing.T) {
	const nodes = "a=127.0.0.1:6222,b=127.0.0.1:6223,c=127.0.0.1:6224"
	for want, change := range map[string]func(*Config){
		"cluster-nodes and nats-url exclude each other": func(c *Config) { c.Cluster.URL = "nats://localhost" },
		"found 2 nodes, want 1, 3 or 5":                 func(c *Config) { c.Cluster.Nodes = "a=h:1,b=h:2" },
		`this node is "d", want one of a, b, c`:         func(c *Config) { c.Cluster.Node = "d" },
		"cluster-node: it is not set: CLUSTER_NODE":     func(c *Config) { c.Cluster.Node = "" },
		"needs cluster-secret-file":                     func(c *Config) { c.Cluster.SecretFile = "" },
		"which other machines can reach":                func(c *Config) { c.Cluster.Nodes = strings.Replace(nodes, "127.0.0.1:6223", "10.0.0.2:6223", 1) },
		"cluster-tls-key and cluster-tls-ca":            func(c *Config) { c.Cluster.TLSCert = "cert.pem" },
		`head is "all", want leader or quorum`:          func(c *Config) { c.Cluster.Head = "all" },
		"give-up is 1ms, want 1s to 10m":                func(c *Config) { c.Cluster.GiveUp = time.Millisecond },
		`nats-stream is "a.b", want`:                    func(c *Config) { c.Cluster.Stream = "a.b" },
		"archive is for a log in a directory":           func(c *Config) { c.Archive = "file:///tmp/x" },
		"sync-replicas is for a log in a directory":     func(c *Config) { c.SyncReplicas = 1 },
		"keeps its replica on disk":                     func(c *Config) { c.Data = "memory" },
		"a replica follows a server":                    func(c *Config) { c.Source = &Source{Addr: "localhost:1"} },
		"nats-creds needs cluster-nodes":                func(c *Config) { c.Cluster.Nodes, c.Cluster = "", Cluster{Creds: "x"} },
	} {
		config := NewConfig(t.TempDir())
		config.Cluster.Nodes, config.Cluster.Node, config.Cluster.SecretFile = nodes, "a", "secret"
		change(&config)
		err := config.Validate()
		if _, ok := errors.AsType[ConfigError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a ConfigError with %q", err, want)
		}
	}
	config := NewConfig(t.TempDir())
	config.Cluster.Nodes, config.Cluster.Node, config.Cluster.SecretFile = nodes, "a", "secret"
	if err := config.Validate(); err != nil {
		t.Errorf("good settings: %v", err)
	}
}
