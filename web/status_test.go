package web

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"tcp-log-server/server"
)

// TestEntry: an entry is answered with its bytes and its hash, or the answer says that the client
// has it already, that it does not exist, or that it is damaged.
func TestEntry(t *testing.T) {
	long := `["` + strings.Repeat("long", 100_000) + `"]`
	for _, secure := range []bool{false, true} {
		log := memory(t)
		put(t, log, `{"n":1}`, `{"n":2}`, long, `["entry",",\"entry\":"]`)
		for size := range 300 { // around the end of a piece that the server writes
			put(t, log, `["`+strings.Repeat("x", 130_750+size)+`"]`)
		}
		s := serve(t, &damaged{log, 2}, server.Config{}, secure)
		for index, entry := range map[int]string{1: `{"n":1}`, 3: long, 4: `["entry",",\"entry\":"]`} {
			path := fmt.Sprintf("/entries/%d", index)
			sum := blake3.Sum256([]byte(entry))
			tag := `"` + hex.EncodeToString(sum[:]) + `"`
			resp, got := s.get("GET", path)
			h := resp.Header
			if got != entry || resp.StatusCode != 200 {
				t.Errorf("GET %s: got %d and %.100s", path, resp.StatusCode, got)
			}
			if h.Get("Content-Type") != "application/json" || h.Get("ETag") != tag || h.Get("X-Log-Index") != fmt.Sprint(index) || h.Get("Cache-Control") != "private, max-age=31536000, immutable" {
				t.Errorf("GET %s: the header is %v", path, h)
			}
			stored := h.Get("Last-Modified")
			if at, err := http.ParseTime(stored); err != nil || time.Since(at) > time.Minute {
				t.Errorf("GET %s: Last-Modified is %q", path, stored)
			}
			if resp, got := s.get("HEAD", path); resp.StatusCode != 200 || got != "" || resp.Header.Get("ETag") != tag {
				t.Errorf("HEAD %s: got %d, %q and the tag %s", path, resp.StatusCode, got, resp.Header.Get("ETag"))
			}
			for header, status := range map[string]int{
				"If-None-Match: " + tag:                            304,
				"If-None-Match: \"x\", W/" + tag:                   304,
				"If-None-Match: *":                                 304,
				"If-None-Match: \"x\"":                             200,
				"If-Modified-Since: " + stored:                     304,
				"If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT": 200,
				"If-Modified-Since: today":                         200,
			} {
				resp, got := s.get("GET", path, header)
				if want := map[int]string{200: entry, 304: ""}[status]; resp.StatusCode != status || got != want || resp.Header.Get("ETag") != tag {
					t.Errorf("GET %s with %s: got %d, %.100q and the tag %s, want %d", path, header, resp.StatusCode, got, resp.Header.Get("ETag"), status)
				}
			}
		}
		for path, want := range map[string]string{
			"/entries/2":                   `410 {"index":2,"error":"it is damaged"}`,
			"/entries/305":                 `404 {"error":"there is no entry 305: it is beyond the head"}`,
			"/entries/9223372036854775807": `404 {"error":"there is no entry 9223372036854775807: it is beyond the head"}`,
			"/entries/9223372036854775808": `400 {"error":"the index is \"9223372036854775808\", want a whole number from 1 on"}`,
			"/entries/0":                   `400 {"error":"the index is \"0\", want a whole number from 1 on"}`,
			"/entries/x":                   `400 {"error":"the index is \"x\", want a whole number from 1 on"}`,
			"/entries/1?time":              `400 {"error":"unknown parameter \"time\", want none"}`,
		} {
			if resp, got := s.get("GET", path); fmt.Sprint(resp.StatusCode, " ", got) != want+"\n" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("GET %s: got %d and %s with %v, want %s", path, resp.StatusCode, got, resp.Header, want)
			}
		}
		for index := 5; index <= 304; index++ {
			if resp, got := s.get("GET", fmt.Sprintf("/entries/%d", index)); len(got) != 130_750+index-5+4 || !strings.HasSuffix(got, `x"]`) || resp.StatusCode != 200 {
				t.Fatalf("entry %d: got %d and %d bytes", index, resp.StatusCode, len(got))
			}
		}
	}
}

