package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// ErrCertificates is wrapped by every error about a file of certificates or a key:
// it cannot be read, or does not hold what it should.
var ErrCertificates = errors.New("not usable for TLS")

// Files names the files of a server's certificates, all in PEM.
type Files struct {
	Cert, Key string // the server's chain and its private key
	// ClientCA holds the authorities whose certificates let clients in, "" for none.
	ClientCA string
	// Optional lets clients without a certificate through the handshake, since they
	// have another way to show who they are. One that is given must be valid.
	Optional bool
	// MinVersion is the oldest version of TLS that is spoken: tls.VersionTLS13 if it
	// is 0.
	MinVersion uint16
}

// Certificates are what a server needs for TLS, read from files. All methods may
// be called from any goroutine.
type Certificates struct {
	files Files
	now   atomic.Pointer[tls.Config]
}

// LoadCertificates reads the files. Its errors wrap ErrCertificates.
func LoadCertificates(files Files) (*Certificates, error) {
	c := &Certificates{files: files}
	return c, c.Reload()
}

// Reload reads the files again, for handshakes from then on. On an error, which
// wraps ErrCertificates, what was read before stays.
func (c *Certificates) Reload() error {
	cert, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w: %w", c.files.Cert, c.files.Key, ErrCertificates, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   c.files.MinVersion,
		// Connections last, so resuming one saves little; and who was let in once is
		// asked again.
		SessionTicketsDisabled: true,
	}
	if config.MinVersion == 0 {
		config.MinVersion = tls.VersionTLS13
	}
	if c.files.ClientCA != "" {
		text, err := os.ReadFile(c.files.ClientCA)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCertificates, err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s: %w: there is no certificate in it", c.files.ClientCA, ErrCertificates)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
		if c.files.Optional {
			config.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	c.now.Store(config)
	return nil
}

// Config is a configuration for a server that takes up each Reload.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		// The handshake itself is done by what this returns.
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.now.Load(), nil },
	}
}

// Expires is when the server's own certificate does.
func (c *Certificates) Expires() time.Time {
	if leaf := c.now.Load().Certificates[0].Leaf; leaf != nil {
		return leaf.NotAfter
	}
	return time.Time{}
}
