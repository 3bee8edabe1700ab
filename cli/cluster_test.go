package cli

import (
	"strings"
	"testing"

	"tcp-log-server/daemon"
	"tcp-log-server/internal/cluster"
)

// TestVerifyProblems: a node that does not answer should be started; only a replica that was
// found damaged should be fetched again.
func TestVerifyProblems(t *testing.T) {
	const silent = "not verified: node a, node c: start the nodes that are down, and verify again"
	const bad = "not whole: node b: restart it, or stop it and run `tcp-log-server cluster repair` on its machine, and it fetches its replica again"
	a := cluster.Verification{Node: "a", Problem: cluster.Silent}
	b := cluster.Verification{Node: "b", Problem: "it has 3 messages, and another node has 4"}
	c := cluster.Verification{Node: "c", Problem: cluster.Silent}
	for _, tt := range []struct {
		replicas []cluster.Verification
		want     string
	}{
		{[]cluster.Verification{{Node: "a"}, {Node: "b"}, {Node: "c"}}, ""},
		{[]cluster.Verification{a, {Node: "b"}, c}, silent},
		{[]cluster.Verification{{Node: "a"}, b, {Node: "c"}}, bad},
		{[]cluster.Verification{a, b, c}, silent + "; " + bad},
	} {
		if got := strings.Join(verifyProblems(tt.replicas), "; "); got != tt.want {
			t.Errorf("%v:\n\t%s\nwant\n\t%s", tt.replicas, got, tt.want)
		}
	}
}

// TestReplicaState: the description of each state of a replica.
func TestReplicaState(t *testing.T) {
	for _, tt := range []struct {
		replica daemon.NodeReplica
		want    string
	}{
		{daemon.NodeReplica{Leader: true, Current: true}, "leads"},
		{daemon.NodeReplica{Current: true, Lag: 1, Seen: 0.2}, "has everything"},
		{daemon.NodeReplica{Current: true, Seen: 2.34}, "had everything 2.3 s ago"},
		{daemon.NodeReplica{Lag: 1000, Seen: 0.2}, "behind by 1,000 messages, last heard from 0.2 s ago"},
		{daemon.NodeReplica{Seen: 12}, "last heard from 12.0 s ago"},
		{daemon.NodeReplica{}, "not heard from since the leader was elected"},
		{daemon.NodeReplica{Current: true, Seen: 0.2, Offline: true}, "offline"},
	} {
		if got := replicaState(tt.replica); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.replica, got, tt.want)
		}
	}
}
