//go:build !nocluster

package cluster

import (
	"errors"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A Node is this process's member of the cluster.
type Node struct {
	server *natsserver.Server
}

// startTimeout bounds how long a node takes to listen.
const startTimeout = 10 * time.Second

// Connect returns a connection to this node, within the process.
func (n *Node) Connect(opts ...nats.Option) (*nats.Conn, error) {
	if !n.server.ReadyForConnections(startTimeout) {
		return nil, errors.New("the node does not accept connections")
	}
	return nats.Connect("", append([]nats.Option{nats.InProcessServer(n.server)}, opts...)...)
}
