package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tcp-log-server/cli"
)

// filledStore returns the directory of a stopped log of n entries, none of them in blobs.
func filledStore(t *testing.T, n int) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	d := start(t, "DATA="+data, "LOOSE_MAX=0")
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "{\"id\":\"%d\",\"entry\":{\"n\":%d}}\n", i, i+1)
	}
	talk(t, d.addr, in.String())
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("the server ended with %d", code)
	}
	return data
}

func TestCatCommand(t *testing.T) {
	data := filledStore(t, 50)
	var all, entries, indices strings.Builder
	for i := 1; i <= 50; i++ {
		fmt.Fprintf(&all, "{\"index\":%d,\"entry\":{\"n\":%d}}\n", i, i)
		fmt.Fprintf(&entries, "{\"n\":%d}\n", i)
		fmt.Fprintf(&indices, "%d\n", i)
	}
	before := treeOf(t, data)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{data}, all.String()},
		{[]string{"--data", data}, all.String()},
		{[]string{"--entry", data}, entries.String()},
		{[]string{"--index", data}, indices.String()},
		{[]string{"--from", "49", data}, "{\"index\":49,\"entry\":{\"n\":49}}\n{\"index\":50,\"entry\":{\"n\":50}}\n"},
		{[]string{"--from", "7", "--count", "1", data}, "{\"index\":7,\"entry\":{\"n\":7}}\n"},
		{[]string{"--from", "51", data}, ""},
		{[]string{"--from", "18446744073709551615", "--count", "18446744073709551615", data}, ""},
	} {
		if code, out, errs := runBinary(t, append([]string{"cat"}, tt.args...)...); code != 0 || out != tt.want || errs != "" {
			t.Errorf("cat %v: exit code %d, %.200q, %q", tt.args, code, out, errs)
		}
	}
	for _, wrong := range [][]string{{"--from", "0", data}, {"--entry", "--index", data}, {data, data}, {"memory"}} {
		if code, _, errs := runBinary(t, append([]string{"cat"}, wrong...)...); code != cli.ExitUsage || strings.Count(errs, "\n") != 1 {
			t.Errorf("cat %v: exit code %d, %q", wrong, code, errs)
		}
	}
	if code, _, errs := runBinary(t, "cat", t.TempDir()); code != cli.ExitFailure || !strings.Contains(errs, "there is no log") {
		t.Errorf("cat of nothing: exit code %d, %q", code, errs)
	}

	if after := treeOf(t, data); after != before {
		t.Error("cat has changed the directory")
	}

	// While the daemon runs: the same, whatever it has locked.
	d := start(t, "DATA="+data, "LOOSE_MAX=0")
	if code, out, errs := runBinary(t, "cat", data); code != 0 || out != all.String() {
		t.Errorf("beside the daemon: exit code %d, %.200q, %q", code, out, errs)
	}
	d.stop(t, syscall.SIGTERM)

	path := filepath.Join(data, "segments", "00000000000000000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte(`{"n":30}`))+5] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	before = treeOf(t, data)
	code, out, errs := runBinary(t, "cat", data)
	lines := strings.Split(out, "\n")
	var damaged struct {
		Index int
		Error string
	}
	if code != cli.ExitDamaged || len(lines) != 51 || json.Unmarshal([]byte(lines[29]), &damaged) != nil || damaged.Index != 30 || !strings.Contains(damaged.Error, path) ||
		lines[28] != `{"index":29,"entry":{"n":29}}` || lines[30] != `{"index":31,"entry":{"n":31}}` || !strings.Contains(errs, "1 entry cannot be read: run `tcp-log-server fsck "+data) {
		t.Errorf("damaged: exit code %d, %q, %s", code, errs, lines[29])
	}
	if code, out, errs := runBinary(t, "cat", "--entry", data); code != cli.ExitDamaged || strings.Count(out, "\n") != 49 || !strings.Contains(errs, "entry 30: ") {
		t.Errorf("damaged, --entry: exit code %d, %q", code, errs)
	}
	if after := treeOf(t, data); after != before {
		t.Error("cat has changed the directory")
	}
}

// TestCatPipe: cat ends without an error when its reader goes away.
func TestCatPipe(t *testing.T) {
	data := filledStore(t, 20000)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "cat", data)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReaderSize(out, 16).ReadSlice(':'); err != nil || string(line) != `{"index":` {
		t.Errorf("%q, %v", line, err)
	}
	out.Close()
	if err := cmd.Wait(); errs.Len() > 0 {
		t.Errorf("%v, and on standard error %q", err, errs.String())
	}
}

