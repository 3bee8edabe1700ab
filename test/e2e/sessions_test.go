package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandSessions plays each session of docs/CLI.md in a shell, with a server
// and an empty log of its own, and holds what is printed to what the document says.
func TestCommandSessions(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("there is no jq here")
	}
	b, err := os.ReadFile(root + "docs/CLI.md")
	if err != nil {
		t.Fatal(err)
	}
	sessions := strings.Split(string(b), "```console\n")[1:]
	if len(sessions) < 4 {
		t.Errorf("there are %d sessions, want 4 or more", len(sessions))
	}
	for _, session := range sessions {
		session, _, ok := strings.Cut(session, "```")
		if !ok {
			t.Fatal("a session has no end")
		}
		d := start(t, "DATA=memory")
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
}
