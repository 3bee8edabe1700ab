package cluster

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// options describe how to run a cluster.
type options struct {
	Env    []string          // NAME=value, of all nodes
	Binary map[string]string // of nodes, by default the unchanged server
	Data   map[string]string // directories of nodes, by default new ones
	Spare  bool              // there are two more machines, whose nodes the others do not know yet
}

// cluster is three nodes on this machine, or three gateways to a NATS cluster.
type cluster struct {
	t       testing.TB
	dir     string
	net     *network // nil with a NATS cluster
	nodes   []*node
	spare   []*node // those of options.Spare
	servers []*node // of the NATS cluster
}

// node is a member of a cluster, running or not.
type node struct {
	t     testing.TB
	name  string
	space *space
	addr  string // for clients
	data  string
	bin   string
	args  []string
	env   []string
	log   string // the file of its log

	mu   sync.Mutex
	proc *process
}

// process is one run of a node.
type process struct {
	cmd       *exec.Cmd
	listening chan struct{} // closed when it listens for clients
	exit      chan struct{} // closed when it has ended
}

var names = []string{"a", "b", "c"}

// newCluster starts a cluster and waits until its nodes listen.
func newCluster(t testing.TB, o options) *cluster {
	t.Helper()
	c := layOut(t, o)
	c.start()
	return c
}

// layOut prepares a cluster without starting it.
func layOut(t testing.TB, o options) *cluster {
	t.Helper()
	binary, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := newDir(t)
	c := &cluster{t: t, dir: dir}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, addrs, members := names, make(map[string]string), []string(nil)
	if o.Spare {
		all = append(slices.Clip(names), "d", "e")
	}
	for i, name := range all {
		addrs[name] = fmt.Sprintf("127.0.0.%d:6222", 1+i)
		members = append(members, name+"="+addrs[name])
	}
	c.net = newNetwork(t, addrs)
	for i, name := range all {
		members := members
		if i < len(names) {
			members = members[:len(names)]
		}
		data := cmp.Or(o.Data[name], filepath.Join(dir, name))
		n := &node{
			t: t, name: name, space: c.net.spaces[name], addr: "127.0.0.1:8089", data: data, bin: cmp.Or(o.Binary[name], binary), log: filepath.Join(dir, name+".log"),
			env: append([]string{
				"HOST=127.0.0.1", "PORT=8089", "DATA=" + data, "CLUSTER_NODES=" + strings.Join(members, ","),
				"CLUSTER_NODE=" + name, "CLUSTER_SECRET_FILE=" + secret,
			}, o.Env...),
		}
		if i < len(names) {
			c.nodes = append(c.nodes, n)
		} else {
			c.spare = append(c.spare, n)
		}
		t.Cleanup(n.kill)
	}
	return c
}

// newDir returns a new directory, which is kept if the test fails.
func newDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cluster-data")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the test left is in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// start starts the nodes that are down, and waits until all listen.
func (c *cluster) start() {
	c.t.Helper()
	for _, n := range slices.Concat(c.servers, c.nodes) {
		n.launch()
	}
	for _, n := range c.nodes {
		n.listening()
	}
}

// node returns the node of that name.
func (c *cluster) node(name string) *node {
	for _, n := range slices.Concat(c.servers, c.nodes) {
		if n.name == name {
			return n
		}
	}
	return nil
}

// leader waits until a node knows which node leads the log, and returns the leader.
func (c *cluster) leader() *node {
	c.t.Helper()
	var leader *node
	eventually(c.t, "the log has a leader", func() bool {
		for _, n := range c.nodes {
			if s, err := n.stat(); err == nil && c.node(s.Cluster.Leader) != nil {
				leader = c.node(s.Cluster.Leader)
				return true
			}
		}
		return false
	})
	return leader
}

// others returns the nodes except n, in any order.
func (c *cluster) others(n *node) []*node {
	var others []*node
	for _, i := range rand.Perm(len(c.nodes)) {
		if c.nodes[i] != n {
			others = append(others, c.nodes[i])
		}
	}
	return others
}

// launch starts a node that is down.
func (n *node) launch() {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		return
	}
	p := &process{cmd: exec.Command(n.bin, n.args...), listening: make(chan struct{}), exit: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), n.env...)
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.space.start(p.cmd); err != nil {
		n.t.Fatal(err)
	}
	n.proc = p
	go p.collect(out, log)
}

// collect copies the log of the process to a file, and waits until it ends.
func (p *process) collect(out io.Reader, log *os.File) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		if bytes.Contains(line, []byte(`"event":"listening"`)) {
			close(p.listening)
		}
		log.Write(line)
	}
	p.cmd.Wait()
	log.Close()
	close(p.exit)
}

// listening waits until the node listens for clients.
func (n *node) listening() {
	n.t.Helper()
	if err := n.listens(); err != nil {
		n.t.Fatal(err)
	}
}

// listens waits until the node listens for clients. The error says why it does not.
func (n *node) listens() error {
	p := n.running()
	if p == nil {
		return fmt.Errorf("node %s is down", n.name)
	}
	select {
	case <-p.listening:
		return nil
	case <-p.exit:
		return fmt.Errorf("node %s has ended: %s", n.name, n.said())
	case <-time.After(patience):
		return fmt.Errorf("node %s does not listen in %v: %s", n.name, patience, n.said())
	}
}

func (n *node) running() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

// dial connects to the node as a client.
func (n *node) dial() (net.Conn, error) { return n.space.dial(n.addr) }

// said returns the end of the node's log.
func (n *node) said() string {
	b, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-3000):])
}

// signal sends the node a signal, if it runs.
func (n *node) signal(s syscall.Signal) {
	if p := n.running(); p != nil {
		p.cmd.Process.Signal(s)
	}
}

// ended waits until a process that was sent a signal is gone.
func (n *node) ended() {
	p := n.running()
	if p == nil {
		return
	}
	select {
	case <-p.exit:
	case <-time.After(patience):
		n.t.Errorf("node %s has not ended in %v: %s", n.name, patience, n.said())
		p.cmd.Process.Kill()
		<-p.exit
	}
	n.mu.Lock()
	n.proc = nil
	n.mu.Unlock()
}

// kill ends the node as if its machine were gone.
func (n *node) kill() {
	n.signal(syscall.SIGKILL)
	n.ended()
}

// stop ends the node as an operator does.
func (n *node) stop() {
	n.t.Helper()
	p := n.running()
	n.signal(syscall.SIGTERM)
	n.ended()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Errorf("node %s ended with %d after SIGTERM, want 0: %s", n.name, code, n.said())
	}
}

// restart starts a node that is down, and waits until it listens.
func (n *node) restart() {
	n.t.Helper()
	n.launch()
	n.listening()
}

// status is the part of the answer to {"stat":true} that the tests use.
type status struct {
	Version string
	Head    uint64
	Cluster struct {
		Leader   string
		Replicas []struct {
			Node    string
			Current bool
			Offline bool
			Lag     uint64
		}
	}
}

// stat asks the node for its status.
func (n *node) stat() (s status, err error) {
	c, err := n.dial()
	if err != nil {
		return s, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("{\"stat\":true}\n")); err != nil {
		return s, err
	}
	line, err := bufio.NewReader(c).ReadBytes('\n')
	if err != nil {
		return s, err
	}
	answer := struct{ Stat *status }{&s}
	if err := json.Unmarshal(line, &answer); err != nil || answer.Stat == nil {
		return s, errors.Join(err, fmt.Errorf("the status of node %s is %q", n.name, line))
	}
	return s, nil
}
