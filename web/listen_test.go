package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tcp-log-server/server"
)

// dial connects to HTTP and sends text.
func (g *guarded) dial(text string) net.Conn {
	g.t.Helper()
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(nc, text)
	return nc
}

// TestSilentSockets: sockets without a request, or without an admitted one, do not keep out clients
// with a token, over HTTP or TCP; and those clients are not disconnected.
func TestSilentSockets(t *testing.T) {
	const places = 20
	g := serveGuarded(t, server.Config{MaxConnections: places}, Config{}, true)
	stream := g.dial("GET /entries?follow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer read\r\n\r\n")
	lines := bufio.NewScanner(stream)
	for lines.Scan() && lines.Text() != `{"current":true}` {
	}
	var silent []net.Conn
	for n := range 3 * places {
		silent = append(silent, g.dial([]string{
			"", "GET /head HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"GET /head HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		}[n%5]))
	}
	if _, err := io.Copy(io.Discard, silent[0]); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the oldest silent socket ends with %v", err)
	}
	for n := range 5 {
		g.browser.CloseIdleConnections()
		if resp, got := g.ask("POST", "/entries", "{}", jsonHeader, "Authorization: Bearer both"); resp.StatusCode != 201 {
			t.Fatalf("append %d over HTTP: got %d %s", n, resp.StatusCode, got)
		}
		nc, err := net.Dial("tcp", g.tcp)
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(nc, "{\"token\":\"both\"}\n{\"id\":\"%d\",\"entry\":[%d]}\n", n, n)
		if reply, err := bufio.NewReader(nc).ReadString('\n'); err != nil || !strings.Contains(reply, `"index"`) {
			t.Fatalf("append %d over TCP: got %q, %v", n, reply, err)
		}
		nc.Close()
		for range places {
			g.dial("")
		}
	}
	for n := range 10 {
		if !lines.Scan() {
			t.Fatalf("the stream has ended before entry %d: %v", n, lines.Err())
		}
	}
	if n := g.srv.Connections(); n > places {
		t.Errorf("%d connections are open, want %d at most", n, places)
	}
}

// TestNoPlace: when admitted clients take every place, the next client is told so, and there is
// room again when one leaves.
func TestNoPlace(t *testing.T) {
	g := serveGuarded(t, server.Config{MaxConnections: 4}, Config{}, false)
	var streams []net.Conn
	for range 2 { // each a socket and a conversation
		nc := g.dial("GET /entries?follow HTTP/1.1\r\nHost: localhost\r\n\r\n")
		for lines := bufio.NewScanner(nc); lines.Scan() && lines.Text() != `{"current":true}`; {
		}
		streams = append(streams, nc)
	}
	refused := g.dial("")
	resp, err := http.ReadResponse(bufio.NewReader(refused), nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(resp.Body); resp.StatusCode != 503 || string(text) != `{"error":"too many connections"}`+"\n" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %q, %v", resp.StatusCode, text, err)
	}
	// Some clients read only after they have sent everything.
	for _, part := range []string{"POST /entries HTTP/1.1\r\n", "Host: localhost\r\n\r\n", "{}"} {
		if _, err := io.WriteString(refused, part); err != nil {
			t.Errorf("the answer is lost to a client that sends: %v", err)
		}
	}
	streams[0].Close()
	poll(t, "the end of a stream", func() bool { return g.srv.Connections() == 2 })
	if resp, got := g.ask("GET", "/entries", ""); resp.StatusCode != 200 {
		t.Errorf("after one has left: got %d %s", resp.StatusCode, got)
	}
}

// TestHeaderLimits: a header of more than 8 KiB is refused, and the server does not wait for one
// that does not arrive.
func TestHeaderLimits(t *testing.T) {
	g := serveGuarded(t, server.Config{}, Config{}, false)
	for size, want := range map[int]int{6 << 10: 200, 64 << 10: 431, 1 << 20: 431} {
		nc := g.dial("")
		go fmt.Fprintf(nc, "GET /head HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", size))
		if resp, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || resp.StatusCode != want {
			t.Errorf("a header of %d bytes: got %v, %v, want %d", size, resp, err, want)
		}
	}
	if s := g.http; s.ReadHeaderTimeout != 10*time.Second || s.IdleTimeout != time.Minute || s.HTTP2.MaxConcurrentStreams != 100 {
		t.Errorf("the limits are %v for a header, %v between requests and %d streams", s.ReadHeaderTimeout, s.IdleTimeout, s.HTTP2.MaxConcurrentStreams)
	}
}

// TestSlowHeader: a header that arrives one byte at a time has no more time than one that does not
// arrive.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	g := serveGuarded(t, server.Config{}, Config{}, false)
	began := time.Now()
	nc := g.dial("GET /head HTTP/1.1\r\nHost: localhost\r\nX: ")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, nc)
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			io.WriteString(nc, "x")
			continue
		case <-ended:
		}
		break
	}
	if took := time.Since(began); took < headerTime || took > headerTime+5*time.Second {
		t.Errorf("the connection was closed after %v, want %v", took, headerTime)
	}
}

// TestUnwantedBody: an unwanted body that does not arrive holds nothing for long.
func TestUnwantedBody(t *testing.T) {
	t.Parallel()
	g := serveGuarded(t, server.Config{}, Config{}, true)
	for _, request := range []string{"POST /entries", "GET /head", "POST /nothing"} {
		nc := g.dial(request + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
		began := time.Now()
		if text, err := io.ReadAll(nc); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 4") {
			t.Errorf("%s: got %.30q, %v", request, text, err)
		}
		if took := time.Since(began); took > 3*leftoverTime {
			t.Errorf("%s: the connection was closed after %v", request, took)
		}
	}
}
