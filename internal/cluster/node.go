//go:build !nocluster

package cluster

import (
	"context"
	"crypto/rand"
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

// account is NATS's default account, which holds the log's stream.
const account = "$G"

// A Node is this process's member of the cluster.
type Node struct {
	config  Config
	log     zerolog.Logger
	cred    credentials
	run     string
	lock    *segment.Lock
	replica *replica
	server  *natsserver.Server
	said    *logger    // the server's log
	system  *nats.Conn // in the system account, to talk to other nodes

	ctx        context.Context // done when Close begins
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	verifying  sync.Mutex
	closeOnce  sync.Once
	failed     chan struct{} // closed once err is set
	failOnce   sync.Once
	err        error

	refusing sync.Mutex
	refused  time.Time // when the refusal of a node with another log was last logged

	mu      sync.Mutex
	taking  bool    // JetStream runs
	reason  string  // why it does not
	problem string  // of the replica
	logName string  // of the replica, "" while there is none
	had     count   // the replica's count when the node started
	keeper  *keeper // used by the keeping goroutine, and by Close after that has ended
}

// Start runs a node. It listens for other nodes at once and waits for none of them: see Ready.
//
// A node whose replica is whole takes part in the cluster at once. One whose replica is empty or damaged
// first waits for all other nodes to vouch for the log, and then fetches it from them; so the nodes of a
// new cluster wait for each other.
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
	if err := segment.MakeDir(config.Dir); err != nil {
		return nil, err
	}
	lock, err := segment.LockStore(config.Dir)
	if err != nil {
		return nil, err
	}
	n := &Node{
		config: config, log: config.Logger, cred: newCredentials(), run: rand.Text(), lock: lock,
		replica: &replica{config.Dir, config.Stream, len(config.Members) == 1},
		failed:  make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.start(); err != nil {
		n.Close()
		return nil, fmt.Errorf("starting node %s: %w", config.Name, err)
	}
	return n, nil
}

func (n *Node) start() error {
	if err := n.config.claimIdentity(); err != nil {
		return err
	}
	if err := claimVersion(n.config.Dir, natsserver.VERSION); err != nil {
		return err
	}
	began := time.Now()
	v, had, problem := n.replica.check(n.ctx)
	if d := time.Since(began); d > time.Second {
		n.log.Info().Dur("took", d).Uint64("messages", had.Messages).Msg("the node has read its replica of the log")
	}
	if problem != nil && v != damaged {
		return problem
	}
	if metadata, err := n.replica.metadata(); err == nil { // otherwise NATS does not recognize it as a replica either
		n.logName = logName(metadata)
	}
	n.had = had
	alone := n.replica.alone
	if v == damaged {
		if alone {
			return fmt.Errorf("the log is damaged, and there is no other node to fetch it from: restore it from a backup or an archive: %w", problem)
		}
		n.problem = problem.Error()
	}
	if alone {
		if err := n.keep(had); err != nil {
			return err
		}
	}
	if err := n.serve(alone); err != nil {
		return err
	}
	if len(n.config.Members) > leastGrown {
		n.spawn(n.grow)
	}
	if alone {
		n.setTaking()
		return nil
	}
	n.spawn(func() {
		err := error(nil)
		if n.ownLog() != "" {
			err = n.awaitKin(n.ctx)
		}
		if err == nil && v == whole {
			err = n.takePart(v, had)
		} else if err == nil {
			err = n.waitToTakePart(v, had, problem)
		}
		if err != nil && n.ctx.Err() == nil {
			n.log.Error().Err(err).Msg("the node cannot take part in the cluster")
			n.fail(err.Error())
		}
	})
	return nil
}

// serve starts the NATS server, with or without JetStream.
func (n *Node) serve(jetStream bool) error {
	opts := n.config.options(n.cred, n.logName)
	opts.CustomRouterAuthentication = gate{n, opts.Cluster.Password}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return err
	}
	// Without JetStream the server still tells the others that it has it: NATS counts the servers that
	// have it to determine a majority.
	opts.JetStream = jetStream
	n.server = s
	n.said = &logger{log: n.log, members: n.config.Members, fatal: n.fail}
	s.SetLoggerV2(n.said, n.log.GetLevel() <= zerolog.DebugLevel, false, false)
	s.Start()
	if !s.ReadyForConnections(listenTimeout) {
		select {
		case <-n.failed:
			return n.err
		default:
			return errors.New("the NATS server does not listen")
		}
	}
	if n.system, err = n.connect(n.cred.system, nats.MaxReconnects(-1)); err != nil {
		return err
	}
	return n.answer()
}

// spawn runs f in a goroutine that Close waits for, unless Close has begun.
func (n *Node) spawn(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() == nil {
		n.goroutines.Go(f)
	}
}

// fail records that the node has given up.
func (n *Node) fail(msg string) {
	n.failOnce.Do(func() {
		n.err = errors.New(msg)
		close(n.failed)
	})
}

func (n *Node) setReason(reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reason = reason
}

func (n *Node) isTaking() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.taking
}

func (n *Node) setTaking() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taking, n.problem = true, ""
}

// InProcessConn returns a connection to the node, for nats.InProcessServer.
func (n *Node) InProcessConn() (net.Conn, error) { return n.server.InProcessConn() }

// Connect returns a client of this node, within the process. It works before Ready; JetStream requests
// then go to the other nodes, or wait, or fail.
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
		case <-n.ctx.Done():
			return errors.New("the node is closed")
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w", ErrNotReady, reason, ctx.Err())
		}
	}
}

// Failed returns a channel that is closed when the node gives up; Err then says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err returns why the node has given up. Call it only after Failed's channel has been closed.
func (n *Node) Err() error { return n.err }

// unready returns why the node does not take part, with advice if there is any; "" if it takes part.
func (n *Node) unready() string {
	reason := n.whyNot()
	if reason != "" && n.said != nil {
		if hint := n.said.lately(); hint != "" {
			reason += "; " + hint
		}
	}
	return reason
}

func (n *Node) whyNot() string {
	n.mu.Lock()
	taking, reason := n.taking, n.reason
	n.mu.Unlock()
	switch {
	case !taking && reason == "":
		return "the node starts"
	case !taking:
		return reason
	case n.replica.alone:
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

// Close stops the node, and returns once everything that the node started has ended.
func (n *Node) Close() {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.cancel()
		n.mu.Unlock()
		if n.system != nil {
			n.system.Close()
		}
		n.goroutines.Wait()
		if n.server != nil {
			n.server.Shutdown()
			n.server.WaitForShutdown()
		}
		n.mu.Lock()
		k, problem := n.keeper, n.problem
		n.mu.Unlock()
		if k != nil && problem == "" {
			ctx, cancel := context.WithTimeout(context.Background(), endTime)
			defer cancel()
			if err := k.end(ctx); err != nil {
				n.log.Warn().Err(err).Msg("the node could not check its replica as it stopped: the next start does")
			}
		}
		if err := n.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			n.log.Warn().Err(err).Msg("the lock on the node's directory")
		}
	})
}
