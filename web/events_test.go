package web

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/server"
)

// patience is how long a test waits for something that must happen.
const patience = 30 * time.Second

// serving matches the stack of a goroutine that serves a request or a conversation.
var serving = regexp.MustCompile(`tcp-log-server/(web\.\(\*(Handler|talk)|server\.\(\*(conn|writer|reader))`)

// wantIdle waits until no goroutine serves a request or a conversation.
func (s *site) wantIdle() {
	s.t.Helper()
	buf := make([]byte, 4<<20)
	poll(s.t, "the end of all goroutines of requests", func() bool {
		return !serving.Match(buf[:runtime.Stack(buf, true)]) && s.srv.Connections() == 0
	})
}

// stream is an answer in progress.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	r    *bufio.Reader
}

// follow begins a request that follows, with these headers.
func (s *site) follow(path string, headers ...string) *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		s.t.Fatalf("GET %s: got %s", path, resp.Status)
	}
	return &stream{s.t, resp.Body, bufio.NewReader(resp.Body)}
}

// want receives exactly these texts.
func (s *stream) want(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		got := make([]byte, len(text))
		n, err := io.ReadFull(s.r, got)
		if string(got[:n]) != text {
			s.t.Fatalf("got %q and %v, want %q", got[:n], err, text)
		}
	}
}

// wantBreak receives this text and then an end that shows that the answer is incomplete.
func (s *stream) wantBreak(text string) {
	s.t.Helper()
	if got, err := io.ReadAll(s.r); string(got) != text || err == nil {
		s.t.Fatalf("got %q and %v, want %q and an error", got, err, text)
	}
}

const sse = "Accept: text/event-stream"

// event returns the event of the entry {"n":N} at index N.
func event(n int) string {
	return fmt.Sprintf("id: %d\ndata: {\"index\":%d,\"entry\":{\"n\":%d}}\n\n", n, n, n)
}

const currentEvent = "event: current\ndata: {\"current\":true}\n\n"

// TestFollow: a follower gets the existing entries, that it is current, and new entries, as lines
// and as events, and continues after those it has had.
func TestFollow(t *testing.T) {
	for _, secure := range []bool{false, true} {
		log := memory(t)
		put(t, log, `{"n":1}`, `{"n":2}`)
		s := serve(t, log, server.Config{}, secure)
		lines := s.follow("/entries?follow")
		events := s.follow("/entries?from=2", "Accept: text/html, text/event-stream;q=0.5")
		fresh := s.follow("/entries?since=9999-12-31T23:59:59Z", sse)
		bounded := s.follow("/entries?through=3&follow", sse)
		lines.want(`{"index":1,"entry":{"n":1}}`+"\n", `{"index":2,"entry":{"n":2}}`+"\n", `{"current":true}`+"\n")
		events.want(event(2), currentEvent)
		fresh.want(currentEvent)
		bounded.want(event(1), event(2), currentEvent)
		put(t, log, `{"n":3}`)
		lines.want(`{"index":3,"entry":{"n":3}}` + "\n")
		events.want(event(3))
		fresh.want(event(3))
		bounded.want(event(3), "event: head\ndata: {\"head\":3}\n\n")
		if rest, err := io.ReadAll(bounded.r); len(rest) > 0 || err != nil {
			t.Errorf("after the end: %q and %v", rest, err)
		}
		// A source that reconnects misses nothing and gets nothing twice.
		events.body.Close()
		put(t, log, `{"n":4}`)
		again := s.follow("/entries?last=1&time=false", sse, "Last-Event-ID: 3")
		again.want(event(4), currentEvent)
		put(t, log, `{"n":5}`)
		again.want(event(5))
		lines.body.Close()
		fresh.body.Close()
		again.body.Close()
		s.wantIdle()

		if resp, got := s.get("GET", "/entries", sse, "Last-Event-ID: x"); resp.StatusCode != 400 || got != `{"error":"Last-Event-ID is \"x\", want the index of an entry"}`+"\n" {
			t.Errorf("with a bad Last-Event-ID: got %d and %s", resp.StatusCode, got)
		}
		if resp, _ := s.get("HEAD", "/entries", sse); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("HEAD: got %d and %q", resp.StatusCode, resp.Header.Get("Content-Type"))
		}
		if resp, got := s.get("GET", "/entries?from=0", sse); resp.StatusCode != 400 {
			t.Errorf("events from 0: got %d and %s", resp.StatusCode, got)
		}
		s.wantIdle()
	}
}

