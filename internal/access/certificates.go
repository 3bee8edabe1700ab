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

// ErrCertificates is wrapped by every error about a file of certificates or keys that is unreadable
// or has the wrong content.
var ErrCertificates = errors.New("not usable for TLS")

// Files names the files of a server's certificates, all in PEM.
type Files struct {
	Cert, Key string // the server's chain and its private key
	// ClientCA has the authorities whose certificates admit clients, "" for none.
	ClientCA string
	// Optional admits clients without a certificate to the handshake, because they can show a token
	// later. If a client shows a certificate, it must be valid.
	Optional bool
	// MinVersion is the oldest version of TLS to accept; 0 means tls.VersionTLS13.
	MinVersion uint16
}

// Certificates are a server's TLS certificates, read from files. All methods may be called from any
// goroutine.
type Certificates struct {
	files Files
	now   atomic.Pointer[tls.Config]
}

// LoadCertificates reads the files. Its errors wrap ErrCertificates.
func LoadCertificates(files Files) (*Certificates, error) {
	c := &Certificates{files: files}
	return c, c.Reload()
}

// Reload reads the files again, for later handshakes. On an error, which wraps ErrCertificates,
// nothing changes.
func (c *Certificates) Reload() error {
	cert, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w: %w", c.files.Cert, c.files.Key, ErrCertificates, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   c.files.MinVersion,
		// Connections last long, so resumption would save little; and each client is verified
		// again.
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
			return fmt.Errorf("%s: %w: it has no certificates", c.files.ClientCA, ErrCertificates)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
		if c.files.Optional {
			config.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	c.now.Store(config)
	return nil
}

// Config returns a configuration for a server that follows each Reload. Clients choose among the
// protocols, if there are any.
func (c *Certificates) Config(protocols ...string) *tls.Config {
	return &tls.Config{
		// The handshake uses the configuration from GetConfigForClient.
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := c.now.Load()
			if len(protocols) > 0 {
				now = now.Clone()
				now.NextProtos = protocols
			}
			return now, nil
		},
	}
}

// Expires returns the expiry of the server's certificate.
func (c *Certificates) Expires() time.Time {
	if leaf := c.now.Load().Certificates[0].Leaf; leaf != nil {
		return leaf.NotAfter
	}
	return time.Time{}
}
