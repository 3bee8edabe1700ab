//go:build !nocluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// A Node is this process's member of the cluster.
type Node struct {
	config Config
	cred   credentials
	lock   *segment.Lock
	server *natsserver.Server

	closing   chan struct{}
	closeOnce sync.Once
	closed    chan struct{} // after Close has ended
	failed    chan struct{} // once err is set
	failOnce  sync.Once
	err       error
}

// Start runs a node. It listens for other nodes at once and waits for none of them: see Ready.
func Start(config Config) (*Node, error) {
	if config.Stream == "" {
		config.Stream = DefaultStream
	}
	if config.MaxPayload == 0 {
		config.MaxPayload = MaxPayload
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := segment.LockStore(config.Dir)
	if err != nil {
		return nil, err
	}
	n := &Node{
		config: config, cred: newCredentials(), lock: lock,
		closing: make(chan struct{}), closed: make(chan struct{}), failed: make(chan struct{}),
	}
	if err := n.start(); err != nil {
		n.stop()
		return nil, fmt.Errorf("starting node %s: %w", config.Name, err)
	}
	return n, nil
}

func (n *Node) start() error {
	s, err := natsserver.NewServer(n.config.options(n.cred))
	if err != nil {
		return err
	}
	n.server = s
	s.SetLoggerV2(&logger{n.config.Logger, n.config.Members, n.fail}, n.config.Logger.GetLevel() <= zerolog.DebugLevel, false, false)
	s.Start()
	if s.ReadyForConnections(listenTimeout) {
		return nil
	}
	select {
	case <-n.failed:
		return n.err
	default:
		return errors.New("the NATS server does not listen")
	}
}

// fail records that the server has given up.
func (n *Node) fail(msg string) {
	n.failOnce.Do(func() {
		n.err = errors.New(msg)
		close(n.failed)
	})
}

// InProcessConn returns a connection to the node, for nats.InProcessServer.
func (n *Node) InProcessConn() (net.Conn, error) { return n.server.InProcessConn() }

// Connect returns a client of this node, within the process. It works before Ready; what is asked of
// JetStream through it waits, or fails.
func (n *Node) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return n.connect(n.cred.log, opts...)
}

func (n *Node) connect(user *natsserver.User, opts ...nats.Option) (*nats.Conn, error) {
	own := []nats.Option{nats.InProcessServer(n), nats.UserInfo(user.Username, user.Password)}
	return nats.Connect("", append(own, opts...)...)
}

// Ready waits until JetStream has a leader and this node takes part in it.
func (n *Node) Ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		reason := n.unready()
		if reason == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-n.failed:
			return n.err
		case <-n.closing:
			return errors.New("the node is closed")
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w", ErrNotReady, reason, ctx.Err())
		}
	}
}

// unready says why the node does not take part, "" if it does.
func (n *Node) unready() string {
	if len(n.config.Members) == 1 {
		return ""
	}
	switch info, err := n.server.Jsz(&natsserver.JSzOptions{}); {
	case err != nil:
		return err.Error()
	case info.Meta == nil || info.Meta.Leader == "":
		return "no majority of the nodes has agreed on a leader"
	case !n.server.JetStreamIsCurrent():
		return "the node has not caught up with the others yet"
	}
	return ""
}

// Status is the state of the cluster as this node sees it.
func (n *Node) Status(ctx context.Context) Status {
	status := Status{Node: n.config.Name, Reason: n.unready()}
	status.Ready = status.Reason == ""
	return status
}

// Close stops the node, within closeTimeout.
func (n *Node) Close() {
	n.closeOnce.Do(func() {
		close(n.closing)
		n.stop()
		close(n.closed)
	})
	<-n.closed
}

func (n *Node) stop() {
	if s := n.server; s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
	n.lock.Close()
}