// TestStatus: the head and the status are the same as in the protocol.
func TestStatus(t *testing.T) {
	log := memory(t)
	put(t, log, `{"n":1}`)
	big := strings.Repeat("x", 300_000)
	for _, stat := range []func() any{nil, func() any { return map[string]string{"version": "5"} }, func() any { return map[string]string{"version": big} }} {
		s := serve(t, log, server.Config{Stat: stat}, false)
		want := any(map[string]any{"head": 1, "features": s.srv.Capabilities().Features, "max_entry": 16 << 20, "max_batch": 16 << 20})
		if stat != nil {
			want = stat()
		}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		resp, got := s.get("GET", "/stat")
		var is, should any
		if json.Unmarshal([]byte(got), &is) != nil || json.Unmarshal(text, &should) != nil || !reflect.DeepEqual(is, should) || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("GET /stat: got %d and %.300s, want %.300s", resp.StatusCode, got, text)
		}
		if _, got := s.get("GET", "/head"); got != `{"head":1}`+"\n" {
			t.Errorf("GET /head: got %s", got)
		}
		for _, path := range []string{"/head?x", "/stat?x"} {
			if resp, got := s.get("GET", path); resp.StatusCode != 400 || got != `{"error":"unknown parameter \"x\", want none"}`+"\n" {
				t.Errorf("GET %s: got %d and %s", path, resp.StatusCode, got)
			}
		}
		for _, path := range []string{"/head", "/stat", "/histogram"} {
			if resp, got := s.get("HEAD", path); resp.StatusCode != 200 || got != "" {
				t.Errorf("HEAD %s: got %d and %s", path, resp.StatusCode, got)
			}
		}
	}
}

// clocked is a log whose entries were stored at given times, in s since 1970 UTC. 0 means unknown.
type clocked struct {
	server.Log
	times []int64
}

func (c *clocked) Head(context.Context) (uint64, error) { return uint64(len(c.times)), nil }