// TestEventsOfOtherLines: damaged entries and the progress of a filter are named events.
func TestEventsOfOtherLines(t *testing.T) {
	log := memory(t)
	put(t, log, `{"n":1}`, `{"n":2}`, `{"n":3}`)
	s := serve(t, &damaged{log, 2}, server.Config{}, false)
	s.follow("/entries", sse).want(event(1), "id: 2\nevent: damaged\ndata: {\"index\":2,\"error\":\"it is damaged\"}\n\n", event(3), currentEvent)
	s.follow("/entries?"+where(`{"n":1}`), sse).want(event(1), "id: 2\nevent: damaged\n", "data: {\"index\":2,\"error\":\"it is damaged\"}\n\n", currentEvent, "event: at\ndata: {\"at\":3}\n\n")
	s.follow("/entries?scan=1&"+where(`{"n":1}`), sse).want(event(1), "event: head\ndata: {\"head\":3,\"next\":2}\n\n")
}

// damaged is a log with an unreadable entry.
type damaged struct {
	server.Log
	index uint64
}

func (d *damaged) Read(ctx context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error {
	if from > d.index || d.index > through {
		return d.Log.Read(ctx, from, through, fn)
	}
	if from < d.index {
		if err := d.Log.Read(ctx, from, d.index-1, fn); err != nil {
			return err
		}
	}
	if err := fn(d.index, 1, nil, 0, fmt.Errorf("it is damaged")); err != nil || d.index == through {
		return err
	}
	return d.Log.Read(ctx, d.index+1, through, fn)
}

// TestComments: an idle source gets comments between events, and stays connected however long that
// lasts.
func TestComments(t *testing.T) {
	defer func(d time.Duration) { idleTime = d }(idleTime)
	idleTime = 5 * time.Millisecond
	for _, secure := range []bool{false, true} {
		log := memory(t)
		const timeout = 500 * time.Millisecond
		s := serve(t, log, server.Config{WriteTimeout: timeout}, secure)
		events := s.follow("/entries", sse)
		events.want(currentEvent)
		began := time.Now()
		for n := 1; n < 50 || time.Since(began) < timeout*3/2; n++ {
			events.want(":\n\n")
			put(t, log, fmt.Sprintf(`{"n":%d}`, n))
			for {
				line, err := events.r.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if line == ":\n" {
					events.want("\n")
					continue
				}
				if got := line + event(n)[len(line):]; got != event(n) {
					t.Fatalf("got the line %q, want that of %q", line, event(n))
				}
				events.want(event(n)[len(line):])
				break
			}
		}
		events.body.Close()
		s.wantIdle()
	}
}

// TestFollowerIsCut: a follower is disconnected, and told why, when its token is revoked and when
// the server stops. The answer does not look complete.
func TestFollowerIsCut(t *testing.T) {
	for _, secure := range []bool{false, true} {
		log := memory(t)
		var revoked atomic.Bool
		s := serve(t, log, server.Config{Tokens: func([32]byte) (string, server.Rights) {
			return "reader", server.Rights{Read: !revoked.Load()}
		}}, secure)
		h := New(Config{Server: s.srv, Log: log})
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hash := sha256.Sum256([]byte("secret"))
			a := &reply{w: w, control: http.NewResponseController(w)}
			if accepts(r, "text/event-stream") {
				a.split.to = &eventStream{reply: a}
			} else {
				a.split.to = &lineStream{reply: a, follows: true}
			}
			h.converse(newQuestion(w, r, "{\"from\":1}\n", true, a.write), a, server.Conversation{Token: &hash, Name: "reader"})
		})
		lines, events := s.follow("/"), s.follow("/", sse)
		lines.want(`{"current":true}` + "\n")
		events.want(currentEvent)
		revoked.Store(true)
		s.srv.Reauthorize()
		lines.wantBreak("")
		events.wantBreak("event: error\ndata: {\"error\":\"unauthorized\"}\n\n")
		if resp, got := s.get("GET", "/"); resp.StatusCode != 401 || got != `{"error":"unauthorized"}`+"\n" {
			t.Errorf("with a token that was revoked: got %d and %s", resp.StatusCode, got)
		}
		revoked.Store(false)
		lines, events = s.follow("/"), s.follow("/", sse)
		lines.want(`{"current":true}` + "\n")
		events.want(currentEvent)
		if err := s.srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		lines.wantBreak("")
		events.wantBreak("event: error\ndata: {\"error\":\"the server is shutting down\"}\n\n")
		if resp, got := s.get("GET", "/"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || got != `{"error":"the server is shutting down"}`+"\n" {
			t.Errorf("after Shutdown: got %d, Retry-After %q and %s", resp.StatusCode, resp.Header.Get("Retry-After"), got)
		}
		s.wantIdle()
	}
}

