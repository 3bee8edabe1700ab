package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what is written to tty is read from screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR, 0); err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

// TestTerminal: colours and bars appear only on a terminal.
func TestTerminal(t *testing.T) {
	d := start(t, "DATA=memory")
	input := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(input, []byte(strings.Repeat(`{"name":"text\u009b","number":1}`+"\n", 20_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	// shown runs a command with standard error on a terminal, and standard output too
	// if out is nil, and returns the text on the screen.
	shown := func(out io.Writer, settings []string, args ...string) string {
		screen, tty := terminal(t)
		cmd := command(t, append(at(d.addr), settings...), args...)
		in, err := os.Open(input)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd.Stdin, cmd.Stderr, cmd.Stdout = in, tty, tty
		if out != nil {
			cmd.Stdout = out
		}
		var text strings.Builder
		var reading sync.WaitGroup
		reading.Go(func() { io.Copy(&text, screen) }) // ends when the last tty is closed
		err = cmd.Run()
		tty.Close()
		reading.Wait()
		if err != nil {
			t.Errorf("%q: %v: %s", args, err, text.String())
		}
		return text.String()
	}
	var out strings.Builder
	if got := shown(&out, nil, "append"); !strings.Contains(got, "20000 stored in ") {
		t.Errorf("at its end it shows %q", got)
	}
	if n := strings.Count(out.String(), "\n"); n != 20_000 || strings.Contains(out.String(), "stored") {
		t.Errorf("standard output has %d lines", n)
	}
	if got := shown(nil, nil, "append", "{}"); got != "20001\r\n" {
		t.Errorf("indices on the terminal are disturbed: %q", got)
	}
	if got := shown(nil, nil, "read", "--count", "1"); !strings.Contains(got, "\x1b[32m"+`"text\u009b"`+"\x1b[0m") || !strings.HasSuffix(got, "\r\n") {
		t.Errorf("an entry is shown as %q", got)
	}
	if got := shown(nil, []string{"NO_COLOR=1"}, "read", "--count", "1"); got != `{"index":1,"entry":{"name":"text\u009b","number":1}}`+"\r\n" {
		t.Errorf("with NO_COLOR an entry is shown as %q", got)
	}
	if got := shown(nil, []string{"NO_COLOR=1"}, "read", "--count", "1", "--pretty"); got != "{\r\n  \"name\": \"text\\u009b\",\r\n  \"number\": 1\r\n}\r\n" {
		t.Errorf("an indented entry is shown as %q", got)
	}
	if got := shown(nil, nil, "read", "--count", "1", "--pretty"); !strings.Contains(got, "{\r\n  \x1b[34;1m\"name\"\x1b[0m: \x1b[32m\"text\\u009b\"\x1b[0m,\r\n  \x1b[34;1m\"number\"\x1b[0m: \x1b[33m1\x1b[0m\r\n}\r\n") {
		t.Errorf("an indented entry in colour is shown as %q", got)
	}
	out.Reset()
	if got := shown(&out, nil, "read", "--count", "1"); got != "" || out.String() != "{\"index\":1,\"entry\":{\"name\":\"text\u009b\",\"number\":1}}\n" {
		t.Errorf("in a pipe an entry is %q, with %q on the terminal", out.String(), got)
	}
}

// TestTerminalBar: while entries are appended the bar shows how many, and how fast.
func TestTerminalBar(t *testing.T) {
	d := start(t, "DATA=memory")
	screen, tty := terminal(t)
	cmd := command(t, at(d.addr), "append", "--quiet")
	cmd.Stdout, cmd.Stderr = tty, tty
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	tty.Close()
	io.WriteString(in, "{}\n[]\n")
	shown, buf := "", make([]byte, 4096)
	for !strings.Contains(shown, "2 stored, ") {
		n, err := screen.Read(buf)
		if shown += string(buf[:n]); err != nil {
			t.Fatalf("the bar does not show the rate: %q", shown)
		}
	}
	in.Close()
	rest, _ := io.ReadAll(screen)
	cmd.Wait()
	if strings.Contains(shown+string(rest), "it/") {
		t.Errorf("the bar counts bytes in iterations: %q", shown+string(rest))
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(string(rest), "2 stored in ") {
		t.Errorf("exit code is %d, at the end it shows %q", code, rest)
	}
}
