package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// connectFlags returns the flags of every command that connects to a server. TOKEN is only a
// variable, because everyone can see a command line.
func connectFlags() []cli.Flag { return connectFlagsFor("", "the server", "ADDR") }

// connectFlagsFor returns the flags of a command that connects to a server called peer at the
// address addr, with prefix before their names: source- makes them --source-tls and SOURCE_TLS.
func connectFlagsFor(prefix, peer, addr string) []cli.Flag {
	variables := strings.ToUpper(strings.ReplaceAll(prefix, "-", "_"))
	to := ""
	if prefix != "" {
		to = " to " + peer
	}
	return []cli.Flag{
		&cli.BoolFlag{Name: prefix + "tls", Sources: variable(variables + "TLS"), Usage: "connect" + to + " with TLS, as any other " + variables + "TLS setting does too"},
		&cli.StringFlag{Name: prefix + "tls-ca", Sources: variable(variables + "TLS_CA"), Usage: "PEM `file` of the authorities to trust (default: the system's)"},
		&cli.StringFlag{Name: prefix + "tls-cert", Sources: variable(variables + "TLS_CERT"), Usage: "PEM `file` of the client's certificate"},
		&cli.StringFlag{Name: prefix + "tls-key", Sources: variable(variables + "TLS_KEY"), Usage: "PEM `file` of its key"},
		&cli.StringFlag{Name: prefix + "tls-server-name", Sources: variable(variables + "TLS_SERVER_NAME"), Usage: "`name` in " + peer + "'s certificate (default: the host of " + addr + ")"},
		&cli.StringFlag{Name: prefix + "token-file", Sources: variable(variables + "TOKEN_FILE"), Usage: "`file` that holds the token (default: the variable " + variables + "TOKEN)"},
	}
}

// addressHelp explains ADDR in the help of such a command.
const addressHelp = "ADDR is host:port, host or :port. Its other part is HOST or PORT, else localhost or 8089."

// errAddress: the argument cannot be an address.
var errAddress = errors.New("not an address, want host:port, host or :port")