// TestSlowReaderIsCut: a client that reads nothing is disconnected after WriteTimeout, and nothing
// of it remains.
func TestSlowReaderIsCut(t *testing.T) {
	log := memory(t)
	for range 32 {
		put(t, log, `["`+strings.Repeat("x", 1<<20)+`"]`)
	}
	put(t, log, `["`+strings.Repeat("x", 15<<20)+`"]`)
	for _, secure := range []bool{false, true} {
		for _, path := range []string{"/entries", "/entries?follow", "/entries/33"} {
			s := serve(t, log, server.Config{WriteTimeout: 300 * time.Millisecond}, secure)
			if secure {
				resp, err := s.Client().Get(s.URL + path) // whose flow-control window fills up
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
			} else {
				for range 8 {
					nc, err := net.Dial("tcp", s.Listener.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					defer nc.Close()
					nc.(*net.TCPConn).SetReadBuffer(4 << 10)
					fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
				}
			}
			poll(t, "the requests to arrive", func() bool { return s.srv.Stats().Accepted > 0 })
			s.wantIdle()
		}
	}
}

// TestManyIdleSources: a waiting source takes little memory.
func TestManyIdleSources(t *testing.T) {
	const sources, bound = 1000, 96 << 10
	log := memory(t)
	s := serve(t, log, server.Config{}, false)
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := used()
	var all []net.Conn
	for range sources {
		nc, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(2 * patience))
		all = append(all, nc)
		fmt.Fprintf(nc, "GET /entries HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", sse)
	}
	want := func(text string) {
		t.Helper()
		for _, nc := range all {
			var got []byte
			for buf := make([]byte, 1<<10); !strings.Contains(string(got), text); {
				n, err := nc.Read(buf)
				if got = append(got, buf[:n]...); err != nil {
					t.Fatalf("got %q and %v, want %q", got, err, text)
				}
			}
		}
	}
	want(currentEvent)
	put(t, log, `{"n":1}`)
	want(event(1))
	each := (used() - before) / sources
	t.Logf("%d bytes for each of %d sources", each, sources)
	if each > bound {
		t.Errorf("a source takes %d bytes, want %d at most", each, bound)
	}
}

// TestTooManyRequests: a request over MAX_CONNECTIONS is told to retry later.
func TestTooManyRequests(t *testing.T) {
	log := memory(t)
	s := serve(t, log, server.Config{MaxConnections: 1}, false)
	lines := s.follow("/entries?follow")
	for _, path := range []string{"/entries", "/entries/1", "/stat"} {
		if resp, got := s.get("GET", path); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || got != `{"error":"too many connections"}`+"\n" {
			t.Errorf("GET %s: got %d, Retry-After %q and %s", path, resp.StatusCode, resp.Header.Get("Retry-After"), got)
		}
	}
	lines.body.Close()
	s.wantIdle()
	if resp, got := s.get("GET", "/entries"); resp.StatusCode != 200 {
		t.Errorf("once there is room: got %d and %s", resp.StatusCode, got)
	}
}

// breaking is a log whose reads break off after an entry.
type breaking struct {
	server.Log
	err error
}

func (b breaking) Read(ctx context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error {
	if err := b.Log.Read(ctx, from, from, fn); err != nil {
		return err
	}
	return b.err
}

// TestBreakOff: an answer that cannot be completed does not look complete.
func TestBreakOff(t *testing.T) {
	for _, secure := range []bool{false, true} {
		log := memory(t)
		put(t, log, `["`+strings.Repeat("x", 200_000)+`"]`, `{"n":2}`)
		s := serve(t, breaking{log, errors.New("/secret/place is gone")}, server.Config{}, secure)
		first := `{"index":1,"entry":["` + strings.Repeat("x", 200_000) + `"]}` + "\n"
		s.follow("/entries").wantBreak(first)
		s.follow("/entries", sse).wantBreak("id: 1\ndata: " + first + "\nevent: error\ndata: {\"error\":\"the log cannot be read\"}\n\n")
		if resp, got := s.get("GET", "/entries?from=2"); resp.StatusCode != 500 || got != `{"error":"the log cannot be read"}`+"\n" {
			t.Errorf("got %d and %s", resp.StatusCode, got)
		}
		s.wantIdle()
	}
}

// TestUnavailable: a client is told to retry for remote entries that cannot be read now.
func TestUnavailable(t *testing.T) {
	log := memory(t)
	put(t, log, `["`+strings.Repeat("x", 200_000)+`"]`, `{"n":2}`)
	const why = "not available now: the archive: no answer"
	s := serve(t, breaking{log, errors.New(why)}, server.Config{}, false)
	first := `{"index":1,"entry":["` + strings.Repeat("x", 200_000) + `"]}` + "\n"
	s.follow("/entries").wantBreak(first)
	s.follow("/entries", sse).wantBreak("id: 1\ndata: " + first + "\nevent: error\ndata: {\"error\":\"" + why + "\"}\n\n")
	if resp, got := s.get("GET", "/entries?from=2"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || got != `{"error":"`+why+`"}`+"\n" {
		t.Errorf("got %d and %s", resp.StatusCode, got)
	}
	s.wantIdle()
}
