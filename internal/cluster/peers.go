//go:build !nocluster

package cluster

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/zeebo/blake3"
)

// Nodes tell each other about their replicas on subjects of the system account.
const subjectPrefix = "tcp-log-server.node."

// A question is a request from one node to another.
type question struct {
	Verify bool `json:"verify,omitempty"` // read the whole replica first
	// Through is the message up to which to compute a sum then, 0 for none.
	Through uint64 `json:"through,omitempty"`
}

// A report is a node's account of its own replica.
type report struct {
	Node     string `json:"node"`
	ID       string `json:"id"`               // of its NATS server; the same for a name on any machine
	Run      string `json:"run"`              // differs each time the node starts
	LogName  string `json:"log_name"`         // the log of which it has a replica, "" for none
	Taking   bool   `json:"taking"`           // it takes part in the cluster
	Log      bool   `json:"log"`              // it has, or had, a replica of the log
	Messages uint64 `json:"messages"`         // in its replica
	Leader   string `json:"leader,omitempty"` // of the log's stream, as far as it knows
	Leads    bool   `json:"leads,omitempty"`  // it is that leader, and has committed everything from before
	Meta     string `json:"meta,omitempty"`
	Online   int    `json:"online,omitempty"` // if it leads JetStream, how many nodes can be given a replica
	Current  bool   `json:"current"`
	// Group, if it leads the log's stream, has the nodes that have a replica of the log or are to get
	// one, and Peers the members of JetStream's own group: names by ID. A node in neither has never been
	// asked to store anything.
	Group map[string]string `json:"group,omitempty"`
	Peers map[string]string `json:"peers,omitempty"`

	Had      uint64 `json:"had"`                // messages that it certainly has, or had
	Fetching bool   `json:"fetching,omitempty"` // it may still lack some of them
	Problem  string `json:"problem,omitempty"`  // of its replica
	Verified uint64 `json:"verified,omitempty"` // messages that it has read, if asked to
	Sum      string `json:"sum,omitempty"`      // as in Verification
}

// report returns this node's report.
func (n *Node) report() report {
	n.mu.Lock()
	r, had := report{Node: n.config.Name, ID: n.server.Node(), Run: n.run, Taking: n.taking, LogName: n.logName, Problem: n.shown(n.problem)}, n.had
	if n.keeper != nil {
		had = n.keeper.noted()
	}
	n.mu.Unlock()
	r.Had, r.Log, r.Fetching = had.Messages, had.Messages > 0, had.State != ""
	if !r.Taking {
		return r
	}
	if info, err := n.server.Jsz(&natsserver.JSzOptions{}); err == nil && info.Meta != nil {
		r.Meta = info.Meta.Leader
		r.Peers = n.peersOf(info.Meta.Replicas)
	}
	if !n.replica.alone {
		r.Online = len(n.server.JetStreamClusterPeers())
	}
	if s := n.stream(); s != nil {
		r.Log = true
		n.knowLog(s)
		r.LogName = n.ownLog()
		r.Messages = s.State.LastSeq
		r.Current = n.server.JetStreamIsStreamCurrent(account, n.config.Stream)
		if s.Cluster != nil {
			r.Leader = s.Cluster.Leader
		}
		if r.Leads = n.server.JetStreamIsStreamLeader(account, n.config.Stream); r.Leads && s.Cluster != nil {
			r.Group = n.peersOf(s.Cluster.Replicas)
			if s.Cluster.Desired != nil {
				for _, p := range s.Cluster.Desired.Replicas {
					r.Group[p.Peer] = p.Name
				}
			}
		}
		if d := s.State.NumDeleted; (d > 0 || s.State.FirstSeq > 1) && r.Problem == "" {
			r.Problem = fmt.Sprintf("its first message is %d, and %d are deleted", s.State.FirstSeq, d)
		}
	}
	return r
}

// peersOf returns this node and the other members of a group, names by ID.
func (n *Node) peersOf(others []*natsserver.PeerInfo) map[string]string {
	peers := map[string]string{n.server.Node(): n.config.Name}
	for _, p := range others {
		peers[p.Peer] = p.Name
	}
	return peers
}

// shown returns text without the node's directory, which others need not know.
func (n *Node) shown(text string) string {
	return strings.ReplaceAll(text, n.config.Dir+string(filepath.Separator), "")
}

// stream returns this node's view of the log's stream, nil if it has none.
func (n *Node) stream() *natsserver.StreamDetail {
	detail, err := n.server.JszAccount(&natsserver.JSzOptions{Account: account, Streams: true, Config: true})
	if err != nil {
		return nil
	}
	for i := range detail.Streams {
		if detail.Streams[i].Name == n.config.Stream {
			return &detail.Streams[i]
		}
	}
	return nil
}

