package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tcp-log-server/cli"
)

// TestAppendReceipt: a receipt has the time and the hash that a read of the entry returns.
func TestAppendReceipt(t *testing.T) {
	d := start(t, "DATA=memory")
	for _, input := range []struct{ args, text string }{
		{"append --receipt", "{}\n[1]\n"}, {"append --receipt --batch", "{\"b\":1, \"a\":2}\n[2]"}, {"append --receipt --once", "[1]\n[3]\n"},
		{"append --receipt --json", "[4]"},
	} {
		r := play(t, at(d.addr), input.text, strings.Fields(input.args)...)
		if r.code != 0 || r.out == "" {
			t.Fatalf("%s: %+v", input.args, r)
		}
		for line := range strings.Lines(r.out) {
			var want struct {
				Index      uint64
				Time, Hash string
			}
			if json.Unmarshal([]byte(line), &want) != nil {
				if n, err := fmt.Sscanf(line, "%d %s %s\n", &want.Index, &want.Time, &want.Hash); n != 3 {
					t.Fatalf("%s prints %q: %v", input.args, line, err)
				}
			}
			got := play(t, at(d.addr), "", "read", "--time", "--hash", "--count", "1", "--from", fmt.Sprint(want.Index))
			if has := fmt.Sprintf(`{"index":%d,"time":%q,"hash":%q,`, want.Index, want.Time, want.Hash); !strings.HasPrefix(got.out, has) {
				t.Errorf("%s prints %q, and read %q", input.args, line, got.out)
			}
		}
	}
}

