package e2e

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/cli"
)

// oldServer answers reads of entries as version 10 of the original does.
func oldServer(t *testing.T, entries ...string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				out := bufio.NewWriter(c)
				for lines := bufio.NewScanner(c); lines.Scan(); out.Flush() {
					var from, count int
					if _, err := fmt.Sscanf(lines.Text(), `{"from":%d,"read":%d}`, &from, &count); err != nil {
						fmt.Fprintln(out, `{"error":"invalid message"}`)
						continue
					}
					for i := from; i < from+count && i <= len(entries); i++ {
						fmt.Fprintf(out, "{\"entry\":%s}\n", entries[i-1])
					}
					fmt.Fprintln(out, `{"current":true}`)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// TestImportRefused: an entry that this log does not accept stops the import; with
// placeholders it continues, and accepts them when it is run again.
func TestImportRefused(t *testing.T) {
	large := `["` + strings.Repeat("x", 3000) + `"]`
	old := oldServer(t, `{"n":1}`, `["\ud83d"]`, `{"n":3}`, large, `{"n":5}`, `{"a":1,"a":2}`)
	server := start(t, "DATA="+filepath.Join(t.TempDir(), "data"), "MAX_ENTRY=1000")
	const first, last = `{"index":2,"error":"lone surrogate at byte 2 of the entry","placeholder":`, `{"index":6,"error":"duplicate member \"a\" at byte 7 of the entry","placeholder":`

	code, out, errs := runBinary(t, "import", "--dry-run", old)
	if code != cli.ExitRefused || out != first+"false}\n"+last+"false}\n" || !strings.Contains(errs, "6 entries, 2 refused") {
		t.Errorf("--dry-run: exit code %d, %q, %q", code, out, errs)
	}
	code, out, errs = runBinary(t, "import", old, "--into", server.addr)
	if code != cli.ExitRefused || out != first+"false}\n"+last+"false}\n" || !strings.Contains(errs, "the first at index 2") {
		t.Errorf("stop: exit code %d, %q, %q", code, out, errs)
	}
	if _, got, _ := runBinary(t, "read", "--entry", server.addr); got != `{"n":1}`+"\n" {
		t.Errorf("stop: the log is %q", got)
	}
	for _, round := range []string{"placeholders", "again"} {
		code, out, errs = runBinary(t, "import", "--on-refused", "placeholder", old, "--into", server.addr)
		lines := strings.Split(out, "\n")
		if code != 0 || len(lines) != 4 || lines[0] != first+"true}" || !strings.HasPrefix(lines[1], `{"index":4,`) || lines[2] != last+"true}" {
			t.Errorf("%s: exit code %d, %q, %q", round, code, out, errs)
		}
	}
	_, got, _ := runBinary(t, "read", "--entry", server.addr)
	lines := strings.Split(got, "\n")
	if len(lines) != 7 || lines[2] != `{"n":3}` || lines[4] != `{"n":5}` ||
		!strings.Contains(lines[1], `"text":"[\"\\ud83d\"]"`) ||
		!strings.HasPrefix(lines[3], `{"refused":{"error":"not stored: the entry is 3004 bytes long`) || strings.Contains(lines[3], "xxx") {
		t.Errorf("the log is\n%s", got)
	}
}

// TestImportResumes: an import continues after the entries that an earlier one stored,
// and not after any others.
func TestImportResumes(t *testing.T) {
	var entries []string
	for n := range 3000 {
		entries = append(entries, fmt.Sprintf(`{"n":%d}`, n))
	}
	server := start(t, "DATA="+filepath.Join(t.TempDir(), "data"))
	for _, n := range []int{0, 1, 1024, 2500, 3000, 3000} {
		code, _, errs := runBinary(t, "import", oldServer(t, entries[:n]...), "--into", server.addr)
		if code != 0 {
			t.Fatalf("%d entries: exit code %d, %q", n, code, errs)
		}
	}
	_, got, _ := runBinary(t, "read", "--entry", server.addr)
	if got != strings.Join(entries, "\n")+"\n" {
		t.Errorf("the log is %.100q…", got)
	}
	entries[1500] = `{"n":"other"}`
	for name, source := range map[string]string{
		"has another entry at index 1501": oldServer(t, entries...),
		"already has 3000":                oldServer(t, entries[:100]...),
	} {
		code, _, errs := runBinary(t, "import", source, "--into", server.addr)
		if code != cli.ExitFailure || !strings.Contains(errs, name) || strings.Count(errs, "\n") != 1 {
			t.Errorf("exit code %d, %q, want %q", code, errs, name)
		}
	}
	if _, got, _ := runBinary(t, "tail", "-n", "1", "--index", server.addr); got != "3000\n" {
		t.Errorf("the head is %q, want 3000", got)
	}
}

// TestImportBesideAWriter: an entry that gets another index ends the import.
func TestImportBesideAWriter(t *testing.T) {
	// The target answers as if another client had appended before index 2.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				index := 1
				for lines := bufio.NewScanner(c); lines.Scan(); {
					line := lines.Text()
					switch _, rest, isWrite := strings.Cut(line, `"id":`); {
					case isWrite:
						id, _, _ := strings.Cut(rest, ",")
						fmt.Fprintf(c, "{\"id\":%s,\"index\":%d}\n", id, index)
						index += 2
					case strings.Contains(line, "stat"):
						fmt.Fprintln(c, `{"error":"invalid message"}`)
					case strings.Contains(line, `"read"`):
						fmt.Fprintln(c, `{"current":true}`)
					default:
						fmt.Fprintln(c, `{"current":true}`)
					}
				}
			}()
		}
	}()
	code, _, errs := runBinary(t, "import", oldServer(t, "[1]", "[2]", "[3]"), "--into", ln.Addr().String())
	if code != cli.ExitFailure || !strings.Contains(errs, "index 2 was stored at 3") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

func TestImportUsage(t *testing.T) {
	server := start(t, "DATA=memory")
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"", cli.ExitUsage, "want a source"},
		{"a:1 b:2", cli.ExitUsage, "want one source"},
		{"--on-refused skip a:1", cli.ExitUsage, "on-refused"},
		{server.addr + " --into " + server.addr, cli.ExitUsage, "are both"},
		{"127.0.0.1:1 --into " + server.addr, cli.ExitFailure, "refused"},
		{"./nothing --into " + server.addr, cli.ExitFailure, "--leveldb"},
		{"--leveldb x a:1", cli.ExitUsage, "go with a directory"},
		{server.addr + " --into 127.0.0.1:1", cli.ExitFailure, "refused"},
	} {
		code, _, errs := runBinary(t, append([]string{"import"}, strings.Fields(tt.args)...)...)
		if code != tt.code || !strings.Contains(errs, tt.says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("import %s: exit code %d, %q, want %d, %q", tt.args, code, errs, tt.code, tt.says)
		}
	}
}