// answer answers questions from other nodes until the connection is closed.
func (n *Node) answer() error {
	_, err := n.system.Subscribe(subjectPrefix+n.config.Name, func(msg *nats.Msg) {
		var q question
		if err := json.Unmarshal(msg.Data, &q); err != nil {
			return
		}
		respond := func(r report) {
			if data, err := json.Marshal(r); err == nil {
				_ = msg.Respond(data)
			}
		}
		if !q.Verify {
			respond(n.report())
			return
		}
		n.spawn(func() { respond(n.verifyOwn(q.Through)) }) // may take long
	})
	return errors.Join(err, n.system.Flush())
}

// verifyOwn reads this node's whole replica, as it is now, or once it has the messages up to through,
// which it should have soon. One call runs at a time.
func (n *Node) verifyOwn(through uint64) report {
	n.verifying.Lock()
	defer n.verifying.Unlock()
	r := n.report()
	for began := time.Now(); r.Taking && r.Problem == "" && r.Messages < through && time.Since(began) < catchUp && n.ctx.Err() == nil; r = n.report() {
		time.Sleep(20 * time.Millisecond)
	}
	if !r.Taking || r.Problem != "" {
		return r
	}
	sum := blake3.New()
	s := n.replica.scanner()
	s.each = func(seq uint64, message []byte) error {
		if seq <= through {
			own := blake3.Sum256(message)
			_, _ = sum.Write(own[:])
		}
		if n.config.Check == nil {
			return nil
		}
		return n.config.Check(seq, message)
	}
	err := s.follow(n.ctx)
	switch after := n.report(); {
	case err != nil:
		r.Problem = n.shown(err.Error())
		n.damage(err)
	case s.last < max(r.Messages, r.Had):
		r.Verified = s.last
		r.Problem = fmt.Sprintf("it has %d messages, want %d", s.last, max(r.Messages, r.Had))
	default:
		r = after
		r.Verified, r.Sum = s.last, hex.EncodeToString(sum.Sum(nil))
	}
	return r
}

// catchUp is how long a node that verifies its replica waits for messages that others have.
const catchUp = 10 * time.Second

// ask sends a question to another node.
func (n *Node) ask(ctx context.Context, name string, q question) (r report, err error) {
	data, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	msg, err := n.system.RequestWithContext(ctx, subjectPrefix+name, data)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(msg.Data, &r)
}

// askTimeout limits answers that need no reading of the replica.
const askTimeout = 2 * time.Second

// reports asks all other nodes concurrently. A node that does not answer has an empty Node.
func (n *Node) reports(ctx context.Context) []report {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var wg sync.WaitGroup
	list := make([]report, len(n.config.Members))
	for i, m := range n.config.Members {
		wg.Go(func() {
			if m.Name == n.config.Name {
				list[i] = n.report()
			} else if r, err := n.ask(ctx, m.Name, question{}); err == nil {
				list[i] = r
			}
		})
	}
	wg.Wait()
	return list
}

// verify makes a node read its whole replica, and waits as long as the node lives.
func (n *Node) verify(ctx context.Context, was report, through uint64) (r report, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-time.After(askTimeout):
			case <-ctx.Done():
				return
			}
			asking, done := context.WithTimeout(ctx, 5*askTimeout)
			if now, err := n.ask(asking, was.Node, question{}); err != nil || now.Run != was.Run {
				cancel(fmt.Errorf("node %s stopped while it verified its replica", was.Node))
			}
			done()
		}
	})
	r, err = n.ask(ctx, was.Node, question{Verify: true, Through: through})
	if err != nil {
		err = cmp.Or(context.Cause(ctx), err)
	}
	cancel(nil)
	return r, err
}

// Verify makes all nodes read their replicas, and compares the results.
func (n *Node) Verify(ctx context.Context) []Verification {
	var wg sync.WaitGroup
	list := make([]Verification, len(n.config.Members))
	reports := n.reports(ctx)
	var through uint64
	for _, r := range reports {
		through = max(through, r.Messages)
	}
	for i, was := range reports {
		name := n.config.Members[i].Name
		list[i] = Verification{Node: name, Problem: Silent}
		if was.Node == "" {
			continue
		}
		wg.Go(func() {
			r, err := was, error(nil)
			if name == n.config.Name {
				r = n.verifyOwn(through)
			} else {
				r, err = n.verify(ctx, was, through)
			}
			list[i] = Verification{Node: name, Messages: r.Verified, Sum: r.Sum, Problem: r.Problem}
			switch {
			case err != nil:
				list[i].Problem = err.Error()
			case !r.Taking:
				list[i].Problem = "it does not take part in the cluster"
			case r.Problem == "" && r.Verified < through:
				list[i].Problem = fmt.Sprintf("it has %d messages, and another node has %d", r.Verified, through)
			}
		})
	}
	wg.Wait()
	compareSums(list)
	return list
}

// compareSums notes which whole replicas differ from the first.
func compareSums(list []Verification) {
	first := -1
	for i := range list {
		switch v := &list[i]; {
		case v.Problem != "" || v.Sum == "":
		case first < 0:
			first = i
		case v.Sum != list[first].Sum:
			v.Problem = fmt.Sprintf("its messages are whole, and not those of node %s", list[first].Node)
		}
	}
}
