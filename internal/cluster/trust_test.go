//go:build !nocluster

package cluster_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/internal/access/accesstest"
	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/cluster/clustertest"
)

// certificates returns the TLS configuration of a node with a certificate from an authority.
func certificates(t testing.TB, a *accesstest.Authority, ca string) *tls.Config {
	t.Helper()
	cert, key := a.Issue(t, "127.0.0.1", time.Now().Add(time.Hour))
	c, err := cluster.LoadTLS(cert, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	return c.Config()
}

// lines collects the log lines of nodes.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// find returns the first line that contains all parts, "" if there is none.
func (l *lines) find(parts ...string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for line := range strings.Lines(l.text.String()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue next
			}
		}
		return line
	}
	return ""
}

// TestTLS runs a cluster whose nodes show certificates.
func TestTLS(t *testing.T) {
	a := accesstest.NewAuthority(t)
	opts := options()
	opts.TLS = func(string) *tls.Config { return certificates(t, a, a.Path) }
	c := clustertest.Start(t, opts)
	publish(t, createLog(t, c.Conn(0), 3), 0, 20)
	c.Caught(20)
}

// TestStranger starts two nodes that belong together and one that does not. The two must refuse it, and
// log which node it is and what to do. So must the third, if it can know.
func TestStranger(t *testing.T) {
	ours, theirs := accesstest.NewAuthority(t), accesstest.NewAuthority(t)
	for _, c := range []struct {
		name   string
		tls    bool
		change func(*cluster.Config) // of the third node
		want   [][]string            // in lines of the log
	}{
		{"another secret", false, func(c *cluster.Config) { c.Secret = []byte("another secret for tests") }, [][]string{
			{`"node":"a"`, `"peer":"c"`, "CLUSTER_SECRET_FILE"}, {`"node":"c"`, `"peer":"a"`, "CLUSTER_SECRET_FILE"},
		}},
		{"another authority", true, func(c *cluster.Config) { c.TLS = certificates(t, theirs, theirs.Path) }, [][]string{
			{`"node":"a"`, `"peer":"c"`, "CLUSTER_TLS_CA"}, {`"node":"c"`, "CLUSTER_TLS_CA"},
		}},
		{"a certificate of another authority", true, func(c *cluster.Config) { c.TLS = certificates(t, theirs, ours.Path) }, [][]string{
			{`"node":"a"`, `"peer":"c"`, "CLUSTER_TLS_CA"}, {`"node":"c"`, "CLUSTER_TLS_CA"},
		}},
		{"without TLS", true, func(c *cluster.Config) { c.TLS = nil }, [][]string{
			{`"node":"a"`, "CLUSTER_TLS_CERT"}, // a peer that connects without TLS does not name itself
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log lines
			logger := zerolog.New(&log).Level(zerolog.WarnLevel)
			opts := clustertest.Options{Log: &logger}
			if c.tls {
				opts.TLS = func(string) *tls.Config { return certificates(t, ours, ours.Path) }
			}
			opts.Change = func(config *cluster.Config) {
				if config.Name == "c" {
					c.change(config)
				}
			}
			nodes := clustertest.New(t, opts)
			for i := range nodes.Members {
				nodes.Start(i)
			}
			ctx, cancel := context.WithTimeout(t.Context(), clustertest.Timeout)
			defer cancel()
			poll := func(what string, done func() bool) {
				t.Helper()
				for !done() {
					select {
					case <-ctx.Done():
						log.mu.Lock()
						defer log.mu.Unlock()
						t.Fatalf("%s:\n%s", what, log.text.String())
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
			for _, want := range c.want {
				poll(fmt.Sprintf("no line has %q", want), func() bool { return log.find(want...) != "" })
			}
			var status cluster.Status // one to which node b answered in time
			poll("nodes a and b are not connected", func() bool {
				status = nodes.Node(0).Status(ctx)
				return status.Members[1].Connected
			})
			for i, m := range status.Members {
				if m.Connected != (i < 2) {
					t.Errorf("node a is connected with node %s: %v", m.Name, m.Connected)
				}
			}
			if last := c.want[len(c.want)-1]; len(c.want) > 1 {
				poll("the third node does not say why it is not ready", func() bool {
					return strings.Contains(nodes.Node(2).Status(ctx).Reason, last[len(last)-1])
				})
			}
			if nodes.Node(2).Status(ctx).Ready {
				t.Error("the third node is ready")
			}
		})
	}
}

func TestBadCertificates(t *testing.T) {
	a := accesstest.NewAuthority(t)
	cert, key := a.Issue(t, "127.0.0.1", time.Now().Add(time.Hour))
	other, _ := a.Issue(t, "127.0.0.2", time.Now().Add(time.Hour))
	empty := t.TempDir() + "/empty.pem"
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cert, key, ca, want string }{
		{cert, key, empty, "it has no certificates"},
		{cert, key, "gone.pem", "gone.pem"},
		{other, key, a.Path, "private key does not match"},
		{"gone.pem", key, a.Path, "gone.pem"},
	} {
		if _, err := cluster.LoadTLS(c.cert, c.key, c.ca); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
