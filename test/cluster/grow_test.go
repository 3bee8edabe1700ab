package cluster

import (
	"strings"
	"testing"
	"time"
)

// TestGrow: a cluster of three nodes grows to five, one node at a time, while clients append. Then two of its
// machines are lost, the leader's and another. On every node the log matches what clients were told.
func TestGrow(t *testing.T) {
	t.Parallel()
	for number := range rounds(t) {
		c := newCluster(t, options{Spare: true, Env: []string{"HEAD=quorum"}})
		h := newHistory()
		old, r := c.nodes, &round{t, c, h}
		step := func(what string) {
			t.Logf("%v: %s; the longest time without an acknowledgement was %v", h.now().Round(time.Millisecond), what, time.Duration(h.stall.Load()).Round(time.Millisecond))
			h.newRound()
		}
		k := begin(c, h, []pace{steady, hard}[number%2])
		r.goOn(old...)
		h.newRound()
		members := "CLUSTER_NODES=" + c.spare[0].setting("CLUSTER_NODES")
		for _, n := range old {
			n.stop()
			n.env = append(n.env, members)
			n.restart()
			r.current()
			step("node " + n.name + " knows all")
		}
		for _, n := range c.spare {
			n.restart()
			r.goOn(old...)
			step("node " + n.name + " has joined")
		}
		c.nodes = append(old[:len(old):len(old)], c.spare...)
		r.current()
		step("five replicas")
		leader := c.leader()
		leader.kill()
		c.others(leader)[0].kill()
		var left []*node
		for _, n := range old { // the nodes that clients append to
			if n.running() != nil {
				left = append(left, n)
			}
		}
		r.goOn(left...)
		r.moment(time.Second)
		step("two of five are lost")
		r.heal()
		r.current()
		step("five again")
		k.halt()
		err := h.verify(c, 0)
		k.finish()
		stored, not, doubt := h.counts()
		t.Logf("round %d: %d entries acknowledged, %d refused, %d in doubt",
			number, stored, not, doubt)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range c.nodes {
			n.kill()
		}
	}
}

// setting returns a setting of the node.
func (n *node) setting(name string) (value string) {
	for _, s := range n.env {
		if key, v, _ := strings.Cut(s, "="); key == name {
			value = v
		}
	}
	return value
}
