package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/cli"
	"tcp-log-server/internal/porttest"
)

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
	port := porttest.Port(t)
	d := start(t, "DATA="+data, "PORT="+port)
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
	// Nothing shows when the silent follower has begun, so append more and more until
	// it prints the first of them.
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

// TestReaderGone: a command ends quietly, and soon, when its output no longer has a
// reader, even if there is nothing to print.
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
