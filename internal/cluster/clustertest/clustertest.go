//go:build !nocluster

// Package clustertest runs clusters for tests: all nodes in this process, on loopback, each with a
// directory of its own.
package clustertest

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/porttest"
)

// Options change what Start starts. The zero value is a cluster of three nodes without TLS.
type Options struct {
	Size int // 1, 3 or 5; 0 is 3
	// TLS returns the configuration of a node, if not nil.
	TLS func(name string) *tls.Config
	// Change changes the configuration of a node before it starts, if not nil.
	Change func(*cluster.Config)
	// Log gets what the nodes log, if not nil.
	Log *zerolog.Logger
}

// A Cluster is a cluster of nodes in this process. Its methods take the number of a node, from 0, and
// must not be called for one node from two goroutines at a time.
type Cluster struct {
	t       testing.TB
	options Options
	dir     string
	Members []cluster.Member

	mu    sync.Mutex
	nodes []*cluster.Node // nil where a node is stopped
}

// Timeout bounds how long a cluster may take to be ready.
const Timeout = 30 * time.Second

// Start starts a cluster and waits until all nodes are ready. They are closed when the test ends.
func Start(t testing.TB, options Options) *Cluster {
	t.Helper()
	c := New(t, options)
	for i := range c.Members {
		c.Start(i)
	}
	c.Ready()
	return c
}

// New returns a cluster of which no node runs.
func New(t testing.TB, options Options) *Cluster {
	t.Helper()
	if options.Size == 0 {
		options.Size = 3
	}
	c := &Cluster{t: t, options: options, dir: t.TempDir(), nodes: make([]*cluster.Node, options.Size)}
	for i := range options.Size {
		c.Members = append(c.Members, cluster.Member{Name: string(rune('a' + i)), Addr: porttest.Addr(t)})
	}
	t.Cleanup(c.Close)
	return c
}

// Grow gives the cluster more members, up to so many, of which none runs yet. Nodes that run learn of them
// when they are started again.
func (c *Cluster) Grow(size int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	members := slices.Clone(c.Members)
	for i := len(members); i < size; i++ {
		members = append(members, cluster.Member{Name: string(rune('a' + i)), Addr: porttest.Addr(c.t)})
	}
	c.Members = members
	c.nodes = append(c.nodes, make([]*cluster.Node, size-len(c.nodes))...)
}

// Config is the configuration of a node.
func (c *Cluster) Config(i int) cluster.Config {
	m := c.Members[i]
	config := cluster.Config{
		Members: c.Members, Name: m.Name,
		Dir:    c.Dir(i),
		Secret: []byte("a secret for tests"),
		Logger: zerolog.Nop(),
	}
	if c.options.TLS != nil {
		config.TLS = c.options.TLS(m.Name)
	}
	if c.options.Log != nil {
		config.Logger = c.options.Log.With().Str("node", m.Name).Logger()
	}
	if c.options.Change != nil {
		c.options.Change(&config)
	}
	return config
}

// Dir is the directory of a node.
func (c *Cluster) Dir(i int) string { return filepath.Join(c.dir, c.Members[i].Name) }

// Start starts a node that does not run, and does not wait for it to be ready.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	if c.Node(i) != nil {
		c.t.Fatalf("node %s runs already", c.Members[i].Name)
	}
	n, err := cluster.Start(c.Config(i))
	if err != nil {
		c.t.Fatal(err)
	}
	c.set(i, n)
}

// Node is a node, nil if it does not run.
func (c *Cluster) Node(i int) *cluster.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i]
}

func (c *Cluster) set(i int, n *cluster.Node) (old *cluster.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, c.nodes[i] = c.nodes[i], n
	return old
}

// Ready waits until all nodes that run are ready, and a stream can have replicas on all of them.
func (c *Cluster) Ready() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	var last *cluster.Node
	var run int
	for i, m := range c.Members {
		if n := c.Node(i); n != nil {
			if err := n.Ready(ctx); err != nil {
				c.t.Fatalf("node %s: %v", m.Name, err)
			}
			last = n
			run++
		}
	}
	for len(c.Members) > 1 && last.Status(ctx).Online < run {
		select {
		case <-ctx.Done():
			c.t.Fatalf("after %v, JetStream cannot use all %d nodes that run", Timeout, run)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Conn returns a connection to a node, which is closed when the test ends.
func (c *Cluster) Conn(i int, opts ...nats.Option) *nats.Conn {
	c.t.Helper()
	nc, err := c.Node(i).Connect(opts...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// JetStream returns JetStream as a client of a node sees it.
func (c *Cluster) JetStream(i int) jetstream.JetStream {
	c.t.Helper()
	js, err := jetstream.New(c.Conn(i))
	if err != nil {
		c.t.Fatal(err)
	}
	return js
}

// Caught waits until all nodes run and have as many messages as that.
func (c *Cluster) Caught(messages uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	for {
		status := c.Node(0).Status(ctx)
		var behind []cluster.MemberStatus
		for _, m := range status.Members {
			if !m.Connected || !m.Current || m.Messages < messages || m.Problem != "" {
				behind = append(behind, m)
			}
		}
		if len(behind) == 0 && status.Ready {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("after %v, not all nodes have %d messages: %s %+v", Timeout, messages, status.Reason, behind)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop stops a node as a shutdown does.
func (c *Cluster) Stop(i int) {
	if n := c.set(i, nil); n != nil {
		n.Close()
	}
}

// Wipe removes the directory of a node that does not run.
func (c *Cluster) Wipe(i int) {
	c.t.Helper()
	if c.Node(i) != nil {
		c.t.Fatalf("node %s runs, stop it before its directory is wiped", c.Members[i].Name)
	}
	if err := os.RemoveAll(c.Dir(i)); err != nil {
		c.t.Fatal(err)
	}
}

// Close stops all nodes, at the same time.
func (c *Cluster) Close() {
	var wg sync.WaitGroup
	for i := range c.Members {
		wg.Go(func() { c.Stop(i) })
	}
	wg.Wait()
}