func (c *clocked) Read(_ context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error {
	for ; from <= through; from++ {
		if err := fn(from, 1, []byte("[]\n"), c.times[from-1]*1e6, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *clocked) Since(_ context.Context, time int64) (uint64, error) {
	for i, at := range c.times {
		if at*1e6 >= time {
			return uint64(i) + 1, nil
		}
	}
	return uint64(len(c.times)) + 1, nil
}

// TestHistogram: the buckets count the entries stored in their time.
func TestHistogram(t *testing.T) {
	at := func(seconds string) string { return "1970-01-01T00:00:" + seconds }
	for _, tt := range []struct {
		times  []int64
		query  string
		status int
		want   string
	}{
		{nil, "", 200, `{"since":null,"until":null,"head":0,"first":1,"counts":[]}`},
		{nil, "since=" + at("01Z") + "&buckets=2", 200, `{"since":"` + at("01.000000Z") + `","until":"` + at("01.000001Z") + `","head":0,"first":1,"counts":[0,0]}`},
		{nil, "until=" + at("01Z") + "&buckets=2", 200, `{"since":"` + at("00.999999Z") + `","until":"` + at("01.000000Z") + `","head":0,"first":1,"counts":[0,0]}`},
		{[]int64{5}, "buckets=1", 200, `{"since":"` + at("05.000000Z") + `","until":"` + at("05.000001Z") + `","head":1,"first":1,"counts":[1]}`},
		{[]int64{1, 2, 2, 3, 7}, "buckets=3", 200, `{"since":"` + at("01.000000Z") + `","until":"` + at("07.000001Z") + `","head":5,"first":1,"counts":[3,1,1]}`},
		{[]int64{1, 2, 2, 3, 7}, "buckets=3&since=" + at("02Z") + "&until=" + at("05Z"), 200, `{"since":"` + at("02.000000Z") + `","until":"` + at("05.000000Z") + `","head":5,"first":2,"counts":[2,1,0]}`},
		{[]int64{1, 2, 2, 3, 7}, "buckets=3&since=1970-01-01T01:00:02.0000001%2b01:00&until=" + at("05.000001Z"), 200, `{"since":"` + at("02.000001Z") + `","until":"` + at("05.000001Z") + `","head":5,"first":4,"counts":[1,0,0]}`},
		{[]int64{1, 2, 2, 3, 7}, "buckets=2&since=" + at("40Z"), 200, `{"since":"` + at("40.000000Z") + `","until":"` + at("40.000001Z") + `","head":5,"first":6,"counts":[0,0]}`},
		{[]int64{1, 2, 2, 3, 7}, "buckets=2&since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z", 200, `{"since":"0001-01-01T00:00:00.000000Z","until":"9999-12-31T23:59:59.000000Z","head":5,"first":1,"counts":[5,0]}`},
		{[]int64{1, 5, 2, 3, 7}, "buckets=7&until=" + at("08Z"), 200, `{"since":"` + at("01.000000Z") + `","until":"` + at("08.000000Z") + `","head":5,"first":1,"counts":[1,0,0,0,3,0,1]}`},
		{[]int64{0, 4, 0}, "buckets=1&until=" + at("05Z"), 200, `{"since":"` + at("04.000000Z") + `","until":"` + at("05.000000Z") + `","head":3,"first":2,"counts":[2]}`},
		{[]int64{0, 0}, "", 500, `{"error":"the log cannot be read"}`},
		{[]int64{0, 0}, "buckets=1&since=" + at("01Z") + "&until=" + at("02Z"), 200, `{"since":"` + at("01.000000Z") + `","until":"` + at("02.000000Z") + `","head":2,"first":3,"counts":[0]}`},
		{nil, "since=" + at("01Z") + "&until=" + at("01Z"), 400, `{"error":"\"since\" is not before \"until\""}`},
		{nil, "since=now", 400, `{"error":"\"since\" is \"now\", want a time such as \"2026-11-28T09:00:00Z\""}`},
		{nil, "buckets=0", 400, `{"error":"\"buckets\" is \"0\", want a whole number from 1 to 1000"}`},
		{nil, "buckets=1001", 400, `{"error":"\"buckets\" is \"1001\", want a whole number from 1 to 1000"}`},
		{nil, "bucket=1", 400, `{"error":"unknown parameter \"bucket\", want buckets, since, until"}`},
	} {
		s := serve(t, &clocked{memory(t), tt.times}, server.Config{}, false)
		if resp, got := s.get("GET", "/histogram?"+tt.query); got != tt.want+"\n" || resp.StatusCode != tt.status {
			t.Errorf("%v %s: got %d and\n%swant %d and\n%s", tt.times, tt.query, resp.StatusCode, got, tt.status, tt.want)
		}
	}
}

// failed is an unreadable log.
type failed struct{ server.Log }

func (failed) Head(context.Context) (uint64, error) { return 0, errors.New("/secret/place is gone") }

// TestFailedLog: an error of the log is a server error that reveals no paths.
func TestFailedLog(t *testing.T) {
	s := serve(t, failed{memory(t)}, server.Config{}, false)
	for _, path := range []string{"/entries", "/entries/1", "/head", "/histogram", "/stat"} {
		if resp, got := s.get("GET", path); resp.StatusCode != 500 || got != `{"error":"the log cannot be read"}`+"\n" {
			t.Errorf("GET %s: got %d and %s", path, resp.StatusCode, got)
		}
	}
}

// TestHistogramOfLog: the counts are right for the log, whatever the number of buckets.
func TestHistogramOfLog(t *testing.T) {
	log := memory(t)
	for n := range 200 {
		put(t, log, fmt.Sprintf(`{"n":%d}`, n))
	}
	s := serve(t, log, server.Config{}, false)
	for _, buckets := range []int{1, 7, 1000} {
		var g struct {
			Since, Until string
			Head, First  int
			Counts       []int
		}
		_, got := s.get("GET", fmt.Sprintf("/histogram?buckets=%d", buckets))
		if err := json.Unmarshal([]byte(got), &g); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, n := range g.Counts {
			sum += n
		}
		if sum != 200 || g.First != 1 || g.Head != 200 || len(g.Counts) != buckets {
			t.Errorf("%d buckets: got %s", buckets, got)
		}
		if _, got := s.get("GET", "/entries?read=1&since="+url.QueryEscape(g.Since)); !strings.HasPrefix(got, `{"index":1,`) {
			t.Errorf("the first entry since %s: %s", g.Since, got)
		}
	}
}
