package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandSessions plays each session of docs/CLI.md in a shell, with a new server
// and an empty log, and compares the output with that in the document.
func TestCommandSessions(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("there is no jq here")
	}
	b, err := os.ReadFile(root + "docs/CLI.md")
	if err != nil {
		t.Fatal(err)
	}
	sessions := sessionsOf(t, string(b))
	if len(sessions) < 4 {
		t.Errorf("there are %d sessions, want 4 or more", len(sessions))
	}
	for _, session := range sessions {
		playSession(t, start(t, "DATA=memory"), session)
	}
}

// TestHTTPSessions plays the curl sessions of docs/HTTP.md and of the README in the same way.
func TestHTTPSessions(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl here")
	}
	played := make(map[string]int)
	for _, name := range []string{"docs/HTTP.md", "README.md"} {
		b, err := os.ReadFile(root + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, session := range sessionsOf(t, string(b)) {
			if !strings.HasPrefix(session, "$ curl ") {
				continue
			}
			played[name]++
			d := start(t, "DATA=memory", "HTTP=127.0.0.1:0")
			page := fmt.Sprintf("localhost:%v", d.event(t, "page")["port"])
			playSession(t, d, strings.ReplaceAll(session, "localhost:8090", page))
		}
	}
	if played["docs/HTTP.md"] == 0 || played["README.md"] == 0 {
		t.Errorf("played %v, want some of each", played)
	}
}

// sessionsOf returns the sessions of a document, without their fences.
func sessionsOf(t *testing.T, document string) (sessions []string) {
	t.Helper()
	for _, session := range strings.Split(document, "```console\n")[1:] {
		session, _, ok := strings.Cut(session, "```")
		if !ok {
			t.Fatal("a session has no end")
		}
		sessions = append(sessions, session)
	}
	return sessions
}

// playSession plays a session with a server.
func playSession(t *testing.T, d *daemon, session string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range strings.Split("\n"+session, "\n$ ")[1:] {
		line, want, _ := strings.Cut(step, "\n")
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = append(append(os.Environ(), at(d.addr)...), "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Run()
		if got := out.String() + errs.String(); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s\nprints\n%swant\n%s", line, got, want)
		}
	}
}
