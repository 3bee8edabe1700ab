//go:build !nocluster

package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// admitted decides whether a node with an empty or damaged replica may start to fetch one. It returns the
// least number of messages that the new replica will have, and "" or why not yet. From then on the other
// nodes' replicas are the only ones, so all of them must be whole and have everything that was ever
// acknowledged:
//
//   - what they acknowledged without this node is on all of them, since a majority must have it, or, with
//     five nodes, on the leader;
//   - what this node had is at most what it noted;
//   - what they agreed on with this node is on their leader, once they have elected one without this node
//     and it has committed all of it. For some seconds they may still name this node as leader.
//
// A node that was added to the cluster has never been asked for anything, so it has nothing to make up
// for: target is then 0.
func (n *Node) admitted(ctx context.Context, v verdict, had count) (target uint64, reason string) {
	before, grown, reason := n.others(ctx, v, had.Messages)
	target = had.Messages
	if reason != "" || before == nil {
		return target, reason
	}
	for _, r := range before {
		target = max(target, r.Messages)
	}
	for _, was := range before {
		r, err := n.verify(ctx, was, 0)
		switch {
		case err != nil:
			return target, fmt.Sprintf("node %s could not verify its replica: %v", was.Node, err)
		case r.Problem != "":
			return target, fmt.Sprintf("node %s has a damaged replica too: %s", was.Node, r.Problem)
		case r.Verified < target:
			return target, fmt.Sprintf("node %s has %d messages, and there were %d", was.Node, r.Verified, target)
		}
	}
	if _, _, reason = n.others(ctx, v, target); grown {
		target = 0
	}
	return target, reason
}

// others asks the other nodes whether they vouch for the log up to target. It returns those that have a
// replica, or nil and no reason if the cluster is new. grown says that this node is not meant to have a
// replica yet.
func (n *Node) others(ctx context.Context, v verdict, target uint64) (list []report, grown bool, reason string) {
	var silent []string
	for i, r := range n.reports(ctx) {
		switch name := n.config.Members[i].Name; {
		case name == n.config.Name:
		case r.Node == "":
			silent = append(silent, name)
		default:
			list = append(list, r)
		}
	}
	if asked, known, reason := concerned(list, n.server.Node()); known && v == empty {
		if reason == "" {
			reason = doubt(asked, target)
		}
		return asked, !inGroup(list, n.server.Node()), reason
	}
	if len(silent) > 0 {
		return nil, false, fmt.Sprintf("node %s does not answer", silent[0])
	}
	if v == empty && !slices.ContainsFunc(list, func(r report) bool { return r.Log || r.Problem != "" }) {
		return nil, false, ""
	}
	if reason = doubt(list, target); reason != "" {
		return nil, false, reason
	}
	return list, false, ""
}

// concerned returns the other nodes that have a replica of the log or are to get one, according to the
// leader. All of them must answer, and so must those that only vote in JetStream's group. Other members
// of the cluster have yet to be started for the first time. own is this node's ID.
func concerned(list []report, own string) (asked []report, known bool, reason string) {
	all := make(map[string]string)
	for _, r := range list {
		maps.Copy(all, r.Peers)
		maps.Copy(all, r.Group)
		known = known || r.Leads && len(r.Group) > 0
	}
	delete(all, own)
	for _, r := range list {
		if r.ID == "" { // an earlier version, which does not say enough
			return nil, false, ""
		}
		if _, is := all[r.ID]; !is {
			continue
		}
		delete(all, r.ID)
		switch {
		case inGroup(list, r.ID):
			asked = append(asked, r)
		case !r.Taking:
			reason = fmt.Sprintf("node %s does not take part in the cluster yet", r.Node)
		}
	}
	for _, name := range slices.Sorted(maps.Values(all)) {
		reason = fmt.Sprintf("node %s does not answer", name)
	}
	return asked, known, reason
}

// inGroup reports whether the node with this ID has a replica of the log, or is to get one.
func inGroup(list []report, id string) bool {
	return slices.ContainsFunc(list, func(r report) bool { _, is := r.Group[id]; return r.Leads && is })
}

// doubt returns "" if the listed nodes take part, follow one of them as leader, and have the messages up
// to target; otherwise it returns why they do not vouch for the log.
func doubt(list []report, target uint64) string {
	led := false
	for _, r := range list {
		switch {
		case r.Problem != "":
			return fmt.Sprintf("node %s has a damaged replica too: %s", r.Node, r.Problem)
		case !r.Taking:
			return fmt.Sprintf("node %s has no replica either", r.Node)
		case r.Fetching:
			return fmt.Sprintf("node %s is still fetching its replica", r.Node)
		case r.Leader == "" || r.Leader != list[0].Leader:
			return "the other nodes do not agree on a leader of the log"
		case !r.Current || r.Messages < target:
			return fmt.Sprintf("node %s has not caught up: it has %d messages, want %d", r.Node, r.Messages, target)
		}
		led = led || r.Leads && r.Leader == r.Node
	}
	if !led {
		return fmt.Sprintf("the other nodes still name %s as the leader of the log, and it does not lead", list[0].Leader)
	}
	return ""
}

// waitToTakePart waits until the other nodes vouch for the log, and then fetches a replica from them.
func (n *Node) waitToTakePart(v verdict, had count, problem error) error {
	why := "it has no replica of the log yet"
	if v == damaged {
		why = fmt.Sprintf("it is to fetch its replica of the log again (%v)", problem)
	}
	var told string
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		target, reason := n.admitted(n.ctx, v, had)
		if reason == "" {
			had.Messages = target
			break
		}
		n.setReason("the node waits before it takes part, because " + why + ": " + reason)
		if reason != told && wait > time.Second {
			told = reason
			n.log.Warn().Str("waiting_for", reason).Msg("the node does not take part in the cluster yet, because " + why + ": the other nodes " +
				"must all run first, and where there is a log have all of it")
		}
		select {
		case <-time.After(wait):
		case <-n.ctx.Done():
			return n.ctx.Err()
		}
	}
	if v == damaged {
		n.log.Warn().Err(problem).Str("moved_to", asideDir).Msg("the node puts its replica of the log aside, and fetches another: the other nodes have the whole log")
	}
	return n.takePart(v, had)
}

// takePart starts JetStream on the replica, or on an empty one that replaces a damaged one.
func (n *Node) takePart(v verdict, had count) (err error) {
	if v == damaged {
		if err := n.replica.putAside(had); err != nil {
			return err
		}
	}
	if v != whole && had.Messages > 0 {
		had.State = fetching // the other nodes are told so until it has as many
	}
	if err := n.keep(had); err != nil {
		return err
	}
	if err := n.server.EnableJetStream(n.config.jetStreamConfig()); err != nil {
		return err
	}
	n.setTaking()
	return nil
}
