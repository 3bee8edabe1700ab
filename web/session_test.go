package web

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tcp-log-server/server"
)

// logIn exchanges a token for a cookie.
func (g *guarded) logIn(token string, headers ...string) *http.Cookie {
	g.t.Helper()
	resp, got := g.ask("POST", "/session", fmt.Sprintf(`{"token":%q}`, token), append(headers, jsonHeader)...)
	if resp.StatusCode != 204 || got != "" || len(resp.Cookies()) != 1 {
		g.t.Fatalf("logging in as %s: got %d %s and the cookies %v", token, resp.StatusCode, got, resp.Cookies())
	}
	return resp.Cookies()[0]
}

// cookie returns the header with a cookie.
func cookie(c *http.Cookie) string { return "Cookie: " + c.Name + "=" + c.Value }

// TestSession: a token is exchanged for a cookie that no script and no other site gets, and that
// has the token's rights until the page logs out.
func TestSession(t *testing.T) {
	g := serveGuarded(t, server.Config{}, Config{}, true)
	const out = `{"access":"token","rights":{"read":false,"write":false}}` + "\n"
	if _, got := g.ask("GET", "/session", ""); got != out {
		t.Errorf("before: got %s, want %s", got, out)
	}
	c := g.logIn("read")
	_, port, _ := strings.Cut(g.addr, ":")
	if c.Name != "log-session-"+port || len(c.Value) != 43 || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.Secure || c.MaxAge != 0 {
		t.Errorf("the cookie is %v", c)
	}
	const in = `{"access":"token","rights":{"read":true,"write":false},"name":"holder-of-read"}` + "\n"
	if _, got := g.ask("GET", "/session", "", cookie(c)); got != in {
		t.Errorf("logged in: got %s, want %s", got, in)
	}
	for _, tt := range []struct {
		method, path string
		want         int
	}{{"GET", "/entries", 200}, {"GET", "/head", 200}, {"GET", "/stat", 200}, {"POST", "/entries", 403}} {
		if resp, got := g.ask(tt.method, tt.path, "", cookie(c), jsonHeader); resp.StatusCode != tt.want {
			t.Errorf("%s %s: got %d %s, want %d", tt.method, tt.path, resp.StatusCode, got, tt.want)
		}
	}
	if resp, _ := g.ask("GET", "/head", "", cookie(c), "Authorization: Bearer guess"); resp.StatusCode != 401 {
		t.Errorf("with a cookie and a wrong token: got %d, want 401", resp.StatusCode)
	}
	other := g.logIn("both", cookie(c)) // which ends the first
	if resp, _ := g.ask("GET", "/head", "", cookie(c)); other.Value == c.Value || resp.StatusCode != 401 {
		t.Errorf("after another login: got %d, want 401", resp.StatusCode)
	}
	if resp, got := g.ask("POST", "/entries", "{}", cookie(other), jsonHeader); resp.StatusCode != 201 {
		t.Errorf("an append: got %d %s", resp.StatusCode, got)
	}
	resp, _ := g.ask("DELETE", "/session", "", cookie(other))
	if gone := resp.Cookies(); resp.StatusCode != 204 || len(gone) != 1 || gone[0].MaxAge >= 0 {
		t.Errorf("logging out: got %d and %v", resp.StatusCode, gone)
	}
	if resp, _ := g.ask("GET", "/head", "", cookie(other)); resp.StatusCode != 401 {
		t.Errorf("after logging out: got %d, want 401", resp.StatusCode)
	}
	for _, tt := range []struct {
		body, kind string
		want       int
	}{
		{`{"token":"guess"}`, jsonType, 401},
		{`{"token":""}`, jsonType, 401},
		{`{}`, jsonType, 400},
		{`{"token":7}`, jsonType, 400},
		{`token=read`, jsonType, 400},
		{`{"token":"read"}`, "text/plain", 415},
		{`{"token":"` + strings.Repeat("x", 5000) + `"}`, jsonType, 413},
	} {
		resp, got := g.ask("POST", "/session", tt.body, "Content-Type: "+tt.kind)
		if resp.StatusCode != tt.want || len(resp.Cookies()) > 0 || !strings.HasPrefix(got, `{"error":"`) || strings.Contains(got, "guess") {
			t.Errorf("%.30s as %s: got %d %s, want %d", tt.body, tt.kind, resp.StatusCode, got, tt.want)
		}
	}
	open := serveGuarded(t, server.Config{}, Config{}, false)
	const all = `{"access":"open","rights":{"read":true,"write":true}}` + "\n"
	if _, got := open.ask("GET", "/session", ""); got != all {
		t.Errorf("without tokens: got %s, want %s", got, all)
	}
	if resp, _ := open.ask("POST", "/session", `{"token":"read"}`, jsonHeader); resp.StatusCode != 400 {
		t.Errorf("logging in without tokens: got %d, want 400", resp.StatusCode)
	}
}

