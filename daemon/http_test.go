package daemon

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/engine"
	"tcp-log-server/internal/access/accesstest"
)

// events collects a daemon's log.
type events struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (e *events) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.Write(b)
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.String()
}

// runHTTP is run with HTTP, with the page at url.
func runHTTP(t *testing.T, config Config) (d *running, url string, log *events) {
	t.Helper()
	log = &events{}
	config.Port, config.Logger = 0, zerolog.New(log)
	if config.HTTP == "" {
		config.HTTP = "127.0.0.1:0"
	}
	d = run(t, config)
	for deadline := time.Now().Add(20 * time.Second); url == ""; time.Sleep(time.Millisecond) {
		if _, after, ok := strings.Cut(log.String(), "page: "); ok {
			url, _, _ = strings.Cut(after, `"`)
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is no page in the log:\n%s", log)
		}
	}
	return d, url, log
}

// fetch returns an answer and its body.
func fetch(t *testing.T, client *http.Client, url string) (resp *http.Response, body string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// over returns an HTTP client without connections.
func over(t *testing.T, config *tls.Config) *http.Client {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// TestHTTP: the log over HTTP beside TCP, on the host of HOST, with metrics and health if they have no
// address of their own.
func TestHTTP(t *testing.T) {
	for _, metrics := range []string{"", "127.0.0.1:0"} {
		config := NewConfig(engine.Memory)
		config.HTTP, config.Metrics, config.HTTPNames = ":0", metrics, []string{"log.example"}
		d, url, _ := runHTTP(t, config)
		if !strings.HasPrefix(url, "http://localhost:") {
			t.Errorf("the page is at %s", url)
		}
		client := over(t, nil)
		resp, err := client.Post(url+"entries", "application/json", strings.NewReader(`{"a":1}`))
		if err != nil || resp.StatusCode != 201 {
			t.Fatalf("an append: %v, %v", resp, err)
		}
		resp.Body.Close()
		if resp, got := fetch(t, client, url+"entries/1"); resp.StatusCode != 200 || got != `{"a":1}` {
			t.Errorf("the entry: %d %s", resp.StatusCode, got)
		}
		want := map[bool]int{true: 200, false: 404}[metrics == ""]
		for _, path := range []string{"metrics", "healthz", "readyz"} {
			if resp, got := fetch(t, client, url+path); resp.StatusCode != want || path == "metrics" && want == 200 && !strings.Contains(got, "tcp_log_server_ready 1") {
				t.Errorf("METRICS=%s, /%s: got %d %s, want %d", metrics, path, resp.StatusCode, got, want)
			}
		}
		if _, got := fetch(t, client, url+"stat"); !strings.Contains(got, `"http":":0"`) || !strings.Contains(got, `"http-names":"log.example"`) {
			t.Errorf("stat is %s", got)
		}
		if err := d.stop(); err != nil {
			t.Error(err)
		}
		if _, err := client.Get(url); err == nil {
			t.Error("after the end the page is there")
		}
	}
}

// TestHTTPSettings: an unusable HTTP setting is refused by name before anything is made, and so is an
// address that others can reach, unless clients must authenticate.
func TestHTTPSettings(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for says, change := range map[string]func(c *Config){
		`http is "8090", want host:port`:               func(c *Config) { c.HTTP = "8090" },
		`http is "localhost:x", want host:port`:        func(c *Config) { c.HTTP = "localhost:x" },
		`http is "localhost:", want host:port`:         func(c *Config) { c.HTTP = "localhost:" },
		`http-names needs http`:                        func(c *Config) { c.HTTPNames = []string{"a"} },
		`http-origins needs http`:                      func(c *Config) { c.HTTPOrigins = []string{"https://a"} },
		`http-names: "a:1" is not the name of a host`:  func(c *Config) { c.HTTP, c.HTTPNames = ":0", []string{"a:1"} },
		`http-names: "" is not the name of a host`:     func(c *Config) { c.HTTP, c.HTTPNames = ":0", []string{"a", ""} },
		`http-names: "*" is not the name of a host`:    func(c *Config) { c.HTTP, c.HTTPNames = ":0", []string{"*"} },
		`http-origins: "*" is not the origin of a`:     func(c *Config) { c.HTTP, c.HTTPOrigins = ":0", []string{"*"} },
		`http-origins: "null" is not the origin of a`:  func(c *Config) { c.HTTP, c.HTTPOrigins = ":0", []string{"null"} },
		`http-origins: "https://a/" is not the origin`: func(c *Config) { c.HTTP, c.HTTPOrigins = ":0", []string{"https://a/"} },
		`anyone who can reach 0.0.0.0 could read and write the log: set TLS_CERT, TLS_KEY and TLS_CLIENT_CA to require certificates, or TOKENS to require tokens, or HTTP=127.0.0.1:8090; or INSECURE=1`: func(c *Config) { c.HTTP = "0.0.0.0:8090" },
		`anyone who can reach :: could`: func(c *Config) { c.HTTP = "[::]:8090" },
		`http: listen tcp ` + taken.Addr().String() + `: bind: address already in use: stop the server that is running there, or set HTTP to another port`: func(c *Config) { c.HTTP = taken.Addr().String() },
	} {
		config := NewConfig(filepath.Join(t.TempDir(), "data"))
		config.Port = 0
		change(&config)
		if err := Run(t.Context(), config); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("Run returns %v, want an error that begins with %q", err, says)
		}
		if _, err := os.Stat(config.Data); err == nil {
			t.Errorf("%s: there is a log", says)
		}
	}
	config := NewConfig(engine.Memory)
	config.HTTP, config.Insecure = "0.0.0.0:0", true
	_, url, log := runHTTP(t, config)
	if !strings.HasPrefix(url, "http://localhost:") || !strings.Contains(log.String(), `"event":"insecure"`) {
		t.Errorf("the page is at %s, and the log says\n%s", url, log)
	}
}

// TestHTTPOverTLS: HTTP uses the certificates of TCP, also after a reload, speaks HTTP/2, and admits
// clients by certificate and by token.
func TestHTTPOverTLS(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	later := time.Now().Add(time.Hour)
	config := NewConfig(engine.Memory)
	config.TLSCert, config.TLSKey = authority.Issue(t, "server", later)
	config.TLSClientCA = authority.Path
	cert, key := authority.Issue(t, "ann", later)
	stranger := authority.Client(t, "", "")

	d, url, _ := runHTTP(t, config)
	if _, err := over(t, stranger).Get(url); err == nil {
		t.Error("a client without a certificate gets an answer")
	}
	resp, got := fetch(t, over(t, authority.Client(t, cert, key)), url+"session")
	if want := `{"access":"certificate","rights":{"read":true,"write":true},"name":"ann"}` + "\n"; got != want || resp.ProtoMajor != 2 {
		t.Errorf("over HTTP/%d: got %s, want %s", resp.ProtoMajor, got, want)
	}
	nc, err := net.Dial("tcp", strings.TrimSuffix(strings.Replace(url, "https://localhost", "127.0.0.1", 1), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if text, _ := io.ReadAll(nc); !strings.HasPrefix(string(text), "HTTP/1.0 400 Bad Request\r\n") {
		t.Errorf("clear text gets %q", text)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}

	config.Tokens = filepath.Join(t.TempDir(), "tokens")
	const line = "bob 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 read\n" // of "test"
	if err := os.WriteFile(config.Tokens, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	reload := make(chan struct{})
	config.Reload = reload
	_, url, log := runHTTP(t, config)
	client := over(t, stranger)
	if resp, _ := fetch(t, client, url+"head"); resp.StatusCode != 401 {
		t.Errorf("without a token: got %d, want 401", resp.StatusCode)
	}
	resp, err = client.Post(url+"session", "application/json", strings.NewReader(`{"token":"test"}`))
	if err != nil || resp.StatusCode != 204 {
		t.Fatalf("logging in: got %v, %v", resp, err)
	}
	resp.Body.Close()
	c := resp.Cookies()[0]
	if !c.Secure || !strings.HasPrefix(c.Name, "__Host-") {
		t.Errorf("the cookie is %v", c)
	}
	req, _ := http.NewRequest("GET", url+"head", nil)
	req.AddCookie(c)
	ask := func() int {
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := ask(); got != 200 {
		t.Errorf("with the session: got %d, want 200", got)
	}
	if _, got := fetch(t, over(t, authority.Client(t, cert, key)), url+"session"); !strings.Contains(got, `"access":"certificate"`) {
		t.Errorf("with a certificate beside tokens: got %s", got)
	}

	// The session ends with the token's line, and new connections get the new certificate.
	other := accesstest.NewAuthority(t)
	other.IssueTo(t, "server", later, config.TLSCert, config.TLSKey)
	os.WriteFile(config.Tokens, []byte(strings.Replace(line, "9f86", "0000", 1)), 0o600)
	reload <- struct{}{}
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), `"event":"reloaded"`); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was reloaded")
		}
	}
	if got := ask(); got != 401 {
		t.Errorf("with the session after its token: got %d, want 401", got)
	}
	if resp, _ := fetch(t, over(t, other.Client(t, "", "")), url+"session"); resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Errorf("with the new certificate: got %d over HTTP/%d", resp.StatusCode, resp.ProtoMajor)
	}
	if _, err := over(t, stranger).Get(url); err == nil {
		t.Error("the old certificate is still shown")
	}
}

