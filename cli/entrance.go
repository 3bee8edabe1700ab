package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v3"

	"tcp-log-server/internal/access"
	"tcp-log-server/server"
)

// expiresSoon is how long before the end of the server's certificate its coming end
// is logged as a warning.
const expiresSoon = 14 * 24 * time.Hour

// tlsVersions are the values of --tls-min-version.
var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// entranceFlags are the settings that say who may come in.
func entranceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "tls-cert", Sources: cli.EnvVars("TLS_CERT"), Usage: "PEM `file` of the server's certificates: speak TLS"},
		&cli.StringFlag{Name: "tls-key", Sources: cli.EnvVars("TLS_KEY"), Usage: "PEM `file` of the private key to --tls-cert"},
		&cli.StringFlag{Name: "tls-client-ca", Sources: cli.EnvVars("TLS_CLIENT_CA"), Usage: "PEM `file` of the authorities whose certificates let clients in"},
		&cli.StringFlag{Name: "tls-min-version", Sources: cli.EnvVars("TLS_MIN_VERSION"), Value: "1.3", Usage: "oldest `version` of TLS to speak: 1.3 or 1.2", Validator: func(s string) error {
			if _, ok := tlsVersions[s]; !ok {
				return fmt.Errorf("tls-min-version is %q, want 1.3 or 1.2", s)
			}
			return nil
		}},
		&cli.StringFlag{Name: "tokens", Sources: cli.EnvVars("TOKENS"), Usage: "`file` of the tokens that let clients in, lines `name sha256-of-token read|write|both`"},
		&cli.BoolFlag{Name: "insecure", Sources: cli.EnvVars("INSECURE"), Usage: "let everybody in who reaches a --host other than loopback"},
	}
}

// entrance is who may come in, as the settings say.
type entrance struct {
	certificates *access.Certificates // nil without TLS
	tokens       *access.Tokens       // nil without tokens
	guarded      bool                 // not everybody may come in
	insecure     bool                 // everybody may, on any address
}

// newEntrance reads the settings and the files that they name.
func newEntrance(cmd *cli.Command) (*entrance, error) {
	cert, key, ca, tokens := cmd.String("tls-cert"), cmd.String("tls-key"), cmd.String("tls-client-ca"), cmd.String("tokens")
	switch {
	case (cert == "") != (key == ""):
		return nil, cli.Exit("--tls-cert and --tls-key go together: set both, or neither", ExitUsage)
	case ca != "" && cert == "":
		return nil, cli.Exit("--tls-client-ca needs --tls-cert and --tls-key", ExitUsage)
	}
	e := &entrance{guarded: ca != "" || tokens != "", insecure: cmd.Bool("insecure")}
	var err error
	if cert != "" {
		e.certificates, err = access.LoadCertificates(access.Files{
			Cert: cert, Key: key, ClientCA: ca, Optional: tokens != "", MinVersion: tlsVersions[cmd.String("tls-min-version")],
		})
		if err != nil {
			return nil, err
		}
	}
	if tokens != "" {
		if e.tokens, err = access.LoadTokens(tokens); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// configure makes a server ask for what the settings want.
func (e *entrance) configure(config *server.Config) {
	if e.certificates != nil {
		config.TLS = e.certificates.Config()
	}
	if e.tokens != nil {
		config.Tokens = func(hash [32]byte) (string, server.Rights) {
			name, read, write := e.tokens.Rights(hash)
			return name, server.Rights{Read: read, Write: write}
		}
	}
}

// allow refuses an address that more than this machine reaches if everybody there
// would be let in.
func (e *entrance) allow(addr net.Addr) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || e.guarded || e.insecure {
		return nil
	}
	return fmt.Errorf("whoever reaches %s could read and write the log: "+
		"set TLS_CERT, TLS_KEY and TLS_CLIENT_CA to ask for certificates, or TOKENS to ask for tokens, or HOST=127.0.0.1; "+
		"or INSECURE=1 if only those who may reach it", tcp.IP)
}

// allowHost is allow for what --host names, so that a start that will be refused
// changes nothing. What cannot be resolved is left for the listener to complain of.
func (e *entrance) allowHost(host string) error {
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil
	}
	return e.allow(addr)
}

// warn logs what is allowed and yet not as it should be.
func (e *entrance) warn(logger zerolog.Logger, addr net.Addr) {
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		switch {
		case !e.guarded:
			logger.Warn().Str("event", "insecure").Msg("everybody who reaches this address may read and write")
		case e.certificates == nil:
			logger.Warn().Str("event", "insecure").Msg("tokens and entries cross the network as plain text: set TLS_CERT and TLS_KEY")
		}
	}
	if e.certificates == nil {
		return
	}
	if end := e.certificates.Expires(); time.Until(end) < expiresSoon {
		logger.Warn().Str("event", "certificate").Time("expires", end).Msg("the server's certificate ends soon, or has ended")
	}
}

// reload reads the files anew, for connections to come, and ends those whose token
// is no longer there or has other rights. Where a file cannot be taken, all that
// it said before stays.
func (e *entrance) reload(logger zerolog.Logger, srv *server.Server, addr net.Addr) {
	var errs []error
	if e.certificates != nil {
		errs = append(errs, e.certificates.Reload())
	}
	if e.tokens != nil {
		errs = append(errs, e.tokens.Reload())
		srv.Reauthorize()
	}
	if err := errors.Join(errs...); err != nil {
		logger.Error().Err(err).Str("event", "reload").Msg("what was read before stays in force")
		return
	}
	logger.Info().Str("event", "reloaded").Send()
	e.warn(logger, addr)
}
