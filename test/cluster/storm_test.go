package cluster

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// TestStorm: many faults at once and one after another, often more than a cluster tolerates. While
// no majority answers, no append is acknowledged, appends are given up after a short while, and
// every reply to a client is true.
func TestStorm(t *testing.T) {
	t.Parallel()
	heads := []string{"leader", "quorum"}
	if !long(t) {
		heads = heads[rand.IntN(2):][:1]
	}
	for _, head := range heads {
		t.Run(head, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, options{Env: []string{"HEAD=" + head, "GIVE_UP=2s"}})
			endure(t, c, head, (*round).storm)
		})
	}
}

// storm makes a fault happen to some node, again and again.
func (r *round) storm() {
	span := 12 * time.Second
	if long(r.t) {
		span = 40 * time.Second
	}
	var events []string
	for end := time.Now().Add(span); time.Now().Before(end); r.moment(2 * time.Second) {
		n := r.c.nodes[rand.IntN(len(r.c.nodes))]
		what := "killed"
		switch rand.IntN(8) {
		case 0:
			n.kill()
			n.launch()
		case 1:
			what = "down"
			n.kill()
		case 2:
			what = "stopped"
			n.signal(syscall.SIGSTOP)
		case 3:
			what = "going on"
			n.signal(syscall.SIGCONT)
			n.launch()
		case 4:
			what = "deaf"
			r.c.net.in(n.name, traffic{held: true})
		case 5:
			what = "mute"
			r.c.net.out(n.name, traffic{held: true})
		case 6:
			what = "hung up"
			r.c.net.hangUp(n.name)
		case 7:
			what = "in touch"
			r.c.net.in(n.name, traffic{})
			r.c.net.out(n.name, traffic{})
		}
		events = append(events, fmt.Sprintf("%s %s", n.name, what))
	}
	r.t.Logf("what happened: %v", events)
}
