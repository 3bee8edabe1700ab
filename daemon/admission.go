package daemon

import (
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/internal/access"
	"tcp-log-server/server"
)

// expiresSoon is how long before the server's certificate expires a warning is logged.
const expiresSoon = 14 * 24 * time.Hour

// admission decides which clients are admitted, according to the files that the settings name.
type admission struct {
	certificates *access.Certificates // nil without TLS
	tokens       *access.Tokens       // nil without tokens
	restricted   bool                 // clients must show a certificate or a token
	logger       zerolog.Logger
}

// newAdmission reads the files.
func newAdmission(c Config) (a *admission, err error) {
	a = &admission{restricted: c.restricted(), logger: c.Logger}
	if c.TLSCert != "" {
		a.certificates, err = access.LoadCertificates(access.Files{
			Cert: c.TLSCert, Key: c.TLSKey, ClientCA: c.TLSClientCA, Optional: c.Tokens != "", MinVersion: c.TLSMinVersion,
		})
		if err != nil {
			return nil, err
		}
	}
	if c.Tokens != "" {
		if a.tokens, err = access.LoadTokens(c.Tokens); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// configure makes a server ask clients for certificates and tokens.
func (a *admission) configure(config *server.Config) {
	if a.certificates != nil {
		config.TLS = a.certificates.Config()
	}
	config.Tokens = a.rights()
}

// rights returns server.Config.Tokens, nil without tokens.
func (a *admission) rights() func(hash [32]byte) (name string, rights server.Rights) {
	if a.tokens == nil {
		return nil
	}
	return func(hash [32]byte) (string, server.Rights) {
		name, read, write := a.tokens.Rights(hash)
		return name, server.Rights{Read: read, Write: write}
	}
}

// warn logs what is allowed but risky at these addresses, and a certificate that expires soon.
func (a *admission) warn(addrs []net.Addr) {
	if !isLoopback(addrs...) {
		switch {
		case !a.restricted:
			a.logger.Warn().Str("event", "insecure").Msg("anyone who can reach this address may read and write")
		case a.certificates == nil:
			a.logger.Warn().Str("event", "insecure").Msg("tokens and entries cross the network as plain text: set TLS_CERT and TLS_KEY")
		}
	}
	if a.certificates == nil {
		return
	}
	if end := a.certificates.Expires(); time.Until(end) < expiresSoon {
		a.logger.Warn().Str("event", "certificate").Time("expires", end).Msg("the server's certificate expires soon, or has expired")
	}
}

// reload reads the files again, for later connections, and closes connections whose token is gone or has
// other rights now. A file that cannot be used changes nothing. nodes, if not nil, reloads the files of a
// cluster node.
func (a *admission) reload(srv *server.Server, addrs []net.Addr, nodes func() error) {
	var errs []error
	if nodes != nil {
		errs = append(errs, nodes())
	}
	if a.certificates != nil {
		errs = append(errs, a.certificates.Reload())
	}
	if a.tokens != nil {
		errs = append(errs, a.tokens.Reload())
		srv.Reauthorize()
	}
	if err := errors.Join(errs...); err != nil {
		a.logger.Error().Err(err).Str("event", "reload").Msg("the files that were read before stay in force")
		return
	}
	a.logger.Info().Str("event", "reloaded").Msg("certificates and tokens reloaded")
	a.warn(addrs)
}
