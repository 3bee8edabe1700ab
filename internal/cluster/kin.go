//go:build !nocluster

package cluster

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// JetStream's own group does not know the name of its cluster: if a node of an earlier cluster with the
// same secret comes back with its data, the side with the higher term wins, and the others discard their
// replicas. So a node names its log when it connects, and one with another log is refused; and before a
// node starts JetStream it asks the others which log they have.

// ErrOtherLog says that other nodes have a replica of a different log.
var ErrOtherLog = errors.New("the node's directory has a replica of another log than the other nodes")

// kinTime is how long a node waits for the others to say which log they have.
const kinTime = 1500 * time.Millisecond

// logName derives a name for a stream's log from its metadata: "" if it has none. It differs between any
// two clusters, even if both began with the same log.
func logName(metadata map[string]string) string {
	sum := sha256.New()
	known := false
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if !strings.HasPrefix(key, "_nats.") { // the server adds those
			fmt.Fprintf(sum, "%q=%q\n", key, metadata[key])
			known = true
		}
	}
	if !known {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// ownLog returns the name of the log of which this node has a replica, "" if it has none yet.
func (n *Node) ownLog() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.logName
}

// knowLog notes which log this node has a replica of, once it has one.
func (n *Node) knowLog(s *natsserver.StreamDetail) {
	if s == nil || s.Config == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.logName == "" {
		n.logName = logName(s.Config.Metadata)
	}
}

// awaitKin waits until the other nodes have said which log they have, or have had time to. If some have
// another log, this node yields to a majority, and otherwise waits for them to be stopped.
func (n *Node) awaitKin(ctx context.Context) error {
	told := ""
	for began := time.Now(); ; {
		kin, silent := 1, 0
		var strangers []string
		for i, r := range n.reports(ctx) {
			switch m := n.config.Members[i]; {
			case m.Name == n.config.Name:
			case r.Node == "":
				silent++
			case r.LogName == n.ownLog():
				kin++
			case r.LogName != "":
				strangers = append(strangers, m.Name)
			}
		}
		late := silent == 0 || time.Since(began) > kinTime
		switch {
		case len(strangers) == 0 && late:
			return nil
		case len(strangers) > 0 && late && 2*kin <= len(n.config.Members):
			return fmt.Errorf("%s: %w: node %s has that; to have this node fetch the log of the others, stop it and move the directory away",
				n.config.Dir, ErrOtherLog, strings.Join(strangers, ", node "))
		case len(strangers) > 0 && late:
			reason := fmt.Sprintf("node %s has a replica of another log: stop it, and move its directory away", strings.Join(strangers, ", node "))
			if n.setReason("the node waits before it takes part, because " + reason); reason != told {
				n.log.Error().Msg("the node does not take part in the cluster yet, because " + reason)
			}
			told = reason
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// routeUserOf returns the user name for connections to other nodes: it includes the name of the node's
// log, if it has one.
func routeUserOf(logName string) string {
	if logName == "" {
		return routeUser
	}
	return routeUser + "@" + logName
}

// refusedEvery is how often to log that a node is refused, since it keeps trying.
const refusedEvery = time.Minute

// gate admits connections of nodes that have the secret and no replica of another log.
type gate struct {
	node     *Node
	password string
}

// Check reports whether a connection comes from a node of this cluster.
func (g gate) Check(c natsserver.ClientAuthentication) bool {
	opts := c.GetOpts()
	if subtle.ConstantTimeCompare([]byte(opts.Password), []byte(g.password)) != 1 {
		return false
	}
	g.node.refusing.Lock()
	defer g.node.refusing.Unlock()
	name, own := strings.TrimPrefix(strings.TrimPrefix(opts.Username, routeUser), "@"), g.node.ownLog()
	if name != "" && own != "" && name != own {
		if now := time.Now(); now.Sub(g.node.refused) > refusedEvery {
			g.node.refused = now
			g.node.log.Error().Str("from", c.RemoteAddress().String()).
				Msg("a node is refused that has a replica of another log: stop it, and move its directory away")
		}
		return false
	}
	return true
}