// isHost reports whether s may be a host's name or IP address. No name ends in a number.
func isHost(s string) bool {
	for _, c := range []byte(s) {
		name := c >= 0x80 || c == '.' || c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if !name {
			return isIP(s)
		}
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	return strings.Trim(last, "0123456789") != "" || isIP(s) || strings.HasSuffix(s, ".")
}

// Arguments that may be given by mistake in place of an address.
var (
	errFile      = errors.New("not an address") // a file, or standard input
	errDirectory = errors.New("is a directory, not an address")
)

// link matches the beginning of a URL.
var link = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// serverAddress completes an address, which may be empty, from HOST and PORT.
func serverAddress(arg string) (string, error) {
	return completeAddress(arg, hostSetting.value(), portSetting.value())
}

// completeAddress completes an address, which may be empty, from the values of HOST and PORT, which
// may be empty too.
func completeAddress(arg, defaultHost, defaultPort string) (string, error) {
	host, port, named := "", "", false
	switch info, err := os.Stat(arg); {
	case err == nil && info.Mode().IsRegular():
		return "", fmt.Errorf("%q is %w but a file", arg, errFile)
	case err == nil && info.IsDir():
		return "", fmt.Errorf("%q %w", arg, errDirectory)
	}
	if scheme := link.FindString(arg); scheme != "" {
		host, _, _ := strings.Cut(arg[len(scheme):], "/")
		return "", fmt.Errorf("%q is a URL, not an address; write %s", arg, host)
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
		if host, port, err = net.SplitHostPort(arg); err != nil || arg[0] == '[' && !isIP(host) {
			return "", fmt.Errorf("%q is %w", arg, errAddress)
		}
		named = true
	default:
		host = arg
	}
	if _, err := strconv.Atoi(host); err == nil {
		return "", fmt.Errorf("%q is not an address; for a port write :%s", arg, host)
	}
	if host != "" && !isHost(host) {
		return "", fmt.Errorf("%q is %w", arg, errAddress)
	}
	if host == "" {
		host = defaultHost
		if name, port, err := net.SplitHostPort(host); err == nil {
			return "", fmt.Errorf("%s is %q, want a host without a port: set it to %s and %s to %s", hostSetting.key(), host, name, portSetting.key(), port)
		}
		if host != "" && !isHost(host) {
			return "", fmt.Errorf("%q is not an address%s", host, hostOrigin(host))
		}
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost" // a server on all addresses listens there too
	}
	if !named {
		if port = defaultPort; port == "" {
			port = "8089"
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		what := portSetting.key()
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

// looksLikeEntry distinguishes an entry from an address among the arguments. Anything that cannot
// be an address, a file or a number is an entry, valid or not.
func looksLikeEntry(arg string) bool {
	switch arg {
	case "", "null", "true", "false":
		return true
	}
	_, err := serverAddress(arg)
	return errors.Is(err, errAddress)
}

// onlyAddress returns the address of a command that takes no other argument.
func onlyAddress(cmd *cli.Command) (string, error) {
	if arg := cmd.Args().First(); cmd.Name == "tail" && strings.HasPrefix(arg, "-") && arg != "-" {
		return "", usageError(cmd, fmt.Sprintf("%q is neither a flag nor an address; for a number of entries write -n %s", arg, strings.TrimPrefix(arg, "-")))
	}
	arg, err := argument(cmd, "address")
	if err != nil {
		return "", err
	}
	addr, err := serverAddress(arg)
	if errors.Is(err, errDirectory) {
		err = fmt.Errorf("%w; to print the log in it: tcp-log-server cat %s", err, arg)
		if isHost(strings.Trim(arg, ".")) {
			err = fmt.Errorf("%w; for a host of that name write %s:8089", err, arg)
		}
	}
	if err != nil {
		return "", usageError(cmd, err.Error())
	}
	return addr, nil
}

// connect dials the server at addr as the flags of cmd say. Its errors say what to do and have an
// exit code.
func connect(ctx context.Context, cmd *cli.Command, addr string, options client.Options) (*client.Client, error) {
	c, err := dialServer(ctx, cmd, addr, options)
	if _, coded := errors.AsType[cli.ExitCoder](err); err != nil && !coded {
		return nil, failure(cmd, addr, err)
	}
	return c, err
}

// dialServer is connect without advice: only its errors of wrong usage have an exit code.
func dialServer(ctx context.Context, cmd *cli.Command, addr string, options client.Options) (*client.Client, error) {
	var err error
	if options.TLS, err = tlsConfig(cmd, ""); err != nil {
		return nil, usageError(cmd, err.Error())
	}
	if options.Token, err = token(cmd, ""); err != nil {
		return nil, usageError(cmd, err.Error())
	}
	c, err := client.Dial(ctx, addr, options)
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	return c, nil
}

// usesTLS reports whether the flags of connectFlagsFor(prefix, …) ask for TLS.
func usesTLS(cmd *cli.Command, prefix string) bool {
	return cmd.Bool(prefix+"tls") || cmd.String(prefix+"tls-ca")+cmd.String(prefix+"tls-cert")+cmd.String(prefix+"tls-key")+cmd.String(prefix+"tls-server-name") != ""
}

// tlsConfig returns the TLS configuration of these flags, nil for none.
func tlsConfig(cmd *cli.Command, prefix string) (*tls.Config, error) {
	if !usesTLS(cmd, prefix) {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cmd.String(prefix + "tls-server-name")}
	if ca := cmd.String(prefix + "tls-ca"); ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("%stls-ca: %w", prefix, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%stls-ca: %s has no certificates, want PEM", prefix, ca)
		}
	}
	cert, key := cmd.String(prefix+"tls-cert"), cmd.String(prefix+"tls-key")
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("%stls-cert and %stls-key go together", prefix, prefix)
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%stls-cert, %stls-key: %w", prefix, prefix, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// token returns the token of these flags or of the environment, or "".
func token(cmd *cli.Command, prefix string) (string, error) {
	name := cmd.String(prefix + "token-file")
	if name == "" {
		return setting(strings.ToUpper(strings.ReplaceAll(prefix, "-", "_")) + string(tokenSetting)).value(), nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("%stoken-file: %w", prefix, err)
	}
	t := strings.TrimSpace(string(b))
	if t == "" {
		return "", fmt.Errorf("%stoken-file: %s is empty, want a token", prefix, name)
	}
	return t, nil
}

// failure returns the error of a command that cannot use the server at addr: what happened, in one
// line, and what to do.
func failure(cmd *cli.Command, addr string, err error) error {
	return cli.Exit(fmt.Sprintf("%s: %s: %v%s", cmd.Name, addr, plainly(err), advice(cmd, err)), ExitFailure)
}

// plainly returns the text of err without the names of sockets and system calls, which do not help
// users.
func plainly(err error) string {
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		text = strings.ReplaceAll(text, context.DeadlineExceeded.Error(), "no answer in time: a server that starts, or waits for the other nodes of its cluster, answers later")
	}
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

// advice returns, after a semicolon, what a user of cmd can do about err.
func advice(cmd *cli.Command, err error) string {
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var dns *net.DNSError
	given, _ := token(cmd, "")
	handshake := strings.Contains(err.Error(), "TLS handshake: ")
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "; is the server running there?"
	case errors.As(err, &dns):
		return hostAdvice(cmd, dns.Name)
	case errors.Is(err, client.ErrNeedsTLS):
		return "; add --tls, or --tls-ca FILE with its authority or its certificate"
	case errors.As(err, &record):
		return "; it does not speak TLS: remove --tls and the TLS_ settings"
	case errors.As(err, &authority):
		return "; name its authority with --tls-ca"
	case errors.As(err, &host):
		return "; name it with --tls-server-name"
	case handshake && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF)):
		return "; if it does not speak TLS, remove --tls and the TLS_ settings"
	case errors.Is(err, client.ErrUnauthorized) && strings.Contains(err.Error(), "certificate"):
		return "; name a certificate that it accepts with --tls-cert and --tls-key"
	case errors.Is(err, client.ErrUnauthorized) && given != "":
		return "; the server does not know this token: name another with --token-file or TOKEN, or have the server read a new one (SIGHUP)"
	case errors.Is(err, client.ErrUnauthorized):
		return "; the server requires a token: name one with --token-file or TOKEN, or a certificate with --tls-cert"
	case lacksRight(err):
		return "; name one that may with --token-file or TOKEN"
	case tooMany(err):
		return "; try again later, or raise MAX_CONNECTIONS of the server"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "; is it the right address, or is the server still starting?"
	case errors.Is(err, client.ErrProtocol):
		return "; is it a tcp-log-server?"
	case errors.Is(err, client.ErrDiverged):
		return "; has it been restored, or is it another log? read from an index that you know"
	case errors.Is(err, client.ErrLost) && strings.Contains(err.Error(), "the server says: not available now: "):
		return "; try again later, or see `tcp-log-server stat`"
	case errors.Is(err, client.ErrLost) && usesTLS(cmd, ""):
		return "; has it been stopped?"
	case errors.Is(err, client.ErrLost):
		return "; has it been stopped? if it speaks TLS, add --tls"
	}
	return ""
}

// turnedAway reports whether the server has refused the whole connection: nothing that was sent
// over it is stored.
func turnedAway(err error) bool {
	return errors.Is(err, client.ErrRefused) && (errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrNeedsTLS) || tooMany(err))
}

