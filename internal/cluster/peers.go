//go:build !nocluster

package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Nodes tell each other about their replicas on subjects of the system account.
const subjectPrefix = "tcp-log-server.node."

// A question is what a node asks another.
type question struct {
	Verify bool `json:"verify,omitempty"` // read the whole replica first
}

// A report is what a node says of its own replica.
type report struct {
	Node     string `json:"node"`
	Run      string `json:"run"`              // differs each time the node starts
	Taking   bool   `json:"taking"`           // it takes part in the cluster
	Log      bool   `json:"log"`              // it has, or had, a replica of the log
	Messages uint64 `json:"messages"`         // that it has
	Leader   string `json:"leader,omitempty"` // of the log's stream, as far as it knows
	Meta     string `json:"meta,omitempty"`
	Online   int    `json:"online,omitempty"` // if it leads JetStream, how many nodes can be given a replica
	Current  bool   `json:"current"`
	Had      uint64 `json:"had"`                // messages that it has for certain, or had
	Fetching bool   `json:"fetching,omitempty"` // it may not have all of them again
	Problem  string `json:"problem,omitempty"`  // of its replica
	Verified uint64 `json:"verified,omitempty"` // messages that it has read, if it was asked to
}

// report is this node's.
func (n *Node) report() report {
	n.mu.Lock()
	r, had := report{Node: n.config.Name, Run: n.run, Taking: n.taking, Problem: n.problem}, n.had
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
	}
	if !n.replica.alone {
		r.Online = len(n.server.JetStreamClusterPeers())
	}
	if s := n.stream(); s != nil {
		r.Log = true
		r.Messages = s.State.LastSeq
		r.Current = n.server.JetStreamIsStreamCurrent(account, n.config.Stream)
		if s.Cluster != nil {
			r.Leader = s.Cluster.Leader
		}
		if d := s.State.NumDeleted; (d > 0 || s.State.FirstSeq > 1) && r.Problem == "" {
			r.Problem = fmt.Sprintf("its first message is %d, and %d are deleted", s.State.FirstSeq, d)
		}
	}
	return r
}

// stream is the log's stream as this node has it, nil if it has none.
func (n *Node) stream() *natsserver.StreamDetail {
	detail, err := n.server.JszAccount(&natsserver.JSzOptions{Account: account, Streams: true})
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

// answer answers the other nodes' questions, until the connection is closed.
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
		n.spawn(func() { respond(n.verifyOwn()) }) // which may take long
	})
	return errors.Join(err, n.system.Flush())
}

// verifyOwn reads this node's whole replica, as it is now. One of these runs at a time.
func (n *Node) verifyOwn() report {
	n.verifying.Lock()
	defer n.verifying.Unlock()
	r := n.report()
	if !r.Taking || r.Problem != "" {
		return r
	}
	s := n.replica.scanner()
	err := s.follow(n.ctx)
	switch after := n.report(); {
	case err != nil:
		r.Problem = err.Error()
		n.damage(err)
	case s.last < max(r.Messages, r.Had):
		r.Verified = s.last
		r.Problem = fmt.Sprintf("it has %d messages, want %d", s.last, max(r.Messages, r.Had))
	default:
		r = after
		r.Verified = s.last
	}
	return r
}

// ask asks another node.
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

// askTimeout bounds how long a node takes to answer what needs no reading.
const askTimeout = 2 * time.Second

// reports asks all other nodes at the same time. A node that does not answer has an empty Node.
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

// verify has a node read its whole replica, and waits as long as the node lives.
func (n *Node) verify(ctx context.Context, was report) (r report, err error) {
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
	r, err = n.ask(ctx, was.Node, question{Verify: true})
	if err != nil {
		err = cmp.Or(context.Cause(ctx), err)
	}
	cancel(nil)
	return r, err
}

// Verify has all nodes read their replicas, and waits for them.
func (n *Node) Verify(ctx context.Context) []Verification {
	var wg sync.WaitGroup
	list := make([]Verification, len(n.config.Members))
	for i, was := range n.reports(ctx) {
		name := n.config.Members[i].Name
		list[i] = Verification{Node: name, Problem: "it does not answer"}
		if was.Node == "" {
			continue
		}
		wg.Go(func() {
			r, err := was, error(nil)
			if name == n.config.Name {
				r = n.verifyOwn()
			} else {
				r, err = n.verify(ctx, was)
			}
			list[i] = Verification{Node: name, Messages: r.Verified, Problem: r.Problem}
			switch {
			case err != nil:
				list[i].Problem = err.Error()
			case !r.Taking:
				list[i].Problem = "it does not take part in the cluster"
			}
		})
	}
	wg.Wait()
	return list
}
