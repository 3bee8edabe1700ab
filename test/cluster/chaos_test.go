package cluster

import (
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// round is one round of chaos: a cluster under load, to which something happens.
type round struct {
	t *testing.T
	c *cluster
	h *history
}

// chaos lists the events that may happen to a cluster, by name. An event is over when its function
// returns, except that nodes may be down or stopped and the network may be cut.
var chaos = []struct {
	name string
	do   func(r *round)
}{
	{"leader-killed", func(r *round) { r.killed(r.c.leader()) }},
	{"follower-killed", func(r *round) { r.killed(r.c.others(r.c.leader())[0]) }},
	{"all-killed", (*round).allKilled},
	{"leader-stopped", func(r *round) { r.stopped(r.c.leader()) }},
	{"leader-cut-off", func(r *round) { r.cutOff(r.c.leader(), traffic{closed: true}, true, true) }},
	{"leader-silent", func(r *round) { r.cutOff(r.c.leader(), traffic{held: true}, true, true) }},
	{"leader-deaf", func(r *round) { r.cutOff(r.c.leader(), traffic{held: true}, true, false) }},
	{"leader-mute", func(r *round) { r.cutOff(r.c.leader(), traffic{held: true}, false, true) }},
	{"follower-silent", func(r *round) { r.cutOff(r.c.others(r.c.leader())[0], traffic{held: true}, true, true) }},
	{"leader-and-follower-parted", (*round).parted},
	{"slow-link", (*round).slow},
	{"rolling-restart", (*round).rolling},
	{"leader-wiped", func(r *round) { r.wiped(r.c.leader()) }},
}

// killed: the machine of a node is gone, and comes back once the others have continued.
func (r *round) killed(n *node) {
	n.kill()
	r.goOn(r.c.others(n)...)
	r.moment(2 * time.Second)
}

// allKilled: all machines are gone at once.
func (r *round) allKilled() {
	for _, n := range r.c.nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range r.c.nodes {
		n.ended()
	}
}

// stopped: a node is stopped until another leads, and then continues as if nothing had happened.
func (r *round) stopped(n *node) {
	n.signal(syscall.SIGSTOP)
	began := time.Now()
	r.goOn(r.c.others(n)...)
	if long(r.t) {
		time.Sleep(time.Until(began.Add(15 * time.Second)))
	}
	r.moment(time.Second)
}

// cutOff: traffic to a node, or from it, or both, is lost until another leads.
func (r *round) cutOff(n *node, t traffic, in, out bool) {
	if in {
		r.c.net.in(n.name, t)
	}
	if out {
		r.c.net.out(n.name, t)
	}
	began := time.Now()
	r.goOn(r.c.others(n)...)
	if long(r.t) {
		time.Sleep(time.Until(began.Add(15 * time.Second)))
	}
	r.moment(2 * time.Second)
	if t.held && rand.IntN(2) == 0 { // held traffic arrives late, or never
		r.c.net.hangUp(n.name)
	}
}

// parted: the leader and one follower cannot reach each other, but both reach the third node.
func (r *round) parted() {
	leader := r.c.leader()
	follower := r.c.others(leader)[0]
	r.c.net.set(leader.name, follower.name, traffic{held: true})
	r.c.net.set(follower.name, leader.name, traffic{held: true})
	r.moment(12 * time.Second)
}

// slow: the link to and from a node has a long delay and a low rate.
func (r *round) slow() {
	n := r.c.nodes[rand.IntN(len(r.c.nodes))]
	link := traffic{delay: 50 * time.Millisecond, rate: 256 << 10}
	r.c.net.in(n.name, link)
	r.c.net.out(n.name, link)
	r.goOn(r.c.nodes...)
	r.moment(8 * time.Second)
	r.goOn(r.c.nodes...)
}

// rolling: the nodes are restarted one after another, as for an upgrade.
func (r *round) rolling() {
	for _, n := range r.c.nodes {
		n.stop()
		n.restart()
		r.current()
	}
}

// wiped: a node loses its disk, and fetches everything from the others.
func (r *round) wiped(n *node) {
	n.kill()
	r.goOn(r.c.others(n)...)
	if err := os.RemoveAll(n.data); err != nil {
		r.t.Fatal(err)
	}
	n.restart()
	r.current()
}

// current waits until all replicas have everything.
func (r *round) current() {
	r.t.Helper()
	var last status
	if !poll(patience, func() bool {
		s, err := r.c.leader().stat()
		last = s
		if err != nil || len(s.Cluster.Replicas) != len(r.c.nodes) {
			return false
		}
		for _, replica := range s.Cluster.Replicas {
			if !replica.Current || replica.Offline {
				return false
			}
		}
		return true
	}) {
		r.t.Fatalf("after %v the replicas are still not current: %+v", patience, last)
	}
}

// goOnTime is the longest time that a majority may take to acknowledge entries again, whatever has
// happened.
const goOnTime = 45 * time.Second

// goOn waits until all of these nodes acknowledge entries that are sent from now on.
func (r *round) goOn(nodes ...*node) {
	r.t.Helper()
	began := r.h.now()
	for _, n := range nodes {
		if !poll(goOnTime, func() bool { return r.h.since(n.name, began) }) {
			said, connections := n.said(), ""
			if r.c.net != nil {
				connections = r.c.net.String()
			}
			for _, n := range r.c.nodes {
				n.signal(syscall.SIGCONT)
				n.signal(syscall.SIGQUIT) // for the stacks in its log
			}
			for _, n := range r.c.nodes {
				n.ended()
			}
			r.t.Fatalf("gateway %s has acknowledged nothing for %v; connections:\n%s%s", n.name, goOnTime, connections, said)
		}
	}
}

// moment waits for a random time.
func (r *round) moment(most time.Duration) { time.Sleep(most/4 + rand.N(most*3/4)) }

// heal undoes all faults.
func (r *round) heal() {
	r.t.Helper()
	if r.c.net != nil {
		r.c.net.all(traffic{})
	}
	for _, n := range slices.Concat(r.c.servers, r.c.nodes) {
		n.signal(syscall.SIGCONT)
	}
	r.c.start()
}

// TestChaos: whatever happens to a cluster, each acknowledged entry is in the log exactly once, at
// its index and in the order of its client, on every gateway; refused entries are not; no follower
// sees a gap; and no head is older than HEAD allows.
func TestChaos(t *testing.T) {
	t.Parallel()
	for i, what := range chaos {
		heads := []string{"leader", "quorum"}
		if !long(t) {
			heads = heads[i%2 : i%2+1]
		}
		for _, head := range heads {
			t.Run(what.name+"/"+head, func(t *testing.T) {
				t.Parallel()
				c := newCluster(t, options{Env: []string{"HEAD=" + head}})
				endure(t, c, head, what.do)
			})
		}
	}
}

// endure runs rounds on a cluster, and checks the log after each.
func endure(t *testing.T, c *cluster, head string, do func(r *round)) {
	t.Helper()
	h := newHistory()
	slack := time.Duration(0)
	if head == "leader" {
		slack = stale
	}
	for number := range rounds(t) {
		r := &round{t, c, h}
		k := begin(c, h, []pace{steady, hard}[number%2])
		r.goOn(c.nodes...)
		h.newRound()
		r.moment(time.Second)
		do(r)
		r.heal()
		r.goOn(c.nodes...)
		r.moment(time.Second)
		longest := time.Duration(h.stall.Load())
		k.halt()
		err := h.verify(c, slack)
		k.finish()
		stored, not, doubt := h.counts()
		t.Logf("round %d: %d entries acknowledged so far, %d refused, %d in doubt; the longest time without an acknowledgement was %v; errors %v",
			number, stored, not, doubt, longest.Round(time.Millisecond), h.errors)
		if err != nil {
			t.Fatal(err)
		}
	}
}