// TestSessionRevoked: a session ends with its token, and so does a stream in progress.
func TestSessionRevoked(t *testing.T) {
	g := serveGuarded(t, server.Config{}, Config{}, true)
	c, stays := g.logIn("read"), g.logIn("both")
	var streams []*bufio.Scanner
	for _, header := range []string{cookie(c), "Authorization: Bearer read"} {
		resp := g.do("GET", "/entries?follow", "", header)
		defer resp.Body.Close()
		stream := bufio.NewScanner(resp.Body)
		for range 3 { // two entries and the line that says they are current
			stream.Scan()
		}
		if stream.Text() != `{"current":true}` {
			t.Fatalf("the stream has %q, %v", stream.Text(), stream.Err())
		}
		streams = append(streams, stream)
	}
	g.tokens.revoke("read")
	g.srv.Reauthorize()
	g.handler.Reauthorize()
	for _, stream := range streams {
		for stream.Scan() {
			if !strings.HasPrefix(stream.Text(), `{"error"`) {
				t.Errorf("after it the stream has %s", stream.Text())
			}
		}
		if stream.Err() == nil {
			t.Error("the stream ends as if it were whole")
		}
	}
	if resp, _ := g.ask("GET", "/head", "", cookie(c)); resp.StatusCode != 401 {
		t.Errorf("the session: got %d, want 401", resp.StatusCode)
	}
	if resp, _ := g.ask("GET", "/head", "", cookie(stays)); resp.StatusCode != 200 {
		t.Errorf("the session of another token: got %d, want 200", resp.StatusCode)
	}
	g.tokens.revoke("")
	if resp, _ := g.ask("GET", "/head", "", cookie(c)); resp.StatusCode != 401 {
		t.Errorf("the session, once its token is back: got %d, want 401", resp.StatusCode)
	}
}

// TestReadyReason: the reason why the server is not ready is shown to clients that may read and
// address it by its name.
func TestReadyReason(t *testing.T) {
	refusing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "sync failed: /srv/log/1.seg", http.StatusServiceUnavailable)
	})
	for _, restricted := range []bool{false, true} {
		g := serveGuarded(t, server.Config{}, Config{Metrics: refusing}, restricted)
		for _, tt := range []struct {
			header, want string
		}{
			{"Authorization: Bearer read", "sync failed: /srv/log/1.seg\n"},
			{"Authorization: Bearer write", map[bool]string{true: "not ready\n", false: "sync failed: /srv/log/1.seg\n"}[restricted]},
			{"X: y", map[bool]string{true: "not ready\n", false: "sync failed: /srv/log/1.seg\n"}[restricted]},
			{"Host: other.example", "not ready\n"},
		} {
			if resp, got := g.ask("GET", "/readyz", "", tt.header); resp.StatusCode != 503 || got != tt.want {
				t.Errorf("restricted: %v, %s: got %d %q, want 503 %q", restricted, tt.header, resp.StatusCode, got, tt.want)
			}
		}
	}
}

// TestSessionsAreBounded: one session too many ends the least recently used one.
func TestSessionsAreBounded(t *testing.T) {
	var s sessions
	first, second := s.open([32]byte{1}), s.open([32]byte{2})
	for range maxSessions - 2 {
		s.open([32]byte{3})
	}
	s.token(first)
	s.open([32]byte{4})
	if token, ok := s.token(first); !ok || token != [32]byte{1} {
		t.Error("a session that was just used is gone")
	}
	if _, ok := s.token(second); ok {
		t.Error("the session that was not used for longest is there")
	}
	if len(s.byID) != maxSessions || s.used.Len() != maxSessions {
		t.Errorf("there are %d and %d sessions, want %d", len(s.byID), s.used.Len(), maxSessions)
	}
}
