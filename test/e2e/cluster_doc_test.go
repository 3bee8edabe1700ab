package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/internal/access/accesstest"
	"tcp-log-server/internal/porttest"
)

// documentedCluster runs the commands of docs/CLUSTER.md. Hosts become ports, and paths directories of the
// test.
type documentedCluster struct {
	t              *testing.T
	path, dir      string
	text           string
	clients, nodes map[string]string // ports, by the name of the node
	copyPort       string
	running        map[string]*daemon
}

func newDocumentedCluster(t *testing.T) *documentedCluster {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(root + "docs/CLUSTER.md")
	if err != nil {
		t.Fatal(err)
	}
	c := &documentedCluster{
		t: t, path: path, dir: t.TempDir(), text: string(text),
		clients: make(map[string]string), nodes: make(map[string]string), copyPort: porttest.Port(t),
		running: make(map[string]*daemon),
	}
	authority := accesstest.NewAuthority(t)
	for _, name := range fiveNodes {
		c.clients[name], c.nodes[name] = porttest.Port(t), porttest.Port(t)
		etc := filepath.Join(c.dir, "etc-"+name)
		if err := os.Mkdir(etc, 0o700); err != nil {
			t.Fatal(err)
		}
		authority.IssueTo(t, name, time.Now().Add(time.Hour), filepath.Join(etc, "node.pem"), filepath.Join(etc, "node.key"))
		copyFile(t, authority.Path, filepath.Join(etc, "ca.pem"))
	}
	return c
}

// fiveNodes are the names of all nodes in the document.
var fiveNodes = []string{"a", "b", "c", "d", "e"}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// block returns a block of the document, for a node.
func (c *documentedCluster) block(name, node string) string {
	c.t.Helper()
	m := regexp.MustCompile("(?s)<!-- cluster: " + name + " -->\n```sh\n(.*?)```").FindStringSubmatch(c.text)
	if m == nil {
		c.t.Fatalf("docs/CLUSTER.md has no block %q", name)
	}
	var pairs []string
	for _, n := range fiveNodes {
		pairs = append(pairs, n+".example.com:6222", "127.0.0.1:"+c.nodes[n], n+".example.com", "localhost:"+c.clients[n])
	}
	pairs = append(pairs, "CLUSTER_NODE=a", "CLUSTER_NODE="+node, "9089", c.copyPort,
		"/etc/tcp-log-server/", filepath.Join(c.dir, "etc-"+node)+"/", "/var/lib/tcp-log-server", filepath.Join(c.dir, "data-"+node), "/var/lib/log", filepath.Join(c.dir, "last"))
	return strings.NewReplacer(pairs...).Replace(m[1])
}

// shell returns a command that runs a script.
func (c *documentedCluster) shell(script string) *exec.Cmd {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), "PATH="+filepath.Dir(c.path)+":"+os.Getenv("PATH"))
	return cmd
}

// run runs a block, which must end with exit code 0, and returns what it prints.
func (c *documentedCluster) run(name, node string) string {
	c.t.Helper()
	out, err := c.shell(c.block(name, node)).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

// start starts nodes, and waits until they serve.
func (c *documentedCluster) start(nodes ...string) {
	c.t.Helper()
	c.startWith(nil, nodes...)
}

// startWith starts nodes with settings that override those that the document shows first.
func (c *documentedCluster) startWith(more []string, nodes ...string) {
	c.t.Helper()
	for _, n := range nodes {
		settings := strings.Fields(c.block("settings", n))
		cmd := exec.Command(c.path)
		cmd.Dir = c.dir
		c.running[n] = launchBy(c.t, cmd, slices.Concat(settings, []string{"PORT=" + c.clients[n]}, more)...)
	}
	for _, n := range nodes {
		c.running[n].event(c.t, "listening")
	}
}

// server starts the program that a block runs in the foreground.
func (c *documentedCluster) server(name string) *daemon {
	c.t.Helper()
	d := launchBy(c.t, c.shell("exec "+c.block(name, "a")), "PATH="+filepath.Dir(c.path)+":"+os.Getenv("PATH"))
	d.event(c.t, "listening")
	return d
}

// caughtUp waits until the replica on port has the head.
func (c *documentedCluster) caughtUp(head int) {
	c.t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		out := play(c.t, nil, "", "stat", "localhost:"+c.copyPort, "--json").out
		if strings.Contains(out, fmt.Sprintf(`"head":%d,`, head)) {
			return
		}
		if time.Since(began) > 60*time.Second {
			c.t.Fatalf("the replica does not catch up: %s", out)
		}
	}
}

