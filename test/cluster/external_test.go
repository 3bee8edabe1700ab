package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// natsBinary is the NATS server of the version that the nodes embed.
var natsBinary = sync.OnceValues(func() (string, error) {
	return buildPackage("nats-server", "github.com/nats-io/nats-server/v2")
})

// newGateways starts a NATS cluster of three servers, and three gateways to it.
func newGateways(t testing.TB, env ...string) *cluster {
	t.Helper()
	gateway, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	nats, err := natsBinary()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: newDir(t)}
	s := newSpace(t)
	var urls, routes []string
	for i := range names {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1%d:4222", i))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1%d:6222", i))
	}
	for i, name := range names {
		server := "nats-" + name
		config := filepath.Join(c.dir, server+".conf")
		text := fmt.Sprintf(`server_name: %s, listen: "127.0.0.1%d:4222", max_payload: 8MB
cluster { name: "test", listen: "127.0.0.1%d:6222", routes: [%s] }
jetstream { store_dir: "%s", sync_interval: always }
`, server, i, i, strings.Join(routes, ", "), filepath.Join(c.dir, server))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.servers = append(c.servers, &node{
			t: t, name: server, space: s, bin: nats, args: []string{"-c", config}, log: filepath.Join(c.dir, server+".log"),
		})
		addr := fmt.Sprintf("127.0.0.%d", 1+i)
		c.nodes = append(c.nodes, &node{
			t: t, name: name, space: s, addr: addr + ":8089", bin: gateway, log: filepath.Join(c.dir, name+".log"),
			env: append([]string{
				"HOST=" + addr, "PORT=8089", "DATA=" + filepath.Join(c.dir, name), "NATS_URL=" + strings.Join(urls, ","), "NATS_STREAM=chaos",
			}, env...),
		})
	}
	for _, n := range slices.Concat(c.servers, c.nodes) {
		t.Cleanup(n.kill)
	}
	c.start()
	return c
}

// TestGateways: gateways to a NATS cluster keep the same promises as the nodes of a cluster when
// they or the servers are killed or stopped.
func TestGateways(t *testing.T) {
	t.Parallel()
	for i, what := range []struct {
		name string
		do   func(r *round)
	}{
		{"gateway-killed", func(r *round) { r.killed(r.c.nodes[rand.IntN(len(r.c.nodes))]) }},
		{"all-gateways-killed", (*round).allKilled},
		{"leader-killed", func(r *round) { r.serverDown(syscall.SIGKILL) }},
		{"leader-stopped", func(r *round) { r.serverDown(syscall.SIGSTOP) }},
	} {
		heads := []string{"leader", "quorum"}
		if !long(t) {
			heads = heads[i%2 : i%2+1]
		}
		for _, head := range heads {
			t.Run(what.name+"/"+head, func(t *testing.T) {
				t.Parallel()
				endure(t, newGateways(t, "HEAD="+head), head, what.do)
			})
		}
	}
}

// serverDown kills or stops the server that leads the log. All gateways continue, even those that
// are connected to it.
func (r *round) serverDown(s syscall.Signal) {
	server := r.c.leader()
	server.signal(s)
	if s == syscall.SIGKILL {
		server.ended()
	}
	r.goOn(r.c.nodes...)
	r.moment(2 * time.Second)
}
