package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// site is a log served over HTTP.
type site struct {
	*httptest.Server
	t   *testing.T
	log server.Log
	srv *server.Server
}

// serve serves a log over HTTP until the end of the test, over HTTP/2 if secure is set.
func serve(t *testing.T, log server.Log, config server.Config, secure bool) *site {
	t.Helper()
	srv := server.New(log, config)
	s := &site{httptest.NewUnstartedServer(New(Config{Server: srv, Log: log})), t, log, srv}
	if s.EnableHTTP2 = secure; secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		s.Close()
	})
	return s
}

// memory opens a log in memory.
func memory(t *testing.T) *engine.Log {
	t.Helper()
	log, err := engine.Open(engine.NewConfig(engine.Memory))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

const ndjson, jsonType = "application/x-ndjson", "application/json"

// post sends an append and returns the status, header and body of the answer.
func (s *site) post(query, contentType string, body io.Reader) (status int, header http.Header, answer string) {
	s.t.Helper()
	req, err := http.NewRequest("POST", s.URL+"/entries"+query, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("POST %s: %v after %q", query, err, text)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// failing is a log whose appends fail.
type failing struct {
	*engine.Log
	err error
}

func (f failing) Append(_ []byte, _ int, _ appends.Condition, done func(appends.Result, error)) {
	done(appends.Result{}, f.err)
}

// TestAppend: each kind of append and each of its errors, over HTTP/1.1 and HTTP/2.
func TestAppend(t *testing.T) {
	const limit = 1000
	for _, secure := range []bool{false, true} {
		for _, tt := range []struct {
			name, query, kind, body string
			status                  int
			want                    string // the beginning of the answer
		}{
			{"an entry", "", jsonType, "{\n  \"b\": 1,\n  \"a\": 2\n}\n", 201, `{"index":3}` + "\n"},
			{"with a charset", "", jsonType + "; charset=UTF-8", "[]", 201, `{"index":3}` + "\n"},
			{"lines", "", ndjson, "{}\n7\n[1]", 200, `{"index":3}` + "\n" + `{"error":"not stored: it is 7, want an object, an array or null"}` + "\n" + `{"index":4}` + "\n"},
			{"no lines", "", ndjson, "", 200, ""},
			{"a batch", "?batch", ndjson, "{}\n[1]\n", 201, `{"index":3,"count":2}` + "\n"},
			{"a batch on a condition", "?batch=true&if=2", ndjson, "{}\n[1]\n", 201, `{"index":3,"count":2}` + "\n"},
			{"a batch with a bad entry", "?batch", ndjson, "{}\n[1\n", 422, `{"error":"not stored: invalid JSON: `},
			{"a receipt", "?receipt", jsonType, "{}", 201, `{"index":3,"hash":"`},
			{"a condition that is met", "?if=2", jsonType, "{}", 201, `{"index":3}` + "\n"},
			{"a condition that is not met", "?if=99999999999999999999", jsonType, "{}", 409, `{"error":"not stored: the head is 2, not 9223372036854775807","head":2}` + "\n"},
			{"once, new", "?once", jsonType, "[3]", 201, `{"index":3}` + "\n"},
			{"once, there", "?once", jsonType, ` { "n" : 2 } `, 200, `{"index":2,"seen":true}` + "\n"},
			{"once false", "?once=false", jsonType, `{"n":2}`, 201, `{"index":3}` + "\n"},
			{"lines once", "?once", ndjson, "{\"n\":1}\n[3]\n", 200, `{"index":1,"seen":true}` + "\n" + `{"index":3}` + "\n"},
			{"not JSON", "", jsonType, `{"a" 1}`, 422, `{"error":"not stored: invalid JSON: found '1' at byte 5, want ':'"}` + "\n"},
			{"not acceptable", "", jsonType, `{"a":1,"a":2}`, 422, `{"error":"not stored: duplicate member \"a\" at byte 7 of the entry"}` + "\n"},
			{"two entries as one", "", jsonType, "{}\n{}", 422, `{"error":"not stored: invalid JSON: unexpected data after the value, at byte 3"}` + "\n"},
			{"nothing", "", jsonType, "", 422, `{"error":"not stored: the body is empty, want a JSON value"}` + "\n"},
			{"an empty batch", "?batch", ndjson, "", 422, `{"error":"not stored: the body is empty, want an entry a line"}` + "\n"},
			{"an entry over the limit", "", jsonType, `["` + strings.Repeat("x", limit) + `"]`, 413, `{"error":"not stored: the entry is 1004 bytes long, over the limit of 1000"}` + "\n"},
			{"a body over the limit", "", jsonType, `["` + strings.Repeat("x", 1<<20) + `"]`, 413, `{"error":"not stored: the body is 1048580 bytes long, over the limit of 66536"}` + "\n"},
			{"no type", "", "", "{}", 415, `{"error":"not stored: the Content-Type is \"\", want`},
			{"the type of a form", "", "application/x-www-form-urlencoded", "{}", 415, `{"error":"not stored: the Content-Type is \"application/x-www-form-urlencoded\", want`},
			{"plain text", "", "text/plain", "{}", 415, `{"error":"not stored: the Content-Type is`},
			{"another charset", "", jsonType + "; charset=latin1", "{}", 415, `{"error":"not stored: the Content-Type is`},
			{"no such parameter", "?onse", jsonType, "{}", 400, `{"error":"not stored: unknown parameter \"onse\", want batch, if, once, receipt"}`},
			{"a bad flag", "?once=1", jsonType, "{}", 400, `{"error":"not stored: \"once\" is \"1\", want true or false"}`},
			{"a bad head", "?if=-1", jsonType, "{}", 400, `{"error":"not stored: \"if\" is \"-1\", want a whole number from 0 on"}`},
			{"no head", "?if", jsonType, "{}", 400, `{"error":"not stored: \"if\" is \"\", want a whole number from 0 on"}`},
			{"twice", "?if=1&if=2", jsonType, "{}", 400, `{"error":"not stored: \"if\" occurs twice, want it once"}`},
			{"if and once", "?if=1&once", jsonType, "{}", 400, `{"error":"not stored: it has both \"if\" and \"once\", want one of them"}`},
			{"batch and once", "?batch&once", ndjson, "{}", 400, `{"error":"not stored: it has both \"batch\" and \"once\", want one of them"}`},
			{"a batch of one value", "?batch", jsonType, "{}", 400, `{"error":"not stored: \"batch\" needs the Content-Type application/x-ndjson, with an entry a line"}`},
			{"lines on a condition", "?if=2", ndjson, "{}", 400, `{"error":"not stored: \"if\" needs \"batch\" with lines`},
		} {
			t.Run(tt.name, func(t *testing.T) {
				log := memory(t)
				s := serve(t, log, server.Config{MaxEntry: limit}, secure)
				s.post("", ndjson, strings.NewReader("{\"n\":1}\n{\"n\":2}\n"))
				status, header, got := s.post(tt.query, tt.kind, strings.NewReader(tt.body))
				if status != tt.status || !strings.HasPrefix(got, tt.want) || strings.HasSuffix(tt.want, "\n") && got != tt.want {
					t.Errorf("got %d\n%swant %d\n%s", status, got, tt.status, tt.want)
				}
				want := ""
				if status < 300 && !strings.Contains(tt.name, "lines") {
					want = "/entries/3"
					if strings.Contains(got, "seen") {
						want = "/entries/2"
					}
				}
				if location := header.Get("Location"); location != want {
					t.Errorf("the location is %q, want %q", location, want)
				}
			})
		}
	}
}

// TestAppendOutcomes: the status says whether an append may be repeated.
func TestAppendOutcomes(t *testing.T) {
	for text, want := range map[string]int{"not stored: no space left on device": 503, "outcome unknown: input/output error": 500} {
		s := serve(t, failing{memory(t), fmt.Errorf("%s", text)}, server.Config{}, false)
		status, header, got := s.post("", jsonType, strings.NewReader("{}"))
		if status != want || got != `{"error":"`+text+`"}`+"\n" || (header.Get("Retry-After") != "") != (want == 503) {
			t.Errorf("%s: got %d, %v, %s", text, status, header, got)
		}
	}
}

// TestAppendStream: lines are answered while the body still arrives.
func TestAppendStream(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := serve(t, memory(t), server.Config{}, secure)
		from, to := io.Pipe()
		req, _ := http.NewRequest("POST", s.URL+"/entries", from)
		req.Header.Set("Content-Type", ndjson)
		go io.WriteString(to, "{\"n\":1}\n")
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		replies := bufio.NewReader(resp.Body)
		for n := 1; n <= 100; n++ {
			if n > 1 {
				fmt.Fprintf(to, "{\"n\":%d}\n", n)
			}
			if got, err := replies.ReadString('\n'); err != nil || got != fmt.Sprintf("{\"index\":%d}\n", n) {
				t.Fatalf("reply %d is %q, %v", n, got, err)
			}
		}
		to.Close()
		if rest, err := io.ReadAll(replies); err != nil || len(rest) > 0 {
			t.Errorf("the answer ends with %q, %v", rest, err)
		}
		resp.Body.Close()
	}
}

// TestBodyBreaksOff: if the body breaks off, a line without its end is not an entry, and a batch is
// not stored at all.
func TestBodyBreaksOff(t *testing.T) {
	for _, tt := range []struct {
		query, kind, body string
		want              uint64
	}{{"", ndjson, "[1]\n[2]\n[3]", 2}, {"?batch", ndjson, "[1]\n[2]\n[3]", 0}, {"", jsonType, "[1]", 0}} {
		log := memory(t)
		s := serve(t, log, server.Config{}, false)
		nc, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "POST /entries%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n%s", tt.query, tt.kind, tt.body)
		if tt.want > 0 { // otherwise nothing is answered
			poll(t, "the entries", func() bool { head, _ := log.Head(t.Context()); return head == tt.want })
		} else {
			poll(t, "the request", func() bool { return s.srv.Connections() == 1 })
		}
		nc.Close()
		poll(t, "the end of the request", func() bool { return s.srv.Connections() == 0 })
		if head, _ := log.Head(t.Context()); head != tt.want {
			t.Errorf("%s %s: the head is %d, want %d", tt.query, tt.kind, head, tt.want)
		}
	}
}

// poll waits until ok.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestAppendAtTheEnd: when the server shuts down, lines that have arrived are answered, and the
// client is told that the rest was not stored.
func TestAppendAtTheEnd(t *testing.T) {
	for _, secure := range []bool{false, true} {
		log := memory(t)
		s := serve(t, log, server.Config{}, secure)
		from, to := io.Pipe()
		req, _ := http.NewRequest("POST", s.URL+"/entries", from)
		req.Header.Set("Content-Type", ndjson)
		go io.WriteString(to, "[1]\n[2]\n[3")
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		replies := bufio.NewReader(resp.Body)
		for n := 1; n <= 2; n++ {
			if got, err := replies.ReadString('\n'); err != nil || got != fmt.Sprintf("{\"index\":%d}\n", n) {
				t.Fatalf("reply %d is %q, %v", n, got, err)
			}
		}
		if err := s.srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(replies); err != nil || string(rest) != `{"error":"not stored: the server is shutting down"}`+"\n" {
			t.Errorf("the answer ends with %q, %v", rest, err)
		}
		resp.Body.Close()
		to.Close()
		if status, _, got := s.post("", jsonType, strings.NewReader("{}")); status != 503 || got != `{"error":"not stored: server closed"}`+"\n" {
			t.Errorf("after it: %d %s", status, got)
		}
		if head, _ := log.Head(t.Context()); head != 2 {
			t.Errorf("the head is %d, want 2", head)
		}
	}
}

// TestHalfClosedBody: a client that closes its side within the body and keeps reading is not told
// that stored entries were not stored, nor that the answer is complete.
func TestHalfClosedBody(t *testing.T) {
	for _, tt := range []struct {
		query, kind, body string
		want              string // the beginning of the answer, if there is one
	}{
		{"", ndjson, strings.Repeat("[1]\n", 2000) + "[2", ""},
		{"?batch", ndjson, "[1]\n[2]\n", `{"error":"not stored: the body broke off: `},
		{"", jsonType, "[1]", `{"error":"not stored: the body broke off: `},
	} {
		log := memory(t)
		s := serve(t, log, server.Config{}, false)
		nc, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "POST /entries%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 1000000\r\n\r\n%s", tt.query, tt.kind, tt.body)
		nc.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if tt.want == "" && err != nil {
			continue // disconnected before there was a reply
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		head, _ := log.Head(t.Context())
		switch {
		case tt.want != "" && (resp.StatusCode != 400 || !strings.HasPrefix(string(text), tt.want) || head != 0):
			t.Errorf("%s %s: got %d %s with %d entries stored, want 400 and %s…", tt.query, tt.kind, resp.StatusCode, text, head, tt.want)
		case tt.want == "" && (err == nil || strings.Contains(string(text), "error")):
			t.Errorf("lines: %d entries are stored, and the answer is whole, %v, with %d replies and ends %.100q", head, err, strings.Count(string(text), "index"), text[max(0, len(text)-100):])
		}
	}
}

// TestAppendsAtTheEnd: at a shutdown under load, every stored line is answered with its index, and
// the line after them is answered as not stored.
func TestAppendsAtTheEnd(t *testing.T) {
	for round := range 20 {
		g := serveGuarded(t, server.Config{}, Config{}, false)
		nc := g.dial("POST /entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + ndjson + "\r\nTransfer-Encoding: chunked\r\n\r\n")
		lines := strings.Repeat("{\"n\":1}\n", 50)
		go func() {
			for {
				if _, err := fmt.Fprintf(nc, "%x\r\n%s\r\n", len(lines), lines); err != nil {
					return
				}
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		replies := bufio.NewReader(resp.Body)
		if _, err := replies.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- g.srv.Shutdown(context.Background()) }()
		rest, err := io.ReadAll(replies)
		nc.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		head, _ := g.log.Head(t.Context())
		stored := uint64(strings.Count(string(rest), `{"index":`)) + 1 + 2 // entries that were there before
		if err != nil || stored != head || !strings.HasSuffix(string(rest), `{"error":"not stored: the server is shutting down"}`+"\n") {
			t.Fatalf("round %d: %d of %d entries are acknowledged, and the answer ends with %v and %.200q", round, stored, head, err, rest[max(0, len(rest)-100):])
		}
	}
}
