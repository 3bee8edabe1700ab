package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tcp-log-server/cli"
)

// fakeServer runs the next script for each connection.
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

	// A server that is not there: no outcome is unknown.
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

	// Each argument has its outcome, even those after the refused one.
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
// once, with a hint, and no entry that may be stored counts as not stored.
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

// TestAppendCommandWaits: entries are sent as they come, indices are printed at once,
// and a signal ends the command cleanly.
func TestAppendCommandWaits(t *testing.T) {
	d := start(t, "DATA=memory")
	cmd, in, lines, errs := converse(t, at(d.addr), "append")
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
