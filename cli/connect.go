package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// connectFlags are the flags of every command that speaks with a server. TOKEN is
// a variable only: a command line is for everyone to see.
func connectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "tls", Sources: cli.EnvVars("TLS"), Usage: "connect by TLS; any of the settings of TLS does that too"},
		&cli.StringFlag{Name: "tls-ca", Sources: cli.EnvVars("TLS_CA"), Usage: "PEM `file` of the authorities to trust (default: the system's)"},
		&cli.StringFlag{Name: "tls-cert", Sources: cli.EnvVars("TLS_CERT"), Usage: "PEM `file` of the client's certificate"},
		&cli.StringFlag{Name: "tls-key", Sources: cli.EnvVars("TLS_KEY"), Usage: "PEM `file` of its key"},
		&cli.StringFlag{Name: "tls-server-name", Sources: cli.EnvVars("TLS_SERVER_NAME"), Usage: "`name` in the server's certificate (default: the host of ADDR)"},
		&cli.StringFlag{Name: "token-file", Sources: cli.EnvVars("TOKEN_FILE"), Usage: "`file` that holds the token (default: the variable TOKEN)"},
	}
}

// addressHelp is what the help of such a command says about ADDR.
const addressHelp = "ADDR is host:port, host or :port; what it leaves out is HOST and PORT, else localhost\n" +
	"and 8089."

// errFile: what stands for an address is of a file, or of standard input.
var errFile = errors.New("no address")

