// Package cluster runs a node of a cluster inside this process: a NATS server with JetStream, which keeps
// one replica of the log. It deals with nodes, how they find and trust each other, and their disks; the
// contents of the log are up to package replicated.
package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/rs/zerolog"
)

// Errors that callers can distinguish.
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
	// MaxPayload is the largest message that a node takes unless Config says otherwise: the highest value
	// that NATS recommends.
	MaxPayload = 8 << 20
	// minSecret is the least number of bytes in a secret.
	minSecret = 16
)

// A Config says which node of which cluster to run.
type Config struct {
	// Members are all nodes of the cluster, and Name is this one's.
	Members []Member
	Name    string
	// Listen is the host:port on which to listen for other nodes. "" means the port of the node's own
	// address, on loopback if that is a loopback address, otherwise on all addresses.
	Listen string
	// Dir is the node's own directory. It is created if it does not exist.
	Dir string
	// Secret is shared by all nodes and admits a node to the cluster.
	Secret []byte
	// TLS encrypts the connections between nodes and authenticates both ends; see LoadTLS.
	TLS *tls.Config
	// Insecure lets nodes talk without TLS over addresses other than loopback.
	Insecure bool
	// Stream is the stream that holds the log, "" for DefaultStream. Its messages begin at 1 and none is
	// ever deleted; the node takes part only with a replica for which that is true.
	Stream string
	// Check, if not nil, returns an error if a message of the stream is damaged. Verify calls it.
	Check func(seq uint64, message []byte) error
	// MaxPayload is the largest message; 0 means the constant MaxPayload.
	MaxPayload int
	Logger     zerolog.Logger
}

// Validate returns an error if c cannot run a node. It changes nothing.
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

// checkExposure refuses addresses that other machines can reach, unless nodes must show certificates or
// Insecure allows it.
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

// own returns this node among the members, nil if it is not one.
func (c *Config) own() *Member {
	if i := slices.IndexFunc(c.Members, func(m Member) bool { return m.Name == c.Name }); i >= 0 {
		return &c.Members[i]
	}
	return nil
}

// listen returns the address on which to listen for other nodes.
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

// loopback reports whether addr, a host:port, is reachable only from this machine.
func loopback(addr string) bool {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	return err == nil && tcp.IP.IsLoopback()
}
