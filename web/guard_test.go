package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/server"
)

// tokens are the tokens of a guarded site. Their texts are their rights.
type tokens struct {
	mu      sync.Mutex
	revoked string
}

func (k *tokens) rights(hash [32]byte) (string, server.Rights) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for text, rights := range map[string]server.Rights{"read": {Read: true}, "write": {Write: true}, "both": {Read: true, Write: true}} {
		if hash == sha256.Sum256([]byte(text)) && k.revoked != text {
			return "holder-of-" + text, rights
		}
	}
	return "", server.Rights{}
}

func (k *tokens) revoke(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.revoked = text
}

// guarded is a log served over HTTP with all guards, and over TCP.
type guarded struct {
	t       *testing.T
	log     server.Log
	handler *Handler
	srv     *server.Server
	http    *http.Server
	addr    string // of HTTP
	tcp     string // of the protocol
	tokens  *tokens
	browser http.Client
}

// serveGuarded serves a log with two entries in memory. Clients need tokens if restricted is set.
func serveGuarded(t *testing.T, config server.Config, web Config, restricted bool) *guarded {
	t.Helper()
	g := &guarded{t: t, tokens: &tokens{}}
	if restricted {
		config.Tokens, web.Tokens = g.tokens.rights, g.tokens.rights
	}
	log := memory(t)
	g.log = log
	put(t, log, `{"n":1}`, `{"n":2}`)
	web.Server, web.Log = server.New(log, config), log
	handler := New(web)
	g.srv, g.handler, g.http = web.Server, handler, handler.NewServer(nil)
	var lns [2]net.Listener
	for i := range lns {
		var err error
		if lns[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	g.addr, g.tcp = lns[0].Addr().String(), lns[1].Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := handler.Serve(g.http, lns[0]); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returns %v", err)
		}
	})
	serving.Go(func() { g.srv.Serve(lns[1]) })
	transport := &http.Transport{}
	g.browser = http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := g.srv.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown of the server: %v", err)
		}
		if err := g.http.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown of HTTP: %v", err)
		}
		transport.CloseIdleConnections()
		serving.Wait()
		if n := g.srv.Connections(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return g
}

// do sends a request with these headers, "Name: value", and returns the response.
func (g *guarded) do(method, path, body string, headers ...string) *http.Response {
	g.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, "http://"+g.addr+path, content)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	resp, err := g.browser.Do(req)
	if err != nil {
		g.t.Fatalf("%s %s %q: %v", method, path, headers, err)
	}
	return resp
}

// ask is do, and also reads the body of the response.
func (g *guarded) ask(method, path, body string, headers ...string) (*http.Response, string) {
	g.t.Helper()
	resp := g.do(method, path, body, headers...)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Errorf("%s %s: %v after %q", method, path, err, text)
	}
	return resp, string(text)
}

const jsonHeader = "Content-Type: application/json"

// TestHost: a request must address the server by a known name, or a page that points its own name
// at it (DNS rebinding) could read the log. Probes need none.
func TestHost(t *testing.T) {
	g := serveGuarded(t, server.Config{}, Config{Names: []string{"Log.example", "192.0.2.7", "2001:db8::7"}, Metrics: http.NotFoundHandler()}, false)
	_, port, _ := net.SplitHostPort(g.addr)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:1": 200, "localhost.": 200, "localhost:" + port: 200,
		"127.0.0.1": 200, "127.0.0.1:80": 200, "[::1]": 200, "[::1]:8090": 200,
		"log.example": 200, "LOG.example.:443": 200, "192.0.2.7:8090": 200, "[2001:DB8::7]:1": 200,
		"evil.example": 421, "evil.example:" + port: 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
		"log.example.evil": 421, "x.log.example": 421, "192.0.2.8": 421, "127.0.0.2": 421, "[::2]": 421, "0.0.0.0": 421, "2130706433": 421,
	} {
		resp, got := g.ask("GET", "/head", "", "Host: "+host)
		if resp.StatusCode != want {
			t.Errorf("as %s: got %d %s, want %d", host, resp.StatusCode, got, want)
		}
		if want == 421 && (!strings.Contains(got, "HTTP_NAMES") || resp.Header.Get("Content-Type") != "application/json") {
			t.Errorf("as %s: the error is %s, want JSON that names HTTP_NAMES", host, got)
		}
		if resp, _ := g.ask("POST", "/entries", "{}", "Host: "+host, jsonHeader); (resp.StatusCode == 421) != (want == 421) {
			t.Errorf("an append as %s: got %d", host, resp.StatusCode)
		}
		if resp, _ := g.ask("GET", "/healthz", "", "Host: "+host); resp.StatusCode == 421 {
			t.Errorf("a probe as %s: got 421", host)
		}
	}
}