// tooMany reports whether the server has reached its limit of connections.
func tooMany(err error) bool {
	return errors.Is(err, client.ErrServer) && strings.HasSuffix(err.Error(), ": too many connections")
}

// lacksRight reports whether the server knows the token, but the token lacks the necessary right.
func lacksRight(err error) bool {
	for _, says := range []error{client.ErrRefused, client.ErrServer} {
		if errors.Is(err, says) && strings.HasPrefix(err.Error(), says.Error()+": unauthorized: ") {
			return true
		}
	}
	return false
}

// notAdmitted reports whether err is about the client and not about its request.
func notAdmitted(err error) bool {
	return errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrNeedsTLS) || tooMany(err) || lacksRight(err)
}

// retries reports lost connections on standard error, each of them once. Its methods may be called
// from any goroutine.
type retries struct {
	name  string
	mu    sync.Mutex
	since time.Time // of the first failed attempt, zero while connected
}

// failed is client.Options.OnRetry.
func (r *retries) failed(err error, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		r.since = time.Now()
		warn("%s: %s; trying again until it is back", r.name, bare(err))
	}
}

// resumed is client.Options.OnResume.
func (r *retries) resumed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() {
		warn("%s: connected again after %v", r.name, time.Since(r.since).Round(100*time.Millisecond))
		r.since = time.Time{}
	}
}