// serverAddress completes an address, which may be empty, from HOST and PORT.
func serverAddress(arg string) (string, error) {
	host, port, named := "", "", false
	if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() {
		return "", fmt.Errorf("%q is %w, but a file", arg, errFile)
	}
	if arg == "-" {
		return "", fmt.Errorf("%q is %w", arg, errFile)
	}
	if strings.HasPrefix(arg, "-") {
		return "", fmt.Errorf("%q is neither a flag nor an address", arg)
	}
	switch {
	case arg == "":
	case strings.HasPrefix(arg, ":") && strings.Count(arg, ":") == 1:
		port, named = arg[1:], true
	case isIP(strings.Trim(arg, "[]")):
		host = strings.Trim(arg, "[]")
	case strings.Contains(arg, ":"):
		var err error
		if host, port, err = net.SplitHostPort(arg); err != nil {
			return "", fmt.Errorf("%q is no address, want host:port, host or :port", arg)
		}
		named = true
	default:
		host = arg
	}
	if _, err := strconv.Atoi(host); err == nil {
		return "", fmt.Errorf("%q is no address; for a port write :%s", arg, host)
	}
	if host == "" {
		host = os.Getenv("HOST")
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost" // what listens on all addresses listens there
	}
	if !named {
		if port = os.Getenv("PORT"); port == "" {
			port = "8089"
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		what := "PORT"
		if named {
			what = "the port of " + strconv.Quote(arg)
		}
		return "", fmt.Errorf("%s is %q, want 1 to 65535", what, port)
	}
	return net.JoinHostPort(host, port), nil
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// looksLikeEntry tells an entry from an address among the arguments.
func looksLikeEntry(arg string) bool {
	if strings.HasPrefix(arg, "[") {
		host, _, err := net.SplitHostPort(arg)
		return !(err == nil && isIP(host)) && !isIP(strings.Trim(arg, "[]"))
	}
	return strings.HasPrefix(arg, "{") || arg == "null"
}

// onlyAddress is the address for a command that takes no other argument.
func onlyAddress(cmd *cli.Command) (string, error) {
	if arg := cmd.Args().First(); cmd.Name == "tail" && strings.HasPrefix(arg, "-") && arg != "-" {
		return "", fmt.Errorf("%q is neither a flag nor an address; for a number of entries write -n %s", arg, strings.TrimPrefix(arg, "-"))
	}
	if cmd.NArg() > 1 {
		return "", fmt.Errorf("want one address at most, got %q", cmd.Args().Slice())
	}
	return serverAddress(cmd.Args().First())
}

// connect dials the server at addr with what the flags of cmd say. Errors say what
// to do and bring their exit code.
func connect(ctx context.Context, cmd *cli.Command, addr string, options client.Options) (*client.Client, error) {
	var err error
	if options.TLS, err = tlsConfig(cmd); err != nil {
		return nil, usageError(cmd, err.Error())
	}
	if options.Token, err = token(cmd); err != nil {
		return nil, usageError(cmd, err.Error())
	}
	c, err := client.Dial(ctx, addr, options)
	if err != nil {
		return nil, failure(cmd, addr, fmt.Errorf("cannot connect: %w", err))
	}
	return c, nil
}

// byTLS reports whether the flags want a connection by TLS.
func byTLS(cmd *cli.Command) bool {
	return cmd.Bool("tls") || cmd.String("tls-ca")+cmd.String("tls-cert")+cmd.String("tls-key")+cmd.String("tls-server-name") != ""
}

// tlsConfig is what the flags say of TLS, nil for none.
func tlsConfig(cmd *cli.Command) (*tls.Config, error) {
	ca, cert, key, name := cmd.String("tls-ca"), cmd.String("tls-cert"), cmd.String("tls-key"), cmd.String("tls-server-name")
	if !byTLS(cmd) {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls-ca: %s has no certificate, want PEM", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("tls-cert and tls-key go together")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls-cert, tls-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// token is the token that the flags or the environment name, if any.
func token(cmd *cli.Command) (string, error) {
	name := cmd.String("token-file")
	if name == "" {
		return os.Getenv("TOKEN"), nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("token-file: %w", err)
	}
	t := strings.TrimSpace(string(b))
	if t == "" {
		return "", fmt.Errorf("token-file: %s is empty, want a token", name)
	}
	return t, nil
}

// failure is what a command ends with when the server at addr cannot be used: what
// happened, in one line, and what to do.
func failure(cmd *cli.Command, addr string, err error) error {
	return cli.Exit(fmt.Sprintf("%s: %s: %v%s", cmd.Name, addr, plainly(err), adviceFor(cmd, err)), ExitFailure)
}

// plainly leaves out what is of no use to a person: sockets and system calls.
func plainly(err error) string {
	text := err.Error()
	var op *net.OpError
	if errors.As(err, &op) {
		cause := op.Err
		var call *os.SyscallError
		if errors.As(cause, &call) {
			cause = call.Err
		}
		text = strings.ReplaceAll(text, op.Error(), cause.Error())
	}
	return text
}

// advice is what to do about err, behind a semicolon.
func advice(err error) string {
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "; is the server running there?"
	case errors.As(err, &dns):
		return "; look at the host's name"
	case errors.As(err, &record):
		return "; it does not speak TLS: leave --tls and the TLS_ settings out"
	case errors.As(err, &authority):
		return "; name its authority with --tls-ca"
	case errors.As(err, &host):
		return "; name it with --tls-server-name"
	case errors.Is(err, client.ErrUnauthorized):
		return "; name a token with --token-file or TOKEN, or a certificate with --tls-cert"
	case lacksRight(err):
		return "; name one that may with --token-file or TOKEN"
	case tooMany(err):
		return "; try again later, or raise MAX_CONNECTIONS of the server"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "; is it the right address?"
	case errors.Is(err, client.ErrProtocol) && tlsRecord(err):
		return tryTLS
	case errors.Is(err, client.ErrProtocol):
		return "; is it a tcp-log-server?"
	case errors.Is(err, client.ErrDiverged):
		return "; has it been restored, or is it another one? read on from an index that you know"
	case errors.Is(err, client.ErrLost):
		return tryTLS
	}
	return ""
}

// tryTLS is the advice where a server has ended a connection, or has sent what is
// not for people.
const tryTLS = "; does it speak TLS? try --tls; or has it been stopped?"

// adviceFor is advice to one who may speak TLS already.
func adviceFor(cmd *cli.Command, err error) string {
	text := advice(err)
	if text == tryTLS && byTLS(cmd) {
		return "; has it been stopped?"
	}
	return text
}

// tlsRecord reports whether the answer that err quotes is an alert or a handshake
// of TLS, by its first bytes: the type of the record and the major version.
func tlsRecord(err error) bool {
	return strings.Contains(err.Error(), ` is "\x15\x03`) || strings.Contains(err.Error(), ` is "\x16\x03`)
}

// turnedAway reports whether the server wants nothing of the whole connection: what
// was sent over it is not stored.
func turnedAway(err error) bool {
	return errors.Is(err, client.ErrRefused) && (errors.Is(err, client.ErrUnauthorized) || tooMany(err))
}

// tooMany reports whether the server has as many connections as it may.
func tooMany(err error) bool {
	return errors.Is(err, client.ErrServer) && strings.HasSuffix(err.Error(), ": too many connections")
}

// lacksRight reports whether the token is one of the server's, but not for this.
func lacksRight(err error) bool {
	for _, says := range []error{client.ErrRefused, client.ErrServer} {
		if errors.Is(err, says) && strings.HasPrefix(err.Error(), says.Error()+": unauthorized: ") {
			return true
		}
	}
	return false
}

// notWelcome reports whether err is of who asks, not of what is asked.
func notWelcome(err error) bool {
	return errors.Is(err, client.ErrUnauthorized) || tooMany(err) || lacksRight(err)
}

// retries says on standard error that a connection is lost, once for each time.
type retries struct {
	name  string
	since time.Time // of the first attempt in vain, zero while there is none
}

// note is client.Options.OnRetry.
func (r *retries) note(err error, _ time.Duration) {
	if r.since.IsZero() {
		r.since = time.Now()
		fmt.Fprintf(os.Stderr, "tcp-log-server: %s: %s; trying again until it is back\n", r.name, plainly(err))
	}
}

// over says that entries come again.
func (r *retries) over() {
	if !r.since.IsZero() {
		fmt.Fprintf(os.Stderr, "tcp-log-server: %s: connected again after %v\n", r.name, time.Since(r.since).Round(100*time.Millisecond))
		r.since = time.Time{}
	}
}