// TestOtherSites: no page of another site may change anything or read an answer, unless its origin
// is listed.
func TestOtherSites(t *testing.T) {
	const friend, evil = "https://app.example", "https://evil.example"
	g := serveGuarded(t, server.Config{}, Config{Origins: []string{friend}}, false)
	head := func() string { _, got := g.ask("GET", "/head", ""); return got }
	for _, tt := range []struct {
		name    string
		want    int
		headers []string
	}{
		{"no browser", 201, nil},
		{"its own page", 201, []string{"Origin: http://" + g.addr, "Sec-Fetch-Site: same-origin"}},
		{"its own page, in an old browser", 201, []string{"Origin: http://" + g.addr}},
		{"a listed site", 201, []string{"Origin: " + friend, "Sec-Fetch-Site: cross-site"}},
		{"another site", 403, []string{"Origin: " + evil, "Sec-Fetch-Site: cross-site"}},
		{"another site, in an old browser", 403, []string{"Origin: " + evil}},
		{"another site without an origin", 403, []string{"Sec-Fetch-Site: cross-site"}},
		{"another port", 403, []string{"Origin: http://127.0.0.1:1", "Sec-Fetch-Site: same-site"}},
		{"a sandbox", 403, []string{"Origin: null"}},
		{"a site that begins like a listed one", 403, []string{"Origin: " + friend + ".evil.example"}},
	} {
		before := head()
		for path, method := range map[string]string{"/entries": "POST", "/session": "POST", "/session?": "DELETE"} {
			resp, got := g.ask(method, path, "{}", append(tt.headers, jsonHeader)...)
			if refused := resp.StatusCode == 403; refused != (tt.want == 403) || path == "/entries" && resp.StatusCode != tt.want {
				t.Errorf("%s, %s %s: got %d %s, want %d", tt.name, method, path, resp.StatusCode, got, tt.want)
			}
		}
		if stored := head() != before; stored != (tt.want == 201) {
			t.Errorf("%s: stored is %v", tt.name, stored)
		}
		resp, _ := g.ask("GET", "/entries", "", tt.headers...)
		allowed := resp.Header.Get("Access-Control-Allow-Origin")
		if listed := strings.HasPrefix(tt.name, "a listed"); listed != (allowed == friend) || !listed && allowed != "" || resp.Header.Get("Vary") != "Origin" {
			t.Errorf("%s: it may read as %q, and the answer varies by %q", tt.name, allowed, resp.Header.Get("Vary"))
		}
		if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: cookies are allowed", tt.name)
		}
	}
	// Content types that a form can send without a preflight: none is JSON.
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		if resp, _ := g.ask("POST", "/entries", "{}", "Content-Type: "+kind); resp.StatusCode != 415 {
			t.Errorf("an append of type %q: got %d, want 415", kind, resp.StatusCode)
		}
	}
	for origin, want := range map[string]int{friend: 204, evil: 405} {
		resp, _ := g.ask("OPTIONS", "/entries", "", "Origin: "+origin, "Sec-Fetch-Site: cross-site", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
		allowed := resp.Header.Get("Access-Control-Allow-Origin") + resp.Header.Get("Access-Control-Allow-Methods") + resp.Header.Get("Access-Control-Allow-Headers")
		if resp.StatusCode != want || (allowed != "") != (want == 204) {
			t.Errorf("a preflight of %s: got %d and %q, want %d", origin, resp.StatusCode, allowed, want)
		}
	}
	plain := serveGuarded(t, server.Config{}, Config{}, false)
	for name := range plain.do("GET", "/head", "", "Origin: "+friend).Header {
		if strings.HasPrefix(name, "Access-Control") || name == "Vary" {
			t.Errorf("without HTTP_ORIGINS an answer has %s", name)
		}
	}
}