// makeSecret makes the secret and gives it to all nodes.
func (c *documentedCluster) makeSecret() {
	c.t.Helper()
	if out, err := c.shell("cd etc-a; " + c.block("secret", "a")).CombinedOutput(); err != nil {
		c.t.Skipf("there is no openssl here: %s", out)
	}
	for _, n := range fiveNodes[1:] {
		copyFile(c.t, filepath.Join(c.dir, "etc-a", "secret"), filepath.Join(c.dir, "etc-"+n, "secret"))
	}
}

// TestDocumentedCluster runs the runbooks of docs/CLUSTER.md.
func TestDocumentedCluster(t *testing.T) {
	t.Parallel()
	c := newDocumentedCluster(t)
	c.makeSecret()
	c.start("a", "b", "c")
	if r := play(t, nil, "[1]\n[2]\n", "append", "localhost:"+c.clients["b"]); r.code != 0 || r.out != "1\n2\n" {
		t.Fatalf("append: %+v", r)
	}
	c.run("again", "a")
	status := c.run("status", "a")
	for _, want := range []string{"node  replica ", "localhost:" + c.clients["c"], " leads ", " everything "} {
		if !strings.Contains(status, want) {
			t.Errorf("the status is\n%s\nwant %q in it", status, want)
		}
	}
	verified := c.run("verify", "a")
	if strings.Count(verified, ": whole\n") != 3 {
		t.Errorf("verify prints\n%s", verified)
	}

	// A copy has the same digest.
	copied := c.server("copy")
	c.caughtUp(2)
	copied.stop(t, syscall.SIGTERM)
	digest := regexp.MustCompile(`digest +([0-9a-f]{64} \(entries 1 to 2\))`).FindStringSubmatch(verified)
	if r := play(t, nil, "", "fsck", filepath.Join(c.dir, "copy")); digest == nil || r.code != 0 || !strings.Contains(r.out, digest[1]) {
		t.Errorf("fsck of the copy: %+v, want the digest of\n%s", r, verified)
	}

	// The others miss a stopped node, and its directory is not a log's.
	c.running["b"].stop(t, syscall.SIGTERM)
	if out, err := c.shell(c.block("status", "a")).CombinedOutput(); err == nil || !strings.Contains(string(out), "localhost:"+c.clients["b"]+": ") {
		t.Errorf("without node b the status is %v\n%s", err, out)
	}
	if out, err := c.shell(c.block("verify", "a")).CombinedOutput(); err == nil || !strings.Contains(string(out), "it does not answer") {
		t.Errorf("without node b verify says %v\n%s", err, out)
	}
	data := filepath.Join(c.dir, "data-b")
	for _, args := range [][]string{{"fsck", data}, {"cat", data}, {"stat", data}, {"promote", data}, {"backup", "--data", data, "x"}} {
		if r := play(t, nil, "", args...); r.code == 0 || !strings.Contains(r.err, "belongs to node b of a cluster: ") {
			t.Errorf("%v: %+v", args, r)
		}
	}

	// The node fetches its replica again, and then gets a new disk.
	c.run("repair", "b")
	c.start("b")
	c.run("again", "a")
	c.running["b"].stop(t, syscall.SIGTERM)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	c.start("b")
	c.run("again", "a")
	if out := c.run("verify", "a"); strings.Count(out, ": whole\n") != 3 {
		t.Errorf("verify prints\n%s", out)
	}

	// It gets a new machine, at another address.
	c.running["b"].stop(t, syscall.SIGKILL)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	c.nodes["b"] = porttest.Port(t)
	for _, n := range []string{"b", "a", "c"} {
		if n != "b" {
			c.running[n].stop(t, syscall.SIGTERM)
		}
		c.start(n)
		c.run("again", "a")
	}

	// Two are lost, and the last is restarted, after which it waits. Its log becomes that of a new cluster.
	c.running["b"].stop(t, syscall.SIGKILL)
	c.running["c"].stop(t, syscall.SIGKILL)
	c.running["a"].stop(t, syscall.SIGTERM)
	waits := launchBy(t, exec.Command(c.path), slices.Concat(strings.Fields(c.block("settings", "a")), []string{"PORT=" + c.clients["a"]})...)
	waits.event(t, "waiting")
	if out, err := c.shell(c.block("recover", "a")).CombinedOutput(); err == nil || !strings.Contains(string(out), "stop the node first") {
		t.Errorf("of a node that runs: %v: %s", err, out)
	}
	waits.stop(t, syscall.SIGTERM)
	out := c.run("recover", "a")
	if !strings.Contains(out, "the 2 entries that node a had") || !strings.Contains(out, digest[1]) {
		t.Errorf("recover prints\n%s\nwant 2 entries, and the digest %s", out, digest[1])
	}
	for _, n := range []string{"a", "b", "c"} {
		if err := os.RemoveAll(filepath.Join(c.dir, "data-"+n)); err != nil {
			t.Fatal(err)
		}
	}
	settings := slices.Concat(strings.Fields(c.block("settings", "a")), strings.Fields(c.block("seed", "a")), []string{"PORT=" + c.clients["a"]})
	c.running["a"] = launchBy(t, exec.Command(c.path), settings...)
	c.start("b", "c")
	c.running["a"].event(t, "listening")
	if r := play(t, nil, "[3]\n", "append", "localhost:"+c.clients["c"]); r.code != 0 || r.out != "3\n" {
		t.Fatalf("append to the new cluster: %+v", r)
	}
	if r := play(t, nil, "", "read", "localhost:"+c.clients["a"], "--entry"); r.out != "[1]\n[2]\n[3]\n" {
		t.Errorf("the new cluster has %+v", r)
	}

	// Or that of a single server.
	c.run("promote", "a")
	if r := play(t, nil, "", "cat", filepath.Join(c.dir, "last"), "--entry"); r.out != "[1]\n[2]\n" {
		t.Errorf("the promoted log has %+v", r)
	}
}

