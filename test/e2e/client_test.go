package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/cli"
	"tcp-log-server/internal/access/accesstest"
)

// command returns the built program with arguments. Its environment is that of the
// test plus settings.
func command(t *testing.T, settings []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), settings...)
	return cmd
}

// converse starts a command with pipes to its input and from its output. It is killed when the
// test ends. Read errs only after it has ended.
func converse(t *testing.T, settings []string, args ...string) (cmd *exec.Cmd, in io.WriteCloser, lines *bufio.Reader, errs *bytes.Buffer) {
	t.Helper()
	cmd, errs = command(t, settings, args...), new(bytes.Buffer)
	cmd.Stderr = errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, in, bufio.NewReader(out), errs
}

// result is the exit code and the output of a command.
type result struct {
	out, err string
	code     int
}

// play runs a command with input.
func play(t *testing.T, settings []string, input string, args ...string) result {
	t.Helper()
	cmd := command(t, settings, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// at returns the settings for an address.
func at(addr string) []string {
	host, port, _ := net.SplitHostPort(addr)
	return []string{"HOST=" + host, "PORT=" + port}
}

// TestCommandsSecurely: the commands against a server with TLS and tokens, by flags
// and by the environment, and their errors when something is missing.
func TestCommandsSecurely(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	dir := t.TempDir()
	tokens, token := filepath.Join(dir, "tokens"), filepath.Join(dir, "token")
	writeTokens(t, tokens, "read", "write", "both")
	if err := os.WriteFile(token, []byte("token-both\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, "DATA=memory", "TLS_CERT="+cert, "TLS_KEY="+key, "TOKENS="+tokens)
	_, port, _ := net.SplitHostPort(d.addr)
	addr := "localhost:" + port
	trust := "TLS_CA=" + authority.Path

	if r := play(t, []string{trust}, "[1][2]", "append", "--token-file", token, addr); r.out != "1\n2\n" || r.code != 0 {
		t.Errorf("append: %+v", r)
	}
	if r := play(t, []string{"TOKEN=token-read"}, "", "read", "--entry", "--tls-ca", authority.Path, addr); r.out != "[1]\n[2]\n" || r.code != 0 {
		t.Errorf("read: %+v", r)
	}
	if r := play(t, []string{trust, "TOKEN_FILE=" + token, "HOST=localhost", "PORT=" + port}, "", "tail", "-n", "1", "--index"); r.out != "2\n" || r.code != 0 {
		t.Errorf("tail: %+v", r)
	}
	if r := play(t, []string{trust}, "", "stat", "--token-file", token, "--json", addr); r.code != 0 || !strings.Contains(r.out, `"head":2`) || !strings.Contains(r.out, `"tokens":true`) || strings.Contains(r.out, tokens) {
		t.Errorf("stat: %+v", r)
	}
	if r := play(t, []string{trust, "TOKEN_FILE=" + token}, "", "import", oldServer(t, "[1]", "[2]", "[3]"), "--into", addr); r.code != 0 {
		t.Errorf("import: %+v", r)
	}
	if r := play(t, []string{trust, "TOKEN_FILE=" + token}, "", "read", "--from", "3", "--entry", addr); r.out != "[3]\n" {
		t.Errorf("read of what was imported: %+v", r)
	}
	for _, tt := range []struct {
		settings []string
		args     string
		input    string
		errs     []string
		code     int
	}{
		{[]string{trust, "TOKEN=token-write"}, "read", "", []string{"the server says: unauthorized: this token may not read; name one that may with --token-file or TOKEN"}, 1},
		{[]string{"TLS=1", "TOKEN=token-both"}, "read", "", []string{"unknown authority; name its authority with --tls-ca"}, 1},
		{[]string{trust, "TLS_SERVER_NAME=other.example", "TOKEN=token-both"}, "read", "", []string{"; name it with --tls-server-name"}, 1},
		{[]string{trust, "TOKEN=token-read"}, "append", "[3][4]\n[5]", []string{"append: unauthorized: this token may not write; name one that may with --token-file or TOKEN; refused: lines 1"}, 2},
		{[]string{trust, "TOKEN=token-read"}, "append --on-error continue", "[3]\n5\n[4]", []string{"line 2: not stored: not a JSON object", "append: unauthorized: this token may not write; name one"}, 2},
	} {
		r := play(t, tt.settings, tt.input, append(strings.Fields(tt.args), addr)...)
		if r.code != tt.code || r.out != "" {
			t.Errorf("%q %s: code %d, prints %q; want %d and nothing", tt.settings, tt.args, r.code, r.out, tt.code)
		}
		checkErrors(t, r.err, tt.errs)
	}
}

// TestMismatch: the error of a command, and the outcome that it reports, when client and server
// disagree on TLS or on the token. Nothing is ever stored, and the command says so.
func TestMismatch(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	tokens := filepath.Join(t.TempDir(), "tokens")
	writeTokens(t, tokens, "both")
	secure := []string{"TLS_CERT=" + cert, "TLS_KEY=" + key}
	named, trust := "TOKENS="+tokens, "TLS_CA="+authority.Path
	const (
		needsTLS = "the server requires TLS; add --tls, or --tls-ca FILE with its authority or its certificate"
		speaksNo = "cannot connect: TLS handshake: tls: first record does not look like a TLS handshake; it does not speak TLS: remove --tls and the TLS_ settings"
		missing  = "unauthorized; the server requires a token: name one with --token-file or TOKEN, or a certificate with --tls-cert"
		wrong    = "unauthorized; the server does not know this token: name another with --token-file or TOKEN, or have the server read a new one (SIGHUP)"
		noCert   = "unauthorized: tls: certificate required; name a certificate that it accepts with --tls-cert and --tls-key"
	)
	for _, tt := range []struct {
		name           string
		server, client []string
		says           string
	}{
		{"plain to TLS", secure, nil, needsTLS},
		{"plain to TLS, with a token", append(secure, named), []string{"TOKEN=token-both"}, needsTLS},
		{"TLS to plain", nil, []string{trust}, speaksNo},
		{"TLS to plain, with a token", []string{named}, []string{trust, "TOKEN=token-both"}, speaksNo},
		{"no token", []string{named}, nil, missing},
		{"no token, over TLS", append(secure, named), []string{trust}, missing},
		{"a wrong token", []string{named}, []string{"TOKEN=token-other"}, wrong},
		{"a wrong token, over TLS", append(secure, named), []string{trust, "TOKEN=token-other"}, wrong},
		{"no certificate", append(secure, "TLS_CLIENT_CA="+authority.Path), []string{trust}, noCert},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, append([]string{"DATA=memory"}, tt.server...)...)
			_, port, _ := net.SplitHostPort(d.addr)
			addr := "localhost:" + port
			for args, says := range map[string]string{
				"append":             "append: " + tt.says + "; not sent: line",
				"append --quiet [1]": "append: " + tt.says + "; not sent: argument 1",
				"read":               "read: " + addr + ": " + tt.says,
				"read --follow":      "read: " + addr + ": " + tt.says,
				"tail":               "tail: " + addr + ": " + tt.says,
				"stat":               "stat: " + addr + ": " + tt.says,
			} {
				command, rest, _ := strings.Cut(args, " ")
				words := append([]string{command}, strings.Fields(rest)...)
				if strings.HasPrefix(rest, "--quiet") { // the address comes before the entry
					words = []string{command, "--quiet", addr, "[1]"}
				} else {
					words = append(words, addr)
				}
				if tt.says == speaksNo { // nothing was sent
					says = command + ": " + addr + ": " + tt.says
				}
				r := play(t, tt.client, strings.Repeat("[1]\n", 100), words...)
				if r.code != cli.ExitFailure || r.out != "" || !strings.HasPrefix(r.err, "tcp-log-server: "+says) || strings.Count(r.err, "\n") != 1 {
					t.Errorf("%s: code %d, prints %q and %q, want code %d and %q", args, r.code, r.out, r.err, cli.ExitFailure, says)
				}
			}
			// A client of the right kind finds that nothing was stored.
			if r := play(t, []string{trust, "TOKEN=token-both"}, "", "stat", "--json", addr); len(tt.server) > 2 && tt.server[2] == named && !strings.Contains(r.out, `"head":0,`) {
				t.Errorf("stat afterwards: %+v", r)
			}
		})
	}
}
