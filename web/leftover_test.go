package web

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tcp-log-server/server"
)

// TestRestOfBody: the rest of a body after the answer is never taken for a request.
func TestRestOfBody(t *testing.T) {
	t.Parallel()
	const hidden = "POST /entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n[\"here\"]"
	rest := strings.Repeat(hidden, 5_000)
	chunk := func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }
	sized := func(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }
	for _, tt := range []struct {
		name, query, kind, tail string
		stored                  uint64 // at most
	}{
		{"an entry longer than any", "", jsonType, sized(rest), 0},
		{"a batch longer than any", "?batch", ndjson, sized(rest), 0},
		{"a long entry", "", jsonType, sized(rest[:60_000]), 0},
		{"a long entry in chunks", "", jsonType, "Transfer-Encoding: chunked\r\n\r\n" + chunk(rest[:60_000]) + hidden + hidden, 0},
		{"a long line", "", ndjson, sized("[1]\n" + rest + "}\n[2]\n"), 2},
		{"a body that ends in its midst", "", jsonType, "Content-Length: 100\r\n\r\n[1", 0},
		{"chunks that are none", "", jsonType, "Transfer-Encoding: chunked\r\n\r\n" + chunk("[1]") + hidden + hidden, 0},
		{"lines in chunks that are none", "", ndjson, "Transfer-Encoding: chunked\r\n\r\n" + chunk("[1]\n[2]\n") + hidden + hidden, 2},
		{"another type", "", "text/plain", sized(rest), 0},
		{"a parameter that there is not", "?form=1", jsonType, sized(rest), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answeredOnce(t, "POST /entries"+tt.query+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: "+tt.kind+"\r\n"+tt.tail, tt.stored)
		})
	}
	for _, begin := range []string{
		"GET /entries HTTP/1.1", "GET /entries/1 HTTP/1.1", "HEAD /head HTTP/1.1", "GET /stat HTTP/1.1", "GET / HTTP/1.1",
		"POST /session HTTP/1.1", "DELETE /session HTTP/1.1", "DELETE /entries HTTP/1.1", "POST /nothing HTTP/1.1",
		"POST /entries HTTP/1.1\r\nExpect: 100-continue\r\nContent-Type: " + jsonType,
		"POST /entries HTTP/1.1\r\nExpect: 100-continue\r\nContent-Type: " + ndjson,
		"POST /entries HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: " + jsonType,
		"POST /entries HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: " + ndjson,
	} {
		bodies := []string{sized(rest[:60_000]), sized(rest)}
		if strings.Contains(begin, "HTTP/1.1") { // older versions have no chunks
			bodies = append(bodies, "Transfer-Encoding: chunked\r\n\r\n"+chunk(rest[:60_000])+"0\r\nTrailer: x\r\n\r\n")
		}
		for _, body := range bodies {
			t.Run(fmt.Sprintf("%s, %.30q", begin, body), func(t *testing.T) {
				answeredOnce(t, begin+"\r\nHost: localhost\r\n"+body, 1) // its last line may be an entry
			})
		}
	}
}

// answeredOnce sends a request. At most stored lines of its body may be stored, and nothing may be
// taken for another request.
func answeredOnce(t *testing.T, request string, stored uint64) {
	t.Helper()
	t.Parallel()
	log := memory(t)
	s := serve(t, log, server.Config{MaxEntry: 1000}, false)
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go func() {
		io.WriteString(nc, request)
		nc.(*net.TCPConn).CloseWrite()
	}()
	nc.SetReadDeadline(time.Now().Add(patience))
	answers, err := io.ReadAll(nc)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Errorf("the connection stays open after %.300q", answers)
	}
	answers = bytes.TrimPrefix(answers, []byte("HTTP/1.1 100 Continue\r\n\r\n"))
	if n := strings.Count(string(answers), "HTTP/1."); n > 1 {
		t.Errorf("one request got %d answers: %.600q", n, answers)
	}
	if head, _ := log.Head(t.Context()); head > stored {
		t.Errorf("%d entries are stored, want at most %d", head, stored)
	}
}
