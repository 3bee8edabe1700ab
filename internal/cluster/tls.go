package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"tcp-log-server/internal/access"
)

// Certificates are what a node needs for TLS with the others, read from files. All methods may be called
// from any goroutine.
type Certificates struct {
	server    *access.Certificates
	cert, key string
	roots     *x509.CertPool
	pair      atomic.Pointer[tls.Certificate]
}

// LoadTLS reads this node's certificate and key, and the authorities of the other nodes' certificates. A
// node's certificate must be valid for servers and for clients, and name the host in its address. The
// errors wrap access.ErrCertificates.
func LoadTLS(cert, key, ca string) (*Certificates, error) {
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", access.ErrCertificates, err)
	}
	c := &Certificates{cert: cert, key: key, roots: x509.NewCertPool()}
	if !c.roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: %w: it has no certificates", ca, access.ErrCertificates)
	}
	if c.server, err = access.LoadCertificates(access.Files{Cert: cert, Key: key, ClientCA: ca}); err != nil {
		return nil, err
	}
	return c, c.reloadPair()
}

// Reload reads the files again, for later handshakes. On an error nothing changes. Nodes that this one
// connects to must have certificates from the authorities that were in the file at first: before using a
// new authority, add it to the file on all nodes and restart them.
func (c *Certificates) Reload() error {
	if err := c.server.Reload(); err != nil {
		return err
	}
	return c.reloadPair()
}

func (c *Certificates) reloadPair() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w: %w", c.cert, c.key, access.ErrCertificates, err)
	}
	c.pair.Store(&pair)
	return nil
}

// Config returns a configuration for both ends of a connection between nodes, which follows each Reload.
func (c *Certificates) Config() *tls.Config {
	config := c.server.Config()
	config.MinVersion = tls.VersionTLS13
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, c.roots
	config.RootCAs = c.roots
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.pair.Load(), nil }
	return config
}
