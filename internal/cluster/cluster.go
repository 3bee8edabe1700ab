// Package cluster runs a node of a cluster inside this process: a NATS server with JetStream, which
// keeps one replica of the log. It knows nodes, how they find and trust each other, and their disks;
// what the log is made of belongs to package replicated.
package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/rs/zerolog"
)

// Errors that a caller can tell apart.
var (
	// ErrNotReady says that the node does not take part in the cluster yet.
	ErrNotReady = errors.New("the node does not take part in the cluster yet")
	// ErrWithout says that this binary cannot run a node.
	ErrWithout = errors.New("this binary was built without cluster nodes (build tag nocluster): use one built with them, " +
		"or name an external cluster")
	// ErrOtherNode says that a directory belongs to another node, another cluster or a single server.
	ErrOtherNode = errors.New("the directory belongs to something else")
)

const (
	// DefaultStream is the stream that holds the log.
	DefaultStream = "log"
	// MaxPayload is the largest message that a node takes unless Config says otherwise: what NATS
	// recommends as the most.
	MaxPayload = 8 << 20
	// minSecret is how many bytes a secret has at least.
	minSecret = 16
)

// A Config says which node of which cluster to run.
type Config struct {
	// Members are all nodes of the cluster, and Name is which of them this is.
	Members []Member
	Name    string
	// Listen is the host:port on which to listen for other nodes, "" for the port of the node's own
	// address: on loopback if that is a loopback address, and else on all addresses.
	Listen string
	// Dir is the node's own directory. It is created if it does not exist.
	Dir string
	// Secret is shared by all nodes and admits a node to the cluster.
	Secret []byte
	// TLS encrypts the connections between nodes and proves who is at their ends; see LoadTLS.
	TLS *tls.Config
	// Insecure lets nodes talk without TLS over addresses other than loopback.
	Insecure bool
	// Stream is the stream that holds the log, "" for DefaultStream: its messages begin at 1 and none
	// is ever deleted, and the node takes part only with a replica of which that is true.
	Stream string
	// Check, if not nil, returns an error if a message of the stream is damaged. Verify asks it.
	Check func(seq uint64, message []byte) error
	// MaxPayload is the largest message, 0 for the constant of that name.
	MaxPayload int
	Logger     zerolog.Logger
}

// Validate returns an error if no node can be run with c. It changes nothing.
func (c *Config) Validate() error {
	if err := checkMembers(c.Members); err != nil {
		return err
	}
	switch {
	case c.Name == "":
		return fmt.Errorf("it is not set: CLUSTER_NODE says which of %s this is", names(c.Members))
	case c.own() == nil:
		return fmt.Errorf("this node is %q, want one of %s", c.Name, names(c.Members))
	case c.Dir == "":
		return errors.New("the node has no directory, want one")
	case len(c.Secret) < minSecret && len(c.Members) > 1:
		return fmt.Errorf("cluster-secret-file: the secret has %d bytes, want %d or more", len(c.Secret), minSecret)
	case c.MaxPayload < 0 || c.MaxPayload > 64<<20:
		return fmt.Errorf("the largest message is %d bytes, want 1 to 67108864, or 0 for %d", c.MaxPayload, MaxPayload)
	}
	return c.checkExposure()
}

// checkExposure refuses addresses that other machines can reach, unless nodes must show
// certificates or Insecure says that somebody means it.
func (c *Config) checkExposure() error {
	if c.TLS != nil || c.Insecure || len(c.Members) == 1 {
		return nil
	}
	for _, m := range c.Members {
		if !loopback(m.Addr) {
			return fmt.Errorf("node %s is at %s, which other machines can reach, and nodes do not ask each other for certificates: "+
				"set CLUSTER_TLS_CERT, CLUSTER_TLS_KEY and CLUSTER_TLS_CA, or INSECURE=1 to run the cluster without", m.Name, m.Addr)
		}
	}
	return nil
}

// own is this node among the members, nil if it is not.
func (c *Config) own() *Member {
	if i := slices.IndexFunc(c.Members, func(m Member) bool { return m.Name == c.Name }); i >= 0 {
		return &c.Members[i]
	}
	return nil
}

// listen is the address to listen on for other nodes.
func (c *Config) listen() (host, port string) {
	addr := c.Listen
	if addr == "" {
		addr = c.own().Addr
	}
	host, port, _ = net.SplitHostPort(addr)
	switch ip := net.ParseIP(host); {
	case c.Listen != "" || loopback(addr):
	case ip != nil && ip.To4() == nil:
		host = "::"
	default:
		host = "0.0.0.0"
	}
	return host, port
}

// loopback reports whether only this machine reaches addr, a host:port.
func loopback(addr string) bool {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	return err == nil && tcp.IP.IsLoopback()
}
