package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/cli"
	"tcp-log-server/internal/access/accesstest"
)

// command is the built program with arguments, its environment that of the test
// plus settings, and no address unless settings or args name one.
func command(t *testing.T, settings []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), settings...)
	return cmd
}

// result is what a command that has ended has printed.
type result struct {
	out, err string
	code     int
}

// play runs a command with input.
func play(t *testing.T, settings []string, input string, args ...string) result {
	t.Helper()
	cmd := command(t, settings, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// TestAppendReceipt: a receipt is the time and the hash that the entry is read with.
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

// TestAppendOnceSignals: a second signal ends the wait for answers, and what has none is not
// called unknown.
func TestAppendOnceSignals(t *testing.T) {
	d := start(t, "DATA=memory")
	cmd := command(t, at(d.addr), "append", "--once", "--json")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lines := bufio.NewReader(out)
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

// TestAppendOnceKilled: with --once a server that is killed again and again is no matter: each
// entry is stored once, and none is unknown.
func TestAppendOnceKilled(t *testing.T) {
	data := "DATA=" + filepath.Join(t.TempDir(), "data")
	d := start(t, data)
	port := at(d.addr)[1]
	cmd := command(t, at(d.addr), "append", "--once")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lines := bufio.NewReader(out)
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

// at is the setting of an address.
func at(addr string) []string {
	host, port, _ := net.SplitHostPort(addr)
	return []string{"HOST=" + host, "PORT=" + port}
}

func TestAppendCommand(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  string
		input string
		out   string
		errs  []string // what standard error has, line by line; the last says it all
		code  int
		log   string // what the log then holds
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
		{"a batch of none", "append --batch", " ", "", []string{"a batch has at least one entry, and there is none; nothing was sent"}, 1, ``},
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
				// Refusals that need no server come as soon as they are seen.
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

// checkErrors compares the lines of standard error with what they must contain.
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

// fakeServer gives each connection to the next script.
func fakeServer(t *testing.T, scripts ...func(nc net.Conn, lines *bufio.Reader)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		defer ln.Close()
		for _, script := range scripts {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			script(nc, bufio.NewReader(nc))
			nc.Close()
		}
	}()
	return ln.Addr().String()
}

// TestAppendCommandLost: after a lost connection the report names the entries whose
// outcome is unknown.
func TestAppendCommandLost(t *testing.T) {
	lost := func(nc net.Conn, lines *bufio.Reader) {
		for n := range 10 {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Error(err)
			}
			switch {
			case n == 1:
				fmt.Fprintf(nc, `{"id":"1","error":"not stored: no room"}`+"\n")
			case n < 6:
				fmt.Fprintf(nc, `{"id":"%d","index":%d}`+"\n", n, 100+n)
			}
			_ = line
		}
	}
	var input strings.Builder
	for n := range 10 {
		fmt.Fprintf(&input, "{\"n\":%d}\n", n)
	}
	r := play(t, nil, input.String(), "append", fakeServer(t, lost), "--on-error", "continue")
	if r.code != cli.ExitUnknown || r.out != "100\n102\n103\n104\n105\n" {
		t.Errorf("it prints %q with code %d, want the indices and %d", r.out, r.code, cli.ExitUnknown)
	}
	checkErrors(t, r.err, []string{
		"line 2: not stored: no room",
		"connection lost: closed by the server; stored: lines 1, 3-6 (index 100 to 105); refused: line 2; unknown: lines 7-10; read the log from 106",
	})

	r = play(t, nil, input.String(), "append", fakeServer(t, lost), "--on-error", "continue", "--json")
	var outcomes []string
	for line := range strings.Lines(r.out) {
		var o struct {
			Line    int
			Outcome string
			Index   int
			Error   string
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil || o.Line != len(outcomes)+1 || (o.Index > 0) != (o.Outcome == "stored") || (o.Error == "") != (o.Outcome == "stored") {
			t.Errorf("line is %s", line)
		}
		outcomes = append(outcomes, o.Outcome)
	}
	if want := []string{"stored", "refused", "stored", "stored", "stored", "stored", "unknown", "unknown", "unknown", "unknown"}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes are %q, want %q", outcomes, want)
	}

	// A server that is away: nothing is unknown.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	addr := ln.Addr().String()
	refused := "append: " + addr + ": cannot connect: connection refused; is the server running there?"
	for args, says := range map[string]struct{ out, err string }{
		"":                    {"", "; nothing was sent"},
		"[1]":                 {"", "; not sent: argument 1"},
		"[1] 5 [3]":           {"", "; not sent: arguments 1-3"},
		"--json [1] [2]":      {`{"argument":1,"outcome":"not sent","error":"ADDR: cannot connect: connection refused"}` + "\n" + `{"argument":2,"outcome":"not sent","error":"ADDR: cannot connect: connection refused"}` + "\n", "; not sent: arguments 1-2"},
		"--json --array":      {"", "; nothing was sent"},
		"--on-error continue": {"", "; nothing was sent"},
	} {
		words := strings.Fields(args)
		if !strings.HasPrefix(args, "--") {
			words = append([]string{addr}, words...)
		}
		r := play(t, at(addr), "{}", append([]string{"append"}, words...)...)
		if out := strings.ReplaceAll(says.out, "ADDR", addr); r.code != cli.ExitFailure || r.out != out {
			t.Errorf("append %s: %+v, want code %d and %s", args, r, cli.ExitFailure, out)
		}
		checkErrors(t, r.err, []string{refused + says.err})
	}

	// Each argument has its outcome, also those after the one that is refused.
	d := start(t, "DATA=memory")
	r = play(t, at(d.addr), "", "append", "--json", "[1]", "7", "[3]", "[4]")
	for _, want := range []string{
		`{"argument":1,"outcome":"stored","index":1}`,
		`{"argument":2,"outcome":"refused","error":"not a JSON object, array or null: it is a number"}`,
		`{"argument":3,"outcome":"not sent","error":"an argument before it is refused"}`,
		`{"argument":4,"outcome":"not sent","error":"an argument before it is refused"}`,
	} {
		if !strings.Contains(r.out, want+"\n") || strings.Count(r.out, "\n") != 4 {
			t.Errorf("of a refused argument append prints\n%swant %s", r.out, want)
		}
	}
	if r.code != cli.ExitRefused {
		t.Errorf("exit code is %d, want %d", r.code, cli.ExitRefused)
	}
	checkErrors(t, r.err, []string{"append: stored: argument 1 (index 1); refused: argument 2; not sent: arguments 3-4"})
}

// TestAppendCommandHints: the answer of a server that turns the client away is printed
// once, with what to do, and no entry that may be stored counts as not stored.
func TestAppendCommandHints(t *testing.T) {
	const lost = "connection lost: closed by the server; has it been stopped? if it speaks TLS, add --tls; unknown: lines 1-3; read the log from 1"
	const tls = "append: the server requires TLS; add --tls, or --tls-ca FILE with its authority or its certificate; not sent: lines 1-3"
	for _, tt := range []struct {
		name, answer string
		errs         string
		code         int
	}{
		{"no connection to spare", `{"error":"too many connections"}` + "\n", "append: the server says: too many connections; try again later, or raise MAX_CONNECTIONS of the server; not sent: lines 1-3", cli.ExitFailure},
		{"no token", `{"error":"unauthorized"}` + "\n", "append: unauthorized; the server requires a token: name one with --token-file or TOKEN, or a certificate with --tls-cert; not sent: lines 1-3", cli.ExitFailure},
		{"no answer", "", lost, cli.ExitUnknown},
		{"TLS only", `{"error":"this server requires TLS"}` + "\n", tls, cli.ExitFailure},
		{"an alert", "\x15\x03\x01\x00\x02\x02\x46", tls, cli.ExitFailure},
		{"an alert with a newline", "\x15\x03\x01\x00\x02\x02\n", tls, cli.ExitFailure},
		{"a handshake", "\x16\x03\x03\x00\x04\x0e\x00\n\x00", tls, cli.ExitFailure},
		{"another protocol", "HTTP/1.1 400 Bad Request\r\n", "; is it a tcp-log-server?; unknown: lines 1-3", cli.ExitUnknown},
		{"an end after an answer", `{"id":"0","index":1}` + "\n", "append: connection lost: closed by the server; stored: line 1 (index 1); unknown: lines 2-3; read the log from 2", cli.ExitUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := func(nc net.Conn, lines *bufio.Reader) {
				for range 3 {
					lines.ReadString('\n')
				}
				io.WriteString(nc, tt.answer)
			}
			r := play(t, nil, "[1]\n[2]\n[3]\n", "append", "--quiet", fakeServer(t, answer))
			if r.code != tt.code || r.out != "" {
				t.Errorf("it prints %q with code %d, want nothing with %d", r.out, r.code, tt.code)
			}
			checkErrors(t, r.err, []string{tt.errs})
		})
	}
}

// TestAppendCommandWaits: entries go out as they come, indices come back at once,
// and a signal ends it in good order.
func TestAppendCommandWaits(t *testing.T) {
	d := start(t, "DATA=memory")
	cmd := command(t, at(d.addr), "append")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lines := bufio.NewReader(out)
	for n := 1; n <= 3; n++ {
		fmt.Fprintf(in, `{"n":%d}`, n) // without a newline
		if line, err := lines.ReadString('\n'); line != fmt.Sprintf("%d\n", n) {
			t.Fatalf("entry %d is answered %q, error %v", n, line, err)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != cli.ExitFailure {
		t.Errorf("exit code is %d, want %d", code, cli.ExitFailure)
	}
	checkErrors(t, errs.String(), []string{"stopped by a signal: terminated; stored: line 1 (index 1 to 3); not sent: all after line 1"})
}

func TestReadCommand(t *testing.T) {
	d := start(t, "DATA=memory")
	if r := play(t, at(d.addr), "", "read"); r != (result{}) {
		t.Errorf("of an empty log: %+v", r)
	}
	if r := play(t, at(d.addr), "", "tail"); r != (result{}) {
		t.Errorf("the end of an empty log: %+v", r)
	}
	var input strings.Builder
	for n := 1; n <= 12; n++ {
		fmt.Fprintf(&input, "{\"n\":%d}", n)
	}
	if r := play(t, at(d.addr), input.String(), "append", "-q"); r != (result{}) {
		t.Fatalf("append: %+v", r)
	}
	lines := func(from, through int) (out string) {
		for n := from; n <= through; n++ {
			out += fmt.Sprintf(`{"index":%d,"entry":{"n":%d}}`+"\n", n, n)
		}
		return out
	}
	_, port, _ := net.SplitHostPort(d.addr)
	for _, tt := range []struct {
		args string
		out  string
		errs []string
		code int
	}{
		{"read", lines(1, 12), nil, 0},
		{"read " + d.addr + " --from 11", lines(11, 12), nil, 0},
		{"read --from 3 --count 2 :" + port, lines(3, 4), nil, 0},
		{"read --from 12 --count 5", lines(12, 12), nil, 0},
		{"read --from 13", "", nil, 0},
		{"read --from 2 --count 2 --entry", "{\"n\":2}\n{\"n\":3}\n", nil, 0},
		{"read --from 2 --count 2 --index", "2\n3\n", nil, 0},
		{"read --from 2 --count 3 --follow", lines(2, 4), nil, 0},
		{"tail", lines(3, 12), nil, 0},
		{"tail -n 2", lines(11, 12), nil, 0},
		{"tail -n 0", "", nil, 0},
		{"tail -n2", lines(11, 12), nil, 0},
		{"read -f --count 2 --from 11", lines(11, 12), nil, 0},
		{"tail -2", "", []string{`"-2" is neither a flag nor an address; for a number of entries write -n 2`}, 16},
		{"tail -nf", "", []string{`invalid value "f" for flag -n, want a whole number`}, 16},
		{"tail -n 100 --index localhost:" + port, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", nil, 0},
		{"read --from 0", "", []string{"from is 0, want 1 or more"}, 16},
		{"read --index --entry", "", []string{"--entry and --index do not go together"}, 16},
		{"read " + d.addr + " again", "", []string{"want at most one address"}, 16},
		{"read 8089", "", []string{`"8089" is not an address; for a port write :8089`}, 16},
		{"read localhost:99999", "", []string{"want 1 to 65535"}, 16},
		{"read localhost:1", "", []string{"connection refused; is the server running there?"}, 1},
		{"read --tls-ca /nonexistent", "", []string{"tls-ca: open /nonexistent"}, 16},
		{"read --tls", "", []string{"it does not speak TLS: remove --tls and the TLS_ settings"}, 1},
		{"read --token-file /nonexistent", "", []string{"token-file: open /nonexistent"}, 16},
	} {
		r := play(t, at(d.addr), "", strings.Fields(tt.args)...)
		if r.out != tt.out || r.code != tt.code {
			t.Errorf("%s: it prints\n%s with code %d, want\n%s with %d", tt.args, r.out, r.code, tt.out, tt.code)
		}
		checkErrors(t, r.err, tt.errs)
	}
}

// TestReadCommandDamaged: an entry that the server cannot read is reported in its place.
func TestReadCommandDamaged(t *testing.T) {
	script := func(nc net.Conn, lines *bufio.Reader) {
		lines.ReadString('\n')
		io.WriteString(nc, `{"index":1,"entry":{}}`+"\n"+`{"index":2,"error":"its \"disk\""}`+"\n"+`{"index":3,"entry":[]}`+"\n"+`{"current":true}`+"\n")
		io.Copy(io.Discard, nc)
	}
	r := play(t, nil, "", "read", fakeServer(t, script))
	if want := "{\"index\":1,\"entry\":{}}\n{\"index\":2,\"error\":\"its \\\"disk\\\"\"}\n{\"index\":3,\"entry\":[]}\n"; r.out != want || r.code != cli.ExitDamaged {
		t.Errorf("it prints %s with code %d, want %s with %d", r.out, r.code, want, cli.ExitDamaged)
	}
	checkErrors(t, r.err, []string{"could not read 1 of the entries; run `tcp-log-server fsck` there"})
	r = play(t, nil, "", "read", "--entry", fakeServer(t, script))
	if want := "{}\n[]\n"; r.out != want || r.code != cli.ExitDamaged {
		t.Errorf("it prints %s with code %d, want %s with %d", r.out, r.code, want, cli.ExitDamaged)
	}
	checkErrors(t, r.err, []string{`entry 2: its "disk"`, "could not read 1 of the entries"})
}

// follower is a command that follows, and the lines that it prints.
type follower struct {
	cmd   *exec.Cmd
	lines chan string // closed at its end
	errs  bytes.Buffer
}

func follow(t *testing.T, args ...string) *follower {
	t.Helper()
	f := &follower{cmd: command(t, nil, args...), lines: make(chan string, 100_000)}
	f.cmd.Stderr = &f.errs
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.cmd.Process.Kill(); f.cmd.Wait() })
	go func() {
		defer close(f.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			f.lines <- lines.Text()
		}
	}()
	return f
}

// want receives a line.
func (f *follower) want(t *testing.T, want string) {
	t.Helper()
	select {
	case got, ok := <-f.lines:
		if got != want || !ok {
			t.Fatalf("the follower prints %q (%v), want %q", got, ok, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the follower does not print %q", want)
	}
}

// TestFollowKilled: a follower survives kill -9 and restarts of the server, and
// misses and repeats nothing.
func TestFollowKilled(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	d := start(t, "DATA="+data)
	_, port, _ := net.SplitHostPort(d.addr)
	f := follow(t, "read", "--follow", "--entry", d.addr)
	n := 0
	for range 4 {
		for range 50 {
			n++
			if got := talk(t, d.addr, fmt.Sprintf(`{"id":"x","entry":{"n":%d}}`+"\n", n)); !strings.Contains(got, fmt.Sprintf(`"index":%d`, n)) {
				t.Fatalf("append %d is answered %s", n, got)
			}
			if n%3 == 0 {
				f.want(t, fmt.Sprintf(`{"n":%d}`, n-2))
				f.want(t, fmt.Sprintf(`{"n":%d}`, n-1))
				f.want(t, fmt.Sprintf(`{"n":%d}`, n))
			}
		}
		d.cmd.Process.Kill()
		d.wait(t)
		d = start(t, "DATA="+data, "PORT="+port)
	}
	f.want(t, fmt.Sprintf(`{"n":%d}`, n-1))
	f.want(t, fmt.Sprintf(`{"n":%d}`, n))
	talk(t, d.addr, `{"id":"x","entry":["last"]}`+"\n")
	f.want(t, `["last"]`)
	f.cmd.Process.Signal(os.Interrupt)
	if line, more := <-f.lines; more {
		t.Errorf("it prints %s at the end", line)
	}
	f.cmd.Wait()
	if code := f.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
	if errs := f.errs.String(); strings.Count(errs, "trying again") != 4 || strings.Count(errs, "connected again") != 4 {
		t.Errorf("standard error is\n%s\nwant 4 times that it was lost and came back", errs)
	}
}

func TestTailFollow(t *testing.T) {
	d := start(t, "DATA=memory")
	play(t, at(d.addr), "[1][2][3]", "append")
	two, all, none := follow(t, "tail", "-fn2", "--entry", d.addr), follow(t, "tail", "-f", "--index", d.addr), follow(t, "tail", "-fn", "0", d.addr)
	two.want(t, "[2]")
	two.want(t, "[3]")
	all.want(t, "1")
	all.want(t, "2")
	all.want(t, "3")
	// It does not show when the one that prints nothing has begun, so it gets more and
	// more until it prints the first of them.
	for n := 4; ; n++ {
		talk(t, d.addr, fmt.Sprintf(`{"id":"x","entry":[%d]}`+"\n", n))
		two.want(t, fmt.Sprintf("[%d]", n))
		all.want(t, fmt.Sprint(n))
		select {
		case line := <-none.lines:
			if !strings.HasPrefix(line, `{"index":`) || strings.HasPrefix(line, `{"index":1,`) || strings.HasPrefix(line, `{"index":3,`) {
				t.Errorf("with -n 0 the first line is %s", line)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
		if n > 1000 {
			t.Fatal("with -n 0 nothing is printed")
		}
	}
}

// TestReaderGone: a command ends quietly, and soon, when no process reads what it
// prints any more, though there may be nothing to print.
func TestReaderGone(t *testing.T) {
	d := start(t, "DATA=memory")
	play(t, at(d.addr), strings.Repeat(`{"n":1}`, 50_000), "append", "-q")
	for _, args := range []string{"read", "read --follow", "tail -f", "tail -f -n 0"} {
		cmd := command(t, at(d.addr), strings.Fields(args)...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if args != "tail -f -n 0" {
			bufio.NewReader(out).ReadString('\n')
		}
		out.Close()
		timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		if code := cmd.ProcessState.ExitCode(); code != 0 || errs.Len() > 0 {
			t.Errorf("%s: exit code is %d, standard error %q; want 0 and nothing", args, code, errs.String())
		}
	}
}

// TestCommandsSecurely: the commands against a server with TLS and tokens, by flags
// and by the environment, and what they say when something is missing.
func TestCommandsSecurely(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	dir := t.TempDir()
	tokens, token := filepath.Join(dir, "tokens"), filepath.Join(dir, "token")
	writeTokens(t, tokens, "read", "write", "both")
	if err := os.WriteFile(token, []byte("token-both\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, "DATA=memory", "TLS_CERT="+cert, "TLS_KEY="+key, "TOKENS="+tokens)
	_, port, _ := net.SplitHostPort(d.addr)
	addr := "localhost:" + port
	trust := "TLS_CA=" + authority.Path

	if r := play(t, []string{trust}, "[1][2]", "append", "--token-file", token, addr); r.out != "1\n2\n" || r.code != 0 {
		t.Errorf("append: %+v", r)
	}
	if r := play(t, []string{"TOKEN=token-read"}, "", "read", "--entry", "--tls-ca", authority.Path, addr); r.out != "[1]\n[2]\n" || r.code != 0 {
		t.Errorf("read: %+v", r)
	}
	if r := play(t, []string{trust, "TOKEN_FILE=" + token, "HOST=localhost", "PORT=" + port}, "", "tail", "-n", "1", "--index"); r.out != "2\n" || r.code != 0 {
		t.Errorf("tail: %+v", r)
	}
	if r := play(t, []string{trust}, "", "stat", "--token-file", token, "--json", addr); r.code != 0 || !strings.Contains(r.out, `"head":2`) || !strings.Contains(r.out, `"tokens":true`) || strings.Contains(r.out, tokens) {
		t.Errorf("stat: %+v", r)
	}
	if r := play(t, []string{trust, "TOKEN_FILE=" + token}, "", "import", oldServer(t, "[1]", "[2]", "[3]"), "--into", addr); r.code != 0 {
		t.Errorf("import: %+v", r)
	}
	if r := play(t, []string{trust, "TOKEN_FILE=" + token}, "", "read", "--from", "3", "--entry", addr); r.out != "[3]\n" {
		t.Errorf("read of what was imported: %+v", r)
	}
	for _, tt := range []struct {
		settings []string
		args     string
		input    string
		errs     []string
		code     int
	}{
		{[]string{trust, "TOKEN=token-write"}, "read", "", []string{"the server says: unauthorized: this token may not read; name one that may with --token-file or TOKEN"}, 1},
		{[]string{"TLS=1", "TOKEN=token-both"}, "read", "", []string{"unknown authority; name its authority with --tls-ca"}, 1},
		{[]string{trust, "TLS_SERVER_NAME=other.example", "TOKEN=token-both"}, "read", "", []string{"; name it with --tls-server-name"}, 1},
		{[]string{trust, "TOKEN=token-read"}, "append", "[3][4]\n[5]", []string{"append: unauthorized: this token may not write; name one that may with --token-file or TOKEN; refused: lines 1"}, 2},
		{[]string{trust, "TOKEN=token-read"}, "append --on-error continue", "[3]\n5\n[4]", []string{"line 2: not stored: not a JSON object", "append: unauthorized: this token may not write; name one"}, 2},
	} {
		r := play(t, tt.settings, tt.input, append(strings.Fields(tt.args), addr)...)
		if r.code != tt.code || r.out != "" {
			t.Errorf("%q %s: code %d, prints %q; want %d and nothing", tt.settings, tt.args, r.code, r.out, tt.code)
		}
		checkErrors(t, r.err, tt.errs)
	}
}

// TestMismatch: what a command says, and the outcome that it reports, where the client and the
// server do not agree on TLS or on the token. Nothing is ever stored, and that is certain.
func TestMismatch(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	tokens := filepath.Join(t.TempDir(), "tokens")
	writeTokens(t, tokens, "both")
	secure := []string{"TLS_CERT=" + cert, "TLS_KEY=" + key}
	named, trust := "TOKENS="+tokens, "TLS_CA="+authority.Path
	const (
		needsTLS = "the server requires TLS; add --tls, or --tls-ca FILE with its authority or its certificate"
		speaksNo = "cannot connect: TLS handshake: tls: first record does not look like a TLS handshake; it does not speak TLS: remove --tls and the TLS_ settings"
		missing  = "unauthorized; the server requires a token: name one with --token-file or TOKEN, or a certificate with --tls-cert"
		wrong    = "unauthorized; the server does not know this token: name another with --token-file or TOKEN, or have the server read a new one (SIGHUP)"
		noCert   = "unauthorized: tls: certificate required; name a certificate that it accepts with --tls-cert and --tls-key"
	)
	for _, tt := range []struct {
		name           string
		server, client []string
		says           string
	}{
		{"plain to TLS", secure, nil, needsTLS},
		{"plain to TLS, with a token", append(secure, named), []string{"TOKEN=token-both"}, needsTLS},
		{"TLS to plain", nil, []string{trust}, speaksNo},
		{"TLS to plain, with a token", []string{named}, []string{trust, "TOKEN=token-both"}, speaksNo},
		{"no token", []string{named}, nil, missing},
		{"no token, over TLS", append(secure, named), []string{trust}, missing},
		{"a wrong token", []string{named}, []string{"TOKEN=token-other"}, wrong},
		{"a wrong token, over TLS", append(secure, named), []string{trust, "TOKEN=token-other"}, wrong},
		{"no certificate", append(secure, "TLS_CLIENT_CA="+authority.Path), []string{trust}, noCert},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, append([]string{"DATA=memory"}, tt.server...)...)
			_, port, _ := net.SplitHostPort(d.addr)
			addr := "localhost:" + port
			for args, says := range map[string]string{
				"append":             "append: " + tt.says + "; not sent: line",
				"append --quiet [1]": "append: " + tt.says + "; not sent: argument 1",
				"read":               "read: " + addr + ": " + tt.says,
				"read --follow":      "read: " + addr + ": " + tt.says,
				"tail":               "tail: " + addr + ": " + tt.says,
				"stat":               "stat: " + addr + ": " + tt.says,
			} {
				command, rest, _ := strings.Cut(args, " ")
				words := append([]string{command}, strings.Fields(rest)...)
				if strings.HasPrefix(rest, "--quiet") { // the address comes before the entry
					words = []string{command, "--quiet", addr, "[1]"}
				} else {
					words = append(words, addr)
				}
				if tt.says == speaksNo { // nothing was begun
					says = command + ": " + addr + ": " + tt.says
				}
				r := play(t, tt.client, strings.Repeat("[1]\n", 100), words...)
				if r.code != cli.ExitFailure || r.out != "" || !strings.HasPrefix(r.err, "tcp-log-server: "+says) || strings.Count(r.err, "\n") != 1 {
					t.Errorf("%s: code %d, prints %q and %q, want code %d and %q", args, r.code, r.out, r.err, cli.ExitFailure, says)
				}
			}
			// A client of the right kind finds that nothing was stored.
			if r := play(t, []string{trust, "TOKEN=token-both"}, "", "stat", "--json", addr); len(tt.server) > 2 && tt.server[2] == named && !strings.Contains(r.out, `"head":0,`) {
				t.Errorf("stat afterwards: %+v", r)
			}
		})
	}
}