// TestDocumentedGrowth runs the runbook from three nodes to five while a client appends, and then loses two
// of the five: each entry is there once, in order.
func TestDocumentedGrowth(t *testing.T) {
	t.Parallel()
	c := newDocumentedCluster(t)
	c.makeSecret()
	c.start("a", "b", "c")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var acknowledged atomic.Int64
	appending := make(chan struct{})
	var dials atomic.Int64
	conn, err := client.Dial(ctx, "any of them", client.Options{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "localhost:"+c.clients[fiveNodes[dials.Add(1)%3]])
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		defer close(appending)
		for n := 0; ctx.Err() == nil; n++ {
			// The client retries by itself, on whichever node it connects to next.
			if _, _, err := conn.AppendOnce(context.WithoutCancel(ctx), fmt.Appendf(nil, `{"n":%d}`, n)); err != nil {
				t.Errorf("entry %d: %v", n, err)
				return
			}
			acknowledged.Store(int64(n + 1))
		}
	}()
	more := func() {
		t.Helper()
		was := acknowledged.Load()
		for began := time.Now(); acknowledged.Load() < was+3; time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > 60*time.Second {
				t.Fatalf("nothing has been acknowledged for %v, after %d entries", time.Since(began), was)
			}
		}
	}
	more()
	five := strings.Fields(c.block("five", "a"))
	for _, n := range []string{"a", "b", "c"} {
		c.running[n].stop(t, syscall.SIGTERM)
		c.startWith(five, n)
		c.run("again", "a")
		more()
	}
	c.startWith(five, "d")
	c.run("joined", "a")
	more()
	if out, err := c.shell(c.block("five again", "a")[len("until "):strings.Index(c.block("five again", "a"), ";")]).CombinedOutput(); err == nil {
		t.Errorf("with four of five nodes the status is\n%s", out)
	}
	c.startWith(five, "e")
	c.run("five again", "a")
	more()
	verified := c.run("verify", "a")
	if strings.Count(verified, ": whole\n") != 5 {
		t.Errorf("verify prints\n%s", verified)
	}
	c.running["b"].stop(t, syscall.SIGKILL)
	c.running["c"].stop(t, syscall.SIGKILL)
	more()
	cancel()
	<-appending
	var want strings.Builder
	for n := range acknowledged.Load() {
		fmt.Fprintf(&want, "{\"n\":%d}\n", n)
	}
	if r := play(t, nil, "", "read", "localhost:"+c.clients["e"], "--entry"); r.out != want.String() {
		t.Errorf("%d entries were acknowledged, and a new node has %d lines: %.2000s", acknowledged.Load(), strings.Count(r.out, "\n"), r.err)
	}
}
