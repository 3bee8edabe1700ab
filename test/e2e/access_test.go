package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/cli"
	"tcp-log-server/internal/access/accesstest"
)

// line sends a line and returns the one that comes back.
func line(t *testing.T, c net.Conn, send string) string {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, send+"\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReaderSize(c, 16).ReadString('\n')
	if err != nil {
		t.Fatalf("after %s: %v", send, err)
	}
	return strings.TrimSpace(got)
}

// writeTokens writes a file of tokens, each named for the rights that it
// has.
func writeTokens(t *testing.T, path string, rights ...string) {
	t.Helper()
	var b strings.Builder
	for _, r := range rights {
		fmt.Fprintf(&b, "%s %x %s\n", r, sha256.Sum256([]byte("token-"+r)), r)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMutualTLS(t *testing.T) {
	authority, other := accesstest.NewAuthority(t), accesstest.NewAuthority(t)
	later := time.Now().Add(30 * 24 * time.Hour)
	cert, key := authority.Issue(t, "server", later)
	clientCert, clientKey := authority.Issue(t, "alice", later)
	d := start(t, "DATA="+t.TempDir(), "TLS_CERT="+cert, "TLS_KEY="+key, "TLS_CLIENT_CA="+authority.Path)
	alice := authority.Client(t, clientCert, clientKey)
	c, err := tls.Dial("tcp", d.addr, alice)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := line(t, c, `{"id":"1","entry":{"a":1}}`); got != `{"id":"1","index":1}` {
		t.Fatalf("reply is %s", got)
	}
	if e := d.event(t, "connected"); e["connection"] == nil {
		t.Errorf("logged %v", e)
	}

	refused := func(what string, config *tls.Config) {
		t.Helper()
		c, err := tls.Dial("tcp", d.addr, config)
		if err == nil {
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(c, `{"from":1,"read":1}`+"\n")
			var b []byte
			if b, err = io.ReadAll(c); len(b) > 0 {
				t.Errorf("%s: the server answers %q", what, b)
			}
		}
		if err == nil {
			t.Errorf("%s: it may come in", what)
		}
	}
	refused("no certificate", authority.Client(t, "", ""))
	strangeCert, strangeKey := other.Issue(t, "alice", later)
	refused("certificate of another authority", authority.Client(t, strangeCert, strangeKey))
	oldCert, oldKey := authority.Issue(t, "alice", time.Now().Add(-time.Minute))
	refused("expired certificate", authority.Client(t, oldCert, oldKey))

	// New certificates are loaded, and clients that are connected do not notice.
	other.IssueTo(t, "server", later, cert, key)
	d.cmd.Process.Signal(syscall.SIGHUP)
	d.event(t, "reloaded")
	if got := line(t, c, `{"id":"2","entry":{"a":2}}`); got != `{"id":"2","index":2}` {
		t.Errorf("after the reload the reply is %s", got)
	}
	refused("a client that trusts the old certificate only", alice)
	renewed := other.Client(t, clientCert, clientKey)
	c2, err := tls.Dial("tcp", d.addr, renewed)
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	if got := line(t, c2, `{"id":"3","entry":{"a":3}}`); got != `{"id":"3","index":3}` {
		t.Errorf("with the new certificate the reply is %s", got)
	}

	// An invalid file changes nothing.
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.cmd.Process.Signal(syscall.SIGHUP)
	if e := d.event(t, "reload"); e["level"] != 50.0 || !strings.Contains(fmt.Sprint(e["err"], e["error"]), key) {
		t.Errorf("logged %v, want an error that names %s", e, key)
	}
	if c3, err := tls.Dial("tcp", d.addr, renewed); err != nil {
		t.Errorf("after a reload that failed: %v", err)
	} else {
		c3.Close()
	}
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code is %d: %s", code, d.stderr.String())
	}
}

func TestTokens(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	writeTokens(t, tokens, "read", "write", "both")
	d := start(t, "DATA="+t.TempDir(), "TOKENS="+tokens, "LOG_LEVEL=trace")
	var logged bytes.Buffer
	var logging sync.Mutex
	note := func(e map[string]any) {
		logging.Lock()
		defer logging.Unlock()
		fmt.Fprintln(&logged, e)
	}

	const append1, read1 = `{"id":"1","entry":{"a":1}}` + "\n", `{"from":1,"read":1}` + "\n"
	for _, tt := range []struct{ input, want string }{
		{append1, `{"error":"unauthorized"}` + "\n"},
		{`{"token":"wrong"}` + "\n" + append1, `{"error":"unauthorized"}` + "\n"},
		{`{"token":"token-both"}` + "\n" + append1, `{"id":"1","index":1}` + "\n"},
		{`{"token":"token-read"}` + "\n" + append1, `{"id":"1","error":"not stored: unauthorized: this token may not write"}` + "\n"},
		{`{"token":"token-read"}` + "\n" + read1, `{"index":1,"entry":{"a":1}}` + "\n" + `{"head":1}` + "\n"},
		{`{"token":"token-write"}` + "\n" + read1, `{"error":"unauthorized: this token may not read"}` + "\n"},
		{`{"token":"token-write"}` + "\n" + append1, `{"id":"1","index":2}` + "\n"},
	} {
		if got := talk(t, d.addr, tt.input); got != tt.want {
			t.Errorf("to %q the server answers %q, want %q", tt.input, got, tt.want)
		}
	}

	// A token that is removed from the file is invalid from the next SIGHUP on.
	dial := func(token string) net.Conn {
		c, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, `{"token":"token-`+token+`"}`+"\n")
		return c
	}
	both, reader := dial("both"), dial("read")
	line(t, both, `{"stat":true}`)
	line(t, reader, `{"from":3}`)
	writeTokens(t, tokens, "both")
	d.cmd.Process.Signal(syscall.SIGHUP)
	for name := ""; name != "reloaded"; {
		select {
		case e := <-d.events:
			note(e)
			name, _ = e["event"].(string)
		case <-time.After(20 * time.Second):
			t.Fatal("the server did not reload in time")
		}
	}
	if b, err := io.ReadAll(reader); err == nil && len(b) > 0 {
		t.Errorf("the token that is gone still reads: %q", b)
	}
	if got := line(t, both, `{"id":"3","entry":{"a":3}}`); got != `{"id":"3","index":3}` {
		t.Errorf("the token that stays gets %s", got)
	}
	if got := talk(t, d.addr, `{"token":"token-read"}`+"\n"+read1); got != `{"error":"unauthorized"}`+"\n" {
		t.Errorf("the token that is gone gets %q", got)
	}

	d.cmd.Process.Signal(syscall.SIGTERM)
	for e := range d.events {
		note(e)
	}
	d.wait(t)
	if text := logged.String() + d.stderr.String(); strings.Contains(text, "token-") || strings.Contains(text, "wrong") || !strings.Contains(text, "unauthorized") {
		t.Errorf("the log has a token in it, or not what became of it:\n%s", text)
	}
}