// TestAppendOnceSignals: a second signal ends the wait for answers, and entries without one are
// not reported as unknown.
func TestAppendOnceSignals(t *testing.T) {
	d := start(t, "DATA=memory")
	cmd, in, lines, errs := converse(t, at(d.addr), "append", "--once", "--json")
	io.WriteString(in, "[]\n")
	if line, err := lines.ReadString('\n'); line != `{"line":1,"outcome":"stored","index":1,"seen":false}`+"\n" {
		t.Fatalf("it prints %q, %v", line, err)
	}
	d.cmd.Process.Kill()
	d.cmd.Wait()
	io.WriteString(in, "[2]\n")
	ended := make(chan struct{})
	go func() { // the first signals may come before the line has been read
		for {
			cmd.Process.Signal(os.Interrupt)
			select {
			case <-ended:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	text, _ := io.ReadAll(lines)
	cmd.Wait()
	close(ended)
	if strings.Contains(string(text)+errs.String(), "unknown") || strings.Contains(string(text)+errs.String(), "context") {
		t.Errorf("it prints %q and %q", text, errs.String())
	}
	if code := cmd.ProcessState.ExitCode(); code != cli.ExitUnknown && code != cli.ExitFailure {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// TestAppendOnceKilled: with --once an append survives kills of the server: each
// entry is stored once, and none is unknown.
func TestAppendOnceKilled(t *testing.T) {
	data := "DATA=" + filepath.Join(t.TempDir(), "data")
	d := start(t, data)
	port := at(d.addr)[1]
	cmd, in, lines, errs := converse(t, at(d.addr), "append", "--once")
	io.WriteString(in, "[]\n")
	if line, err := lines.ReadString('\n'); line != "1\n" {
		t.Fatalf("it prints %q, %v", line, err)
	}
	indices := make(chan int)
	go func() {
		text, _ := io.ReadAll(lines)
		indices <- bytes.Count(text, []byte("\n"))
	}()
	const rounds, each = 5, 2000
	for round := range rounds {
		for i := range each {
			fmt.Fprintf(in, "{\"n\":%d}\n", round*each+i)
			if i == each/2 {
				d.cmd.Process.Kill()
				d.cmd.Wait()
				d = start(t, data, port)
			}
		}
	}
	in.Close()
	n := <-indices
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 0 || strings.Contains(errs.String(), "unknown") || !strings.Contains(errs.String(), "connected again after") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if n != rounds*each {
		t.Errorf("%d indices are printed, want %d", n, rounds*each)
	}
	got := strings.Fields(play(t, at(d.addr), "", "read", "--entry").out)
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != 1+rounds*each || len(got) != n {
		t.Errorf("the log has %d entries, %d of them different, want %d", len(got), n, 1+rounds*each)
	}
}

func TestAppendCommand(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  string
		input string
		out   string
		errs  []string // the lines of standard error; the last is the summary
		code  int
		log   string // the content of the log afterwards
	}{
		{"lines", "append", "{\"b\":1,\"a\":2}\n[1]\n\nnull", "1\n2\n3\n", nil, 0, `{"a":2,"b":1} [1] null`},
		{"arguments", "append {\"a\":1} [2] null", "{}", "1\n2\n3\n", nil, 0, `{"a":1} [2] null`},
		{"a stream", "append -q", `{"a":1}[2]null {` + "\n" + `"b":` + "\n1}", "", nil, 0, `{"a":1} [2] null {"b":1}`},
		{"an array", "append --array", "[{\"a\":1},\n[2] , null]\n", "1\n2\n3\n", nil, 0, `{"a":1} [2] null`},
		{"an empty array", "append --array", " [ ] ", "", nil, 0, ""},
		{"nothing", "append", " \n", "", nil, 0, ""},
		{"json", "append --json --on-error continue", "{}\n5\n[]\n", `{"line":1,"outcome":"stored","index":1}` + "\n" + `{"line":2,"outcome":"refused","error":"not a JSON object, array or null: it is a number"}` + "\n" + `{"line":3,"outcome":"stored","index":2}` + "\n",
			[]string{"stored: lines 1, 3 (index 1 to 2); refused: line 2"}, 2, `{} []`},
		{"refused by the server", "append --on-error continue", `{"x":1,"x":2}` + "\n{}\n", "1\n",
			[]string{`line 1: not stored: duplicate member "x" at byte 7 of the entry`, "stored: line 2 (index 1); refused: line 1"}, 2, `{}`},
		{"stop", "append", "{}\ntrue\n[]\n", "1\n",
			[]string{"line 2: not stored: not a JSON object, array or null: it is a boolean", "stored: line 1 (index 1); refused: line 2; not sent: all after line 2"}, 2, `{}`},
		{"a broken line", "append --on-error continue", "{\"a\":1}\n{\"b\":2\n{\"c\":3}\nno\n{\"d\":4}\n", "1\n2\n3\n",
			[]string{"line 2: not stored: not a JSON object, array or null: not JSON: found '{' at byte 7, want ',' or '}'", "line 4: not stored: not a JSON object, array or null: not JSON: found 'o' at byte 1, want null", "stored: lines 1, 3, 5 (index 1 to 3); refused: lines 2, 4"}, 2, `{"a":1} {"c":3} {"d":4}`},
		{"broken inside", "append --on-error continue", "{}\n[\n{\"inner\":1}\n{\"inner\":2}\n]\n[]", "1\n",
			[]string{"line 2: not stored: ", "the values after it cannot be told apart; stored: line 1 (index 1); refused: line 2; not sent: all after line 2"}, 2, `{}`},
		{"cut off", "append", "{}\n[1,", "1\n",
			[]string{"line 2: not stored: not a JSON object, array or null: not JSON: ends at byte 3", "stored: line 1 (index 1); refused: line 2"}, 2, `{}`},
		{"a broken array", "append --array", "[{},[] 5]", "1\n2\n",
			[]string{"element 3: not stored: ", "stored: elements 1-2 (index 1 to 2); refused: element 3; not sent: all after element 3"}, 2, `{} []`},
		{"no array", "append --array", "{}", "", []string{"element 1: not stored: ", "refused: element 1; not sent: all after element 1"}, 2, ``},
		{"a bad argument", "append {} 5", "", "1\n", []string{"argument 2: not stored", "stored: argument 1 (index 1); refused: argument 2"}, 2, `{}`},
		{"a string as argument", `append "text"`, "[1]", "", []string{"argument 1: not stored: not a JSON object, array or null: it is a string"}, 2, ``},
		{"a boolean as argument", "append true", "[1]", "", []string{"argument 1: not stored: not a JSON object, array or null: it is a boolean"}, 2, ``},
		{"a broken argument", "append {a:1}", "[1]", "", []string{"argument 1: not stored: not a JSON object, array or null: not JSON: "}, 2, ``},
		{"an empty argument", "append EMPTY", "[1]", "", []string{"argument 1: not stored: not a JSON object, array or null: it is empty"}, 2, ``},
		{"the head that is expected", "append --if 0 {} [1]", "", "1\n2\n", nil, 0, `{} [1]`},
		{"another head", "append --if 3", "{}\n[]\n", "", []string{"append: the head is 0, not 3; refused: lines 1-2"}, 4, ``},
		{"another head, as JSON", "append --if 3 --json {} []", "", `{"argument":1,"outcome":"refused","error":"the head is 0, not 3","head":0}` + "\n" + `{"argument":2,"outcome":"refused","error":"the head is 0, not 4","head":0}` + "\n",
			[]string{"append: the head is 0, not 3; refused: arguments 1-2"}, 4, ``},
		{"a refusal before another head", "append --if 0", "{}\n{\"x\":1,\"x\":2}\n[]\n", "1\n", []string{`line 2: not stored: duplicate member "x"`, "stored: line 1 (index 1); refused: lines 2-3"}, 2, `{}`},
		{"once", "append --once", "{\"a\":1,\"b\":2}\n[]\n{\"b\":2.0,\"a\":1}\n[]", "1\n2\n1\n2\n", nil, 0, `{"a":1,"b":2} []`},
		{"once, as JSON", "append --once --json [] []", "", `{"argument":1,"outcome":"stored","index":1,"seen":false}` + "\n" + `{"argument":2,"outcome":"stored","index":1,"seen":true}` + "\n", nil, 0, `[]`},
		{"once, refused", "append --once", "[]\n{\"x\":1,\"x\":2}\n", "1\n", []string{`line 2: not stored: duplicate member "x"`, "stored: line 1 (index 1); refused: line 2"}, 2, `[]`},
		{"a batch", "append --batch", "{}[1]\nnull", "1\n2\n3\n", nil, 0, `{} [1] null`},
		{"a batch from an array", "append --batch --array --if 0", " [{},[1]]", "1\n2\n", nil, 0, `{} [1]`},
		{"a batch of arguments", "append --batch {} [1]", "", "1\n2\n", nil, 0, `{} [1]`},
		{"a batch of one", "append --batch {}", "", "1\n", nil, 0, `{}`},
		{"a batch of none", "append --batch", " ", "", []string{"the batch is empty, want at least one entry; nothing was sent"}, 1, ``},
		{"a batch with a bad entry", "append --batch", "{}\n{\"x\":1,\"x\":2}\n[]", "", []string{`entry 2 of 3: duplicate member "x" at byte 7 of the entry; refused: lines 1-3`}, 2, ``},
		{"a batch with a number", "append --batch {} 5", "", "", []string{"entry 2 of 2: not a JSON object, array or null: it is a number; refused: arguments 1-2"}, 2, ``},
		{"a batch with a broken line", "append --batch", "{}\n[1\n{}", "", []string{"line 2: not a JSON object, array or null: not JSON: found '{' at byte 3, want ',' or ']'; refused: lines 1-2; not sent: all after line 2"}, 2, ``},
		{"a batch at another head", "append --batch --if 1 {} []", "", "", []string{"append: the head is 0, not 1; refused: arguments 1-2"}, 4, ``},
		{"a batch that is too large", "append --batch", strings.Repeat(`["`+strings.Repeat("x", 1<<20)+"\"]\n", 17), "", []string{"the batch is over the limit of 16777216 bytes; refused: lines 1-16; not sent: all after line 16"}, 2, ``},
		{"once and if", "append --once --if 1", "", "", []string{"--once stores an entry wherever the head is"}, 16, ``},
		{"once and batch", "append --once --batch", "", "", []string{"--batch all or none: leave one of them out"}, 16, ``},
		{"if and continue", "append --if 1 --on-error continue", "", "", []string{"with --if each entry follows the one before"}, 16, ``},
		{"a batch and continue", "append --batch --on-error continue", "", "", []string{"--batch stores all entries or none"}, 16, ``},
		{"a receipt and quiet", "append --receipt --quiet", "", "", []string{"--quiet prints nothing, so --receipt"}, 16, ``},
		{"no head", "append --if -1 {}", "", "", []string{`invalid value "-1" for flag --if, want a whole number, 0 or more`}, 16, ``},
		{"array of arguments", "append --array {}", "", "", []string{"--array is for standard input"}, 16, ``},
		{"two ways to print", "append --quiet --json", "", "", []string{"--quiet and --json"}, 16, ``},
		{"no such way", "append --on-error ignore", "", "", []string{`on-error is "ignore"`}, 16, ``},
		{"no such flag", "append --fast", "", "", []string{"fast"}, 16, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, "DATA=memory")
			words := strings.Fields(tt.args)
			for i, w := range words {
				words[i] = strings.TrimPrefix(w, "EMPTY")
			}
			r := play(t, at(d.addr), tt.input, words...)
			if tt.code == 2 && strings.HasPrefix(tt.args, "append --json") {
				// Refusals that need no server come at once.
				lines := strings.SplitAfter(r.out, "\n")
				slices.Sort(lines)
				r.out = strings.Join(lines, "")
			}
			if r.out != tt.out || r.code != tt.code {
				t.Errorf("it prints %q with code %d, want %q with %d", r.out, r.code, tt.out, tt.code)
			}
			checkErrors(t, r.err, tt.errs)
			got := play(t, at(d.addr), "", "read", "--entry")
			if log := strings.Join(strings.Fields(got.out), " "); log != tt.log || got.code != 0 {
				t.Errorf("the log has %q, want %q", log, tt.log)
			}
		})
	}
}

// checkErrors checks that each line of standard error contains the wanted text.
func checkErrors(t *testing.T, got string, want []string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if got == "" {
		lines = nil
	}
	if len(lines) != len(want) {
		t.Errorf("standard error has %d lines, want %d:\n%s", len(lines), len(want), got)
		return
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, "tcp-log-server: ") || !strings.Contains(line, want[i]) {
			t.Errorf("line %d of standard error is\n%s\nwant\n%s", i+1, line, want[i])
		}
	}
}