// directoryStat and stat are the parts of the output of stat --json that tests use, of a
// directory and of a server.
type (
	directoryStat struct {
		Store                           string
		Head, Packed, Segments, Settled uint64
		Bytes                           struct{ Segments, Index int64 }
		Last                            string
	}
	stat struct {
		Head, Packed uint64
		Version      string
	}
)

func TestStatCommand(t *testing.T) {
	data := filledStore(t, 50)
	before := treeOf(t, data)
	code, out, errs := runBinary(t, "stat", data)
	if code != 0 || errs != "" || !strings.Contains(out, "\nhead      50\n") || !strings.Contains(out, "\npacked    50 entries in segments that stay\n") || !strings.Contains(out, "log       "+data+", store ") {
		t.Errorf("of a directory: exit code %d, %q\n%s", code, errs, out)
	}
	var of directoryStat
	if code, out, _ := runBinary(t, "stat", "--json", data); code != 0 || json.Unmarshal([]byte(out), &of) != nil || of.Head != 50 || of.Packed != 50 || of.Segments != 1 || of.Settled != 50 || of.Bytes.Index != 50*49 || of.Bytes.Segments == 0 || len(of.Store) != 32 || of.Last == "" {
		t.Errorf("of a directory, --json: exit code %d, %s", code, out)
	}
	if after := treeOf(t, data); after != before {
		t.Error("stat has changed the directory")
	}

	d := start(t, "DATA="+data, "LOOSE_MAX=0")
	code, out, errs = runBinary(t, "stat", d.addr)
	if code != 0 || errs != "" || !strings.Contains(out, "\nhead      50\n") || !strings.Contains(out, "server    "+d.addr+", version ") || !strings.Contains(out, "loose-max=0") {
		t.Errorf("of a server: exit code %d, %q\n%s", code, errs, out)
	}
	var s stat
	if code, out, _ := runBinary(t, "stat", "--json", d.addr); code != 0 || json.Unmarshal([]byte(out), &s) != nil || s.Head != 50 || s.Packed != of.Packed || s.Version == "" {
		t.Errorf("of a server, --json: exit code %d, %s", code, out)
	}
	for _, nothing := range []string{"localhost:1", "./nothing"} {
		if code, out, errs := runBinary(t, "stat", "--quiet", nothing); code != cli.ExitFailure || out+errs != "" {
			t.Errorf("of %s, --quiet: exit code %d, %q, %q", nothing, code, out, errs)
		}
	}
	if code, out, errs := runBinary(t, "stat", "-q", d.addr); code != 0 || out+errs != "" {
		t.Errorf("of a server, -q: exit code %d, %q, %q", code, out, errs)
	}
	d.stop(t, syscall.SIGTERM)

	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{d.addr, cli.ExitFailure, "is the server running there?"},
		{"./nothing", cli.ExitFailure, "there is no log"},
		{"a:1 b:2", cli.ExitUsage, "want at most one address or directory"},
		{"host:port", cli.ExitUsage, `"port"`},
	} {
		if code, _, errs := runBinary(t, append([]string{"stat"}, strings.Fields(tt.args)...)...); code != tt.code || !strings.Contains(errs, tt.says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("stat %s: exit code %d, %q", tt.args, code, errs)
		}
	}
}

// TestStatOfOthers: stat of a server that refuses appends, of an older one, and of another
// program.
func TestStatOfOthers(t *testing.T) {
	for answer, want := range map[string]struct {
		code int
		says string
	}{
		`{"stat":{"version":"v1","head":1234567,"loose":-1,"failed":"sync failed"}}`: {cli.ExitFailure, "refuses appends: sync failed"},
		`{"error":"invalid message"}`: {cli.ExitFailure, "invalid message"},
		`hello`:                       {cli.ExitFailure, "is it a tcp-log-server?"},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					for lines := bufio.NewScanner(c); lines.Scan(); {
						fmt.Fprintln(c, answer)
					}
				}()
			}
		}()
		code, out, errs := runBinary(t, "stat", ln.Addr().String())
		if code != want.code || !strings.Contains(errs, want.says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q, %q", answer, code, out, errs)
		}
		if strings.Contains(answer, "1234567") && (!strings.Contains(out, "1,234,567") || strings.Contains(out, "loose")) {
			t.Errorf("%s is shown as\n%s", answer, out)
		}
		ln.Close()
	}
}