// TestTokenFlood: clients that guess tokens do not disturb the others.
func TestTokenFlood(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	writeTokens(t, tokens, "both")
	d := start(t, "DATA="+t.TempDir(), "TOKENS="+tokens)
	good, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	io.WriteString(good, `{"token":"token-both"}`+"\n")
	var flood sync.WaitGroup
	for guesser := range 8 {
		flood.Go(func() {
			for guess := range 250 {
				c, err := net.Dial("tcp", d.addr)
				if err != nil {
					t.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(20 * time.Second))
				fmt.Fprintf(c, `{"token":"guess-%d-%d"}`+"\n", guesser, guess)
				if b, err := bufio.NewReader(c).ReadString('\n'); err != nil || b != `{"error":"unauthorized"}`+"\n" {
					t.Errorf("a guess gets %q, %v", b, err)
				}
				c.Close()
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		flood.Wait()
		close(ended)
	}()
	n := 0
	for over := false; !over; {
		select {
		case <-ended:
			over = true
		default:
		}
		n++
		if got, want := line(t, good, fmt.Sprintf(`{"id":"x","entry":{"n":%d}}`, n)), fmt.Sprintf(`{"id":"x","index":%d}`, n); got != want {
			t.Fatalf("during the flood the reply is %s, want %s", got, want)
		}
	}
}

func TestExposed(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(t.TempDir(), "tokens")
	writeTokens(t, tokens, "both")
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(30*24*time.Hour))

	for name, settings := range map[string][]string{
		"all of IPv4":             {"HOST=0.0.0.0"},
		"all":                     {"HOST=::"},
		"TLS without certificate": {"HOST=0.0.0.0", "TLS_CERT=" + cert, "TLS_KEY=" + key},
	} {
		data := filepath.Join(t.TempDir(), "data")
		cmd := exec.Command(path)
		cmd.Env = append(append(os.Environ(), "PORT=0", "DATA="+data), settings...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		cmd.Run()
		text := stderr.String()
		if cmd.ProcessState.ExitCode() != cli.ExitUsage || strings.Count(text, "\n") != 1 ||
			!strings.Contains(text, "TLS_CLIENT_CA") || !strings.Contains(text, "TOKENS") || !strings.Contains(text, "INSECURE=1") {
			t.Errorf("%s: exit code is %d, error %q", name, cmd.ProcessState.ExitCode(), text)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%s: the data directory has been made all the same", name)
		}
	}
	for name, tt := range map[string]struct {
		settings []string
		warns    bool
	}{
		"localhost":                   {[]string{"HOST=localhost"}, false},
		"IPv6 loopback":               {[]string{"HOST=::1"}, false},
		"INSECURE":                    {[]string{"HOST=0.0.0.0", "INSECURE=1"}, true},
		"tokens in plain text":        {[]string{"HOST=0.0.0.0", "TOKENS=" + tokens}, true},
		"TLS and client certificates": {[]string{"HOST=0.0.0.0", "TLS_CERT=" + cert, "TLS_KEY=" + key, "TLS_CLIENT_CA=" + authority.Path}, false},
		"TLS and tokens":              {[]string{"HOST=0.0.0.0", "TLS_CERT=" + cert, "TLS_KEY=" + key, "TOKENS=" + tokens}, false},
	} {
		d := launch(t, append(tt.settings, "DATA="+t.TempDir())...)
		d.event(t, "listening")
		d.cmd.Process.Signal(syscall.SIGTERM)
		warned := false
		for e := range d.events {
			warned = warned || e["event"] == "insecure"
		}
		if warned != tt.warns {
			t.Errorf("%s: warned is %v, want %v", name, warned, tt.warns)
		}
	}
}