// TestEveryAnswer: every answer has the headers that keep a browser safe, and every error is JSON.
func TestEveryAnswer(t *testing.T) {
	g := serveGuarded(t, server.Config{}, Config{Metrics: http.NotFoundHandler()}, true)
	const token = "Authorization: Bearer both"
	for _, tt := range []struct {
		method, path string
		want         int
		cache        string
		headers      []string
	}{
		{"GET", "/", 200, "no-cache", nil},
		{"HEAD", "/", 200, "no-cache", nil},
		{"GET", "/json.js", 200, "no-cache", nil},
		{"GET", "/head", 200, "no-store", []string{token}},
		{"GET", "/entries", 200, "no-store", []string{token}},
		{"GET", "/entries/1", 200, "private, max-age=31536000, immutable", []string{token}},
		{"GET", "/entries/9", 404, "no-store", []string{token}},
		{"GET", "/stat", 200, "no-store", []string{token}},
		{"GET", "/histogram", 200, "no-store", []string{token}},
		{"GET", "/session", 200, "no-store", nil},
		{"GET", "/head", 401, "no-store", nil},
		{"GET", "/nothing", 404, "no-store", nil},
		{"GET", "/index.html", 404, "no-store", nil},
		{"GET", "/page/", 404, "no-store", nil},
		{"POST", "/nothing", 404, "no-store", nil},
		{"PUT", "/entries", 405, "no-store", []string{token}},
		{"POST", "/", 405, "no-store", nil},
		{"DELETE", "/entries/1", 405, "no-store", []string{token}},
		{"OPTIONS", "/entries", 405, "no-store", nil},
		{"GET", "/head", 421, "no-store", []string{"Host: evil.example"}},
		{"POST", "/entries", 403, "no-store", []string{"Origin: https://evil.example", token}},
	} {
		resp, body := g.ask(tt.method, tt.path, "", tt.headers...)
		h := resp.Header
		if resp.StatusCode != tt.want || h.Get("Cache-Control") != tt.cache {
			t.Errorf("%s %s: got %d with Cache-Control %q, want %d with %q", tt.method, tt.path, resp.StatusCode, h.Get("Cache-Control"), tt.want, tt.cache)
		}
		if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" ||
			h.Get("Cross-Origin-Resource-Policy") != "same-origin" || h.Get("Cross-Origin-Opener-Policy") != "same-origin" {
			t.Errorf("%s %s: headers are missing: %v", tt.method, tt.path, h)
		}
		if tt.want >= 400 && (h.Get("Content-Type") != "application/json" || !strings.HasPrefix(body, `{"error":"`)) {
			t.Errorf("%s %s: the error is %s", tt.method, tt.path, body)
		}
		if (tt.want == 405) != (h.Get("Allow") != "") || (tt.want == 401) != (h.Get("WWW-Authenticate") == "Bearer") {
			t.Errorf("%s %s: the headers are %v", tt.method, tt.path, h)
		}
	}
	page := g.do("GET", "/", "")
	if resp, body := g.ask("GET", "/", "", "If-None-Match: "+page.Header.Get("ETag")); resp.StatusCode != 304 || body != "" {
		t.Errorf("the page that is known: got %d and %q, want 304", resp.StatusCode, body)
	}
}

// TestRights: what each token may ask for.
func TestRights(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
	g := serveGuarded(t, server.Config{}, Config{Metrics: metrics}, true)
	for _, tt := range []struct {
		method, path                     string
		none, unknown, read, write, both int
	}{
		{"GET", "/entries", 401, 401, 200, 403, 200},
		{"GET", "/entries?follow&read=1", 401, 401, 200, 403, 200},
		{"GET", "/entries/1", 401, 401, 200, 403, 200},
		{"GET", "/head", 401, 401, 200, 403, 200},
		{"GET", "/histogram", 401, 401, 200, 403, 200},
		{"GET", "/stat", 401, 401, 200, 200, 200}, // a token with only the right to write sees little of it
		{"GET", "/metrics", 401, 401, 200, 403, 200},
		{"POST", "/entries", 401, 401, 403, 201, 201},
		{"GET", "/session", 200, 200, 200, 200, 200},
		{"GET", "/", 200, 200, 200, 200, 200},
		{"GET", "/healthz", 200, 200, 200, 200, 200},
		{"GET", "/readyz", 200, 200, 200, 200, 200},
	} {
		for token, want := range map[string]int{"": tt.none, "guess": tt.unknown, "read": tt.read, "write": tt.write, "both": tt.both} {
			headers := []string{jsonHeader}
			if token != "" {
				headers = append(headers, "Authorization: Bearer "+token)
			}
			body := ""
			if tt.method == "POST" {
				body = "{}"
			}
			before := g.srv.Stats().Errors.Unauthorized
			resp, got := g.ask(tt.method, tt.path, body, headers...)
			if resp.StatusCode != want || want == 403 && !strings.Contains(got, "this token may not "+map[string]string{"read": "write", "write": "read"}[token]) {
				t.Errorf("%s %s with the token %q: got %d %s, want %d", tt.method, tt.path, token, resp.StatusCode, got, want)
			}
			if counted := g.srv.Stats().Errors.Unauthorized - before; want != 403 && (counted == 1) != (want == 401) {
				t.Errorf("%s %s with the token %q: %d clients were turned away", tt.method, tt.path, token, counted)
			}
			if guess := token == "guess" && want == 401; resp.Close != guess {
				t.Errorf("%s %s with the token %q: the connection closes is %v, want a connection for each guess", tt.method, tt.path, token, resp.Close)
			}
		}
	}
	for _, header := range []string{"Basic " + "cmVhZA==", "Bearer", "Bearer ", "bearer\tread", "read"} {
		if resp, _ := g.ask("GET", "/head", "", "Authorization: "+header); resp.StatusCode != 401 {
			t.Errorf("with Authorization: %s: got %d, want 401", header, resp.StatusCode)
		}
	}
}
