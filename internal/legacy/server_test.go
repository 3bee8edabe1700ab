package legacy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tcp-log-server/internal/legacy"
)

// scripted starts a server that answers each line with the result of script, and closes the
// connection if that ends with "!".
func scripted(t *testing.T, script func(connection int, line string) string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					answer, hangUp := strings.CutSuffix(script(n, lines.Text()), "!")
					if _, err := io.WriteString(c, answer); err != nil || hangUp {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// readAll reads from index 1 and returns `1:{"a":1} 2:missing …` and the error.
func readAll(t *testing.T, addr string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := legacy.NewServer(ctx, addr)
	if err != nil {
		return "", err
	}
	s.Quiet = 50 * time.Millisecond
	var got []string
	for e, err := range s.Read(ctx, 1) {
		if err != nil {
			return strings.Join(got, " "), err
		}
		text := string(e.Text)
		if errors.Is(e.Err, legacy.ErrMissing) {
			text = "missing"
		} else if e.Err != nil {
			text = "damaged"
		}
		got = append(got, fmt.Sprintf("%d:%s", e.Index, text))
	}
	return strings.Join(got, " "), nil
}

const probe = `{"from":9007199254740991}`

func TestServer(t *testing.T) {
	pulling := func(answers map[string]string) func(int, string) string {
		return func(_ int, line string) string {
			if line == probe {
				return `{"error":"invalid message"}` + "\n"
			}
			return answers[line]
		}
	}
	streaming := func(answers map[string]string) func(int, string) string {
		return func(_ int, line string) string {
			switch line {
			case probe:
				return `{"current":true}` + "\n"
			case `{"from":1,"read":0}`:
				return `{"error":"already reading"}` + "\n"
			}
			return answers[line]
		}
	}
	for _, tt := range []struct {
		name   string
		script func(int, string) string
		want   string
		err    string
	}{
		{"version 9", pulling(map[string]string{`{"from":1,"read":4096}`: `{"index":1,"entry":[1]}` + "\n" + `{"index":2,"entry":{}}` + "\n" + `{"current":true}` + "\n"}), "1:[1] 2:{}", ""},
		{"a read that is full", pulling(map[string]string{
			`{"from":1,"read":4096}`: `{"index":1,"entry":[1]}` + "\n" + `{"head":2}` + "\n",
			`{"from":2,"read":4096}`: `{"index":2,"entry":[2]}` + "\n" + `{"head":2}` + "\n",
		}), "1:[1] 2:[2]", ""},
		{"version 10 has no index", pulling(map[string]string{`{"from":1,"read":4096}`: `{"entry":[1]}` + "\n" + `{"entry":[2]}` + "\n" + `{"current":true}` + "\n"}), "1:[1] 2:[2]", ""},
		{"an entry that comes twice, and one that is left out", pulling(map[string]string{`{"from":1,"read":4096}`: `{"index":1,"entry":[1]}` + "\n" + `{"index":1,"entry":[1]}` + "\n" + `{"index":3,"entry":[3]}` + "\n" + `{"current":true}` + "\n"}), "1:[1] 2:missing 3:[3]", ""},
		{"a damaged entry", pulling(map[string]string{`{"from":1,"read":4096}`: `{"index":1,"error":"x"}` + "\n" + `{"current":true}` + "\n"}), "1:damaged", ""},
		{"version 6 is current before its last entries", streaming(map[string]string{
			`{"from":1}`: `{"index":1,"entry":[1]}` + "\n" + `{"current":true}` + "\n" + `{"index":2,"entry":[2]}` + "\n",
			`{"from":3}`: `{"current":true}` + "\n" + `{"index":3,"entry":[3]}` + "\n",
			`{"from":4}`: `{"current":true}` + "\n",
		}), "1:[1] 2:[2] 3:[3]", ""},
		{"a crash", pulling(map[string]string{`{"from":1,"read":4096}`: `{"index":1,"entry":[1]}` + "\n!"}), "1:[1]", "closed the connection before index 2"},
		{"an error", pulling(map[string]string{`{"from":1,"read":4096}`: `{"error":"NotFoundError"}` + "\n!"}), "", `says "NotFoundError"`},
		{"a line cut short", pulling(map[string]string{`{"from":1,"read":4096}`: `{"index":1,"entry":[1]!`}), "", "closed the connection before index 1"},
		{"no log server", func(int, string) string { return "HTTP/1.1 400 Bad Request\n!" }, "", "is it a tcp-log-server?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := readAll(t, scripted(t, tt.script))
			if got != tt.want {
				t.Errorf("read %q, want %q", got, tt.want)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || !errors.Is(err, legacy.ErrSource)) {
				t.Errorf("error is %v, want %q", err, tt.err)
			}
		})
	}
}

// TestServerManyReads: version 10 reports that it is current at the end of every
// read, and its connection cannot read again.
func TestServerManyReads(t *testing.T) {
	const n = 5000
	got, err := readAll(t, scripted(t, func(_ int, line string) string {
		if line == probe {
			return `{"error":"invalid message"}` + "\n"
		}
		var from, count int
		if _, err := fmt.Sscanf(line, `{"from":%d,"read":%d}`, &from, &count); err != nil {
			return "!"
		}
		var b strings.Builder
		for i := from; i < from+count && i <= n; i++ {
			fmt.Fprintf(&b, "{\"entry\":[%d]}\n", i)
		}
		return b.String() + "{\"current\":true}\n"
	}))
	if err != nil || !strings.HasSuffix(got, " 5000:[5000]") || strings.Count(got, ":") != n {
		t.Errorf("%v, ends %q", err, got[max(0, len(got)-30):])
	}
}

// TestServerDeep: Read yields an entry unchanged, however deep or long.
func TestServerDeep(t *testing.T) {
	deep := strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000)
	got, err := readAll(t, scripted(t, func(_ int, line string) string {
		if line == probe {
			return `{"error":"invalid message"}` + "\n"
		}
		return `{"index":1,"entry":` + deep + "}\n{\"current\":true}\n"
	}))
	if err != nil || got != "1:"+deep {
		t.Errorf("%v, %d bytes", err, len(got))
	}
}

// TestServerEnds: Read ends when its context does.
func TestServerEnds(t *testing.T) {
	addr := scripted(t, func(_ int, line string) string {
		if line == probe {
			return `{"error":"invalid message"}` + "\n"
		}
		return `{"index":1,"entry":[1]}` + "\n"
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := legacy.NewServer(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Read(ctx, 1) {
		if e.Index == 1 {
			cancel()
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, %v", e, err)
		}
	}
}