// TestHTTPAtTheEnd: a stop answers the append under way, ends the stream, and waits neither for idle
// connections nor for bodies that do not arrive.
func TestHTTPAtTheEnd(t *testing.T) {
	d, url, _ := runHTTP(t, NewConfig(engine.Memory))
	addr := strings.TrimSuffix(strings.Replace(url, "http://localhost", "127.0.0.1", 1), "/")
	dial := func(text string) net.Conn {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, text)
		return nc
	}
	dial("")
	dial("GET / HTTP/1.1\r\n")
	stream := bufio.NewReader(dial("GET /entries?follow HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	post := bufio.NewReader(dial("POST /entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{}\n[1]\r\n"))
	until := func(r *bufio.Reader, want string) {
		t.Helper()
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.HasPrefix(line, want) {
				return
			}
		}
	}
	until(stream, `{"index":1,`)
	until(post, `{"index":1}`)
	began := time.Now()
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > shutdownTime-time.Second {
		t.Errorf("the end took %v, and cuts off what waits after %v", took, shutdownTime)
	}
	until(post, fmt.Sprintf("{%q:%q}", "error", "not stored: the server is shutting down"))
	if _, err := io.ReadAll(stream); err != nil {
		t.Errorf("the stream ends with %v", err)
	}
}
