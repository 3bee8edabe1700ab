//go:build !nocluster

package cluster

import "context"

// Replica returns what is wrong with this node's own replica, "" if nothing is: it is damaged, or is
// being fetched from the others. It asks no other node.
func (n *Node) Replica() string {
	switch r := n.report(); {
	case r.Problem != "":
		return r.Problem
	case r.Fetching:
		return fetchingText
	case r.Taking && !n.replica.alone && n.stream() == nil:
		return withoutText
	}
	return ""
}

// fetchingText says that a node does not have its replica yet.
const fetchingText = "it is fetching its replica from the others"

// withoutText says that the node was added to the cluster, which has not given it a replica yet.
const withoutText = "it gets a replica of the log once all nodes of CLUSTER_NODES run"

// Status asks all nodes for their state, and waits at most two seconds for those that do not answer.
func (n *Node) Status(ctx context.Context) Status {
	status := Status{Node: n.config.Name, Reason: n.unready()}
	status.Ready = status.Reason == ""
	var most uint64
	reports := n.reports(ctx)
	for i, r := range reports {
		most, status.Online = max(most, r.Messages), max(status.Online, r.Online)
		if r.Node == n.config.Name || status.Leader == "" {
			status.Leader = r.Leader
		}
		if r.Node == n.config.Name || status.Meta == "" {
			status.Meta = r.Meta
		}
		m := MemberStatus{
			Name: n.config.Members[i].Name, Addr: n.config.Members[i].Addr,
			Connected: r.Node != "", Current: r.Current, Messages: r.Messages, Problem: r.Problem,
		}
		switch {
		case !m.Connected:
			m.Problem = Silent
		case m.Problem != "":
		case !r.Taking:
			m.Problem = "it does not take part in the cluster yet"
		case r.Fetching:
			m.Problem = fetchingText
		}
		status.Members = append(status.Members, m)
	}
	for i := range status.Members {
		status.Members[i].Lag = most - status.Members[i].Messages
	}
	return status
}
