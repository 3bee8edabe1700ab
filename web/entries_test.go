package web

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"tcp-log-server/appends"
	"tcp-log-server/server"
)

// put appends entries to a log.
func put(t testing.TB, log server.Log, entries ...string) {
	t.Helper()
	done := make(chan error, 1)
	run := []byte(strings.Join(entries, "\n") + "\n")
	log.Append(run, len(entries), appends.Condition{}, func(_ appends.Result, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// get sends a request with these headers, "Name: value", and returns the response and its body.
func (s *site) get(method, path string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.URL+path, nil)
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
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("%s %s: %v after %q", method, path, err, text)
	}
	return resp, string(text)
}

// times matches the times and the hashes in an answer.
var times = regexp.MustCompile(`"(time|hash)":"[0-9a-fTZ:.-]+"`)

// where is the parameter with a filter.
func where(filter string) string { return "where=" + url.QueryEscape(filter) }

// TestEntries: each parameter of a read and each of its errors, over HTTP/1.1 and HTTP/2.
func TestEntries(t *testing.T) {
	const (
		one   = `{"index":1,"entry":{"n":1,"user":"ann"}}` + "\n"
		two   = `{"index":2,"entry":{"n":2,"user":"bob"}}` + "\n"
		three = `{"index":3,"entry":["x\ny"]}` + "\n"
		end   = `{"head":3}` + "\n"
	)
	for _, secure := range []bool{false, true} {
		log := memory(t)
		put(t, log, `{"n":1,"user":"ann"}`, `{"n":2,"user":"bob"}`, `["x\ny"]`)
		s := serve(t, log, server.Config{}, secure)
		for _, tt := range []struct {
			query  string
			status int
			want   string
		}{
			{"", 200, one + two + three + end},
			{"?from=2", 200, two + three + end},
			{"?from=0002", 200, two + three + end},
			{"?from=99999999999999999999999", 200, end},
			{"?from=4", 200, end},
			{"?from=9", 200, end},
			{"?last=1", 200, three + end},
			{"?last=9", 200, one + two + three + end},
			{"?since=2001-02-03T04:05:06Z", 200, one + two + three + end},
			{"?since=2001-02-03T04:05:06.7+08:00&read=1", 200, one + end},
			{"?since=9999-12-31T23:59:59Z", 200, end},
			{"?read=2", 200, one + two + end},
			{"?read=3", 200, one + two + three + end},
			{"?read=4", 200, one + two + three + end},
			{"?through=2", 200, one + two + end},
			{"?from=3&through=2", 200, end},
			{"?through=9", 200, one + two + three + end},
			{"?" + where(`{"user":"bob"}`), 200, two + end},
			{"?" + where("{\n \"n\" : 20e-1 \r\n}"), 200, two + end},
			{"?" + where(`{"user":"eve"}`), 200, end},
			{"?scan=2&" + where(`{"user":"ann"}`), 200, one + `{"head":3,"next":3}` + "\n"},
			{"?from=4&scan=2&" + where(`{"user":"ann"}`), 200, end},
			{"?time&hash&read=1", 200, `{"index":1,"time":"","hash":"","entry":{"n":1,"user":"ann"}}` + "\n" + end},
			{"?time=true&hash=false&read=1", 200, `{"index":1,"time":"","entry":{"n":1,"user":"ann"}}` + "\n" + end},
			{"?follow=false", 200, one + two + three + end},
			{"?follow&read=2", 200, one + two + end},
			{"?follow&through=3", 200, one + two + three + end},

			{"?from=0", 400, `{"error":"\"from\" is 0, want a whole number from 1 on"}` + "\n"},
			{"?from=", 400, `{"error":"\"from\" is \"\", want a whole number from 1 on"}` + "\n"},
			{"?from=-1", 400, `{"error":"\"from\" is \"-1\", want a whole number from 1 on"}` + "\n"},
			{"?read=1,%22from%22:2", 400, `{"error":"\"read\" is \"1,\\\"from\\\":2\", want a whole number from 1 on"}` + "\n"},
			{"?from=1&last=1", 400, `{"error":"it has both \"from\" and \"last\", want one of them"}` + "\n"},
			{"?from=1&from=2", 400, `{"error":"\"from\" occurs twice, want it once"}` + "\n"},
			{"?since=yesterday", 400, `{"error":"\"since\" is \"yesterday\", want a time such as \"2026-11-28T09:00:00Z\""}` + "\n"},
			{"?since=%0a{}", 400, `{"error":"\"since\" is \"\\n{}\", want a time such as \"2026-11-28T09:00:00Z\""}` + "\n"},
			{"?time=1", 400, `{"error":"\"time\" is \"1\", want true or false"}` + "\n"},
			{"?follow=yes", 400, `{"error":"\"follow\" is \"yes\", want true or false"}` + "\n"},
			{"?scan=5", 400, `{"error":"it has \"scan\" without \"where\", want both or \"read\""}` + "\n"},
			{"?where=", 400, `{"error":"\"where\" is not JSON: unexpected end of JSON input"}` + "\n"},
			{"?where=[]", 400, `{"error":"\"where\" is an array, want an object"}` + "\n"},
			{"?" + where(`{},"from":2`), 400, `{"error":"\"where\" is not JSON: invalid character ',' after top-level value"}` + "\n"},
			{"?" + where(`{"a":1,"a":2}`), 400, `{"error":"\"where\" has duplicate member \"a\", at byte 7"}` + "\n"},
			{"?form=1", 400, `{"error":"unknown parameter \"form\", want follow, from, hash, last, read, scan, since, through, time, where"}` + "\n"},
			{"?id=1", 400, `{"error":"unknown parameter \"id\", want follow, from, hash, last, read, scan, since, through, time, where"}` + "\n"},
			{"?a=%zz", 400, `{"error":"the parameters cannot be read: invalid URL escape \"%zz\""}` + "\n"},
		} {
			resp, got := s.get("GET", "/entries"+tt.query)
			got = times.ReplaceAllString(got, `"$1":""`)
			if resp.StatusCode != tt.status || got != tt.want {
				t.Errorf("HTTP/%d GET /entries%s: got %d and\n%swant %d and\n%s", resp.ProtoMajor, tt.query, resp.StatusCode, got, tt.status, tt.want)
			}
			kind := "application/x-ndjson"
			if tt.status != 200 {
				kind = "application/json"
			}
			if got := resp.Header.Get("Content-Type"); got != kind {
				t.Errorf("GET /entries%s: the type is %q, want %q", tt.query, got, kind)
			}
			head, body := s.get("HEAD", "/entries"+tt.query)
			if head.StatusCode != tt.status || body != "" || head.Header.Get("Content-Type") != kind {
				t.Errorf("HEAD /entries%s: got %d, %q and the type %q, want %d, nothing and %q", tt.query, head.StatusCode, body, head.Header.Get("Content-Type"), tt.status, kind)
			}
		}
	}
}

// TestEntriesInPieces: the last line is there and complete, wherever the server splits a long
// answer, and lines longer than a piece are passed on unchanged.
func TestEntriesInPieces(t *testing.T) {
	log := memory(t)
	s := serve(t, log, server.Config{}, false)
	var want strings.Builder
	index := 0
	for size := 131_000; size < 131_100; size++ {
		index++
		entry := `["` + strings.Repeat("x", size) + `"]`
		put(t, log, entry)
		line := fmt.Sprintf(`{"index":%d,"entry":%s}`+"\n", index, entry)
		want.WriteString(line)
		if _, got := s.get("GET", "/entries?last=1"); got != line+fmt.Sprintf(`{"head":%d}`+"\n", index) {
			t.Fatalf("an entry of %d bytes: the answer ends %q", len(entry), got[max(0, len(got)-50):])
		}
	}
	fmt.Fprintf(&want, `{"head":%d}`+"\n", index)
	if _, got := s.get("GET", "/entries"); got != want.String() {
		t.Errorf("got %d bytes that end %q, want %d", len(got), got[max(0, len(got)-50):], want.Len())
	}
	_, got := s.get("GET", "/entries?read=100&follow", "Accept: text/event-stream")
	for i, event := range strings.Split(strings.TrimSuffix(got, "\n\n"), "\n\n") {
		lines := strings.Split(event, "\n")
		if i == index {
			if event != fmt.Sprintf("event: head\ndata: {\"head\":%d}", index) {
				t.Errorf("the last event is %q", event)
			}
		} else if len(lines) != 2 || lines[0] != fmt.Sprintf("id: %d", i+1) || len(lines[1]) < 131_000 || !strings.HasPrefix(lines[1], fmt.Sprintf(`data: {"index":%d,"entry":["xx`, i+1)) || !strings.HasSuffix(lines[1], `xx"]}`) {
			t.Fatalf("event %d has %d lines, the first %q", i+1, len(lines), lines[0])
		}
	}
}
