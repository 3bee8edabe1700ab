//go:build !nocluster

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// A cluster of three nodes grows to five when all nodes are started with five members. JetStream's own
// group admits each new node as it joins. The log's stream keeps three replicas until its leader has
// heard that all five nodes take part: four replicas would tolerate no more failures than three.

// leastGrown is the size of the largest cluster that cannot have grown.
const leastGrown = 3

// grow gives the stream as many replicas as there are nodes, if this node leads it.
func (n *Node) grow() {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for told := ""; ; {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		config := n.toGrow()
		if config == nil {
			continue
		}
		switch reason := n.growing(config); {
		case reason == "":
			n.log.Info().Int("replicas", config.Replicas).Msg("the cluster has grown: the new nodes fetch their replicas of the log")
		case reason != told:
			told = reason
			n.log.Info().Str("waiting_for", reason).Msg("the cluster is to grow: the new nodes get replicas of the log once all nodes run")
		}
	}
}

// toGrow returns the configuration that the stream needs, nil if it has it already or another node leads
// it.
func (n *Node) toGrow() *natsserver.StreamConfig {
	if !n.isTaking() || !n.server.JetStreamIsStreamLeader(account, n.config.Stream) {
		return nil
	}
	s := n.stream()
	if s == nil || s.Config == nil || s.Config.Replicas >= len(n.config.Members) {
		return nil
	}
	config := *s.Config
	config.Replicas = len(n.config.Members)
	return &config
}

// growing gives the stream a configuration with more replicas, or returns why it cannot yet.
func (n *Node) growing(config *natsserver.StreamConfig) (reason string) {
	ctx, cancel := context.WithTimeout(n.ctx, growTimeout)
	defer cancel()
	online := 0
	for i, r := range n.reports(ctx) {
		name := n.config.Members[i].Name
		switch online = max(online, r.Online); {
		case r.Node == "":
			return fmt.Sprintf("node %s does not answer", name)
		case !r.Taking || r.Fetching || r.Problem != "":
			return fmt.Sprintf("node %s is not whole, or does not take part yet", name)
		}
	}
	if online < len(n.config.Members) {
		return fmt.Sprintf("%d of %d nodes are known to the leader of JetStream", online, len(n.config.Members))
	}
	if err := n.updateStream(ctx, config); err != nil {
		return err.Error()
	}
	return ""
}

// growTimeout limits one attempt to grow the stream.
const growTimeout = 10 * time.Second

// updateStream changes the configuration of the log's stream.
func (n *Node) updateStream(ctx context.Context, config *natsserver.StreamConfig) error {
	data, err := json.Marshal(config)
	if err != nil {
		return err
	}
	conn, err := n.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	msg, err := conn.RequestWithContext(ctx, fmt.Sprintf(natsserver.JSApiStreamUpdateT, config.Name), data)
	if err != nil {
		return err
	}
	var answer natsserver.JSApiStreamUpdateResponse
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return errors.New(answer.Error.Description)
	}
	return nil
}
