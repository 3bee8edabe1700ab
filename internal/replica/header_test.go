package replica

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// line is a batch header as the server writes it: see appendBatch in package server.
const line = `{"batch":{"index":41,"count":2,"time":"2026-01-02T03:04:05.000006Z","size":57,"sum":"00c0ffee"}}` + "\n"

// TestParseHeader: the form that the server writes is parsed without encoding/json.
func TestParseHeader(t *testing.T) {
	got, ok := parseHeader([]byte(line))
	want := header{Index: 41, Count: 2, Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Size: 57, Sum: 0xc0ffee}
	if !ok || got != want {
		t.Fatalf("%+v, %v; want %+v", got, ok, want)
	}
	for _, change := range [][2]string{
		{`"index":41`, `"index":041`},
		{`"index":41`, `"index":`},
		{`"index":41`, `"index":-1`},
		{`"index":41`, `"index":18446744073709551617`},
		{`"count":2`, `"count":2.5`},
		{`,"count"`, `, "count"`},
		{`2026-01-02`, `2026-13-02`},
		{`00c0ffee`, `00c0ffe`},
		{`00c0ffee`, `00c0ffeg`},
		{`00c0ffee`, `00c0f\u0066ee`},
		{`"sum":"00c0ffee"`, `"sum":"","lost":true`},
		{"}}\n", "}}"},
		{"}}\n", "}}}\n"},
	} {
		changed := strings.Replace(line, change[0], change[1], 1)
		if h, ok := parseHeader([]byte(changed)); ok {
			t.Errorf("%s is read as %+v", changed, h)
		}
	}
	for end := range line {
		if h, ok := parseHeader([]byte(line[:end])); ok {
			t.Errorf("%s is read as %+v", line[:end], h)
		}
	}
}

// FuzzParseHeader: everything parsed without encoding/json is parsed the same with it.
func FuzzParseHeader(f *testing.F) {
	f.Add(line)
	f.Add(`{"batch":{"index":1,"count":1,"time":"2026-01-02T03:04:05Z","size":3,"sum":"ABCDEF01"}}` + "\n")
	f.Add(`{"batch":{"index":1,"count":1,"time":"2026-01-02T03:04:05,5+01:00","size":3,"sum":"00000000"}}` + "\n")
	f.Fuzz(func(t *testing.T, line string) {
		h, ok := parseHeader([]byte(line))
		if !ok {
			return
		}
		var m said
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Batch == nil {
			t.Fatalf("%s: encoding/json: %v", line, err)
		}
		if m.Batch.Time.UnixMicro() != h.Time.UnixMicro() {
			t.Fatalf("%s: the time is %v, with encoding/json %v", line, h.Time, m.Batch.Time)
		}
		m.Batch.Time = h.Time
		if !reflect.DeepEqual(*m.Batch, h) {
			t.Fatalf("%s: %+v, with encoding/json %+v", line, h, *m.Batch)
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	for b.Loop() {
		if _, ok := parseHeader([]byte(line)); !ok {
			b.Fatal("not read")
		}
	}
}
