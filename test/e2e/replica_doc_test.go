package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/internal/porttest"
)

// TestDocumentedReplica runs the runbooks of docs/COPIES.md, unchanged except for the
// ports.
func TestDocumentedReplica(t *testing.T) {
	for _, tool := range []string{"sh", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(root + "docs/COPIES.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sourcePort, copyPort := porttest.Port(t), porttest.Port(t)
	env := []string{"PATH=" + filepath.Dir(path) + ":" + os.Getenv("PATH")}
	shell := func(name string) *exec.Cmd {
		t.Helper()
		m := regexp.MustCompile("(?s)<!-- replica: " + name + " -->\n```sh\n(.*?)```").FindSubmatch(text)
		if m == nil {
			t.Fatalf("docs/COPIES.md has no block %q", name)
		}
		script := strings.NewReplacer("8089", sourcePort, "9089", copyPort).Replace(string(m[1]))
		// A server must be the process that signals reach.
		script = regexp.MustCompile(`(?m)^((?:[A-Z]+=\S+ )*)(tcp-log-server (?:replica .*)?)$`).ReplaceAllString(strings.TrimSpace(script)+" ", "$1 exec $2")
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		return cmd
	}
	appends := func(port, want string) {
		t.Helper()
		if r := play(t, nil, "[1]\n[2]\n", "append", "localhost:"+port); r.code != 0 || r.out != want {
			t.Fatalf("append: %+v, want %q", r, want)
		}
	}
	caughtUp := func(port, head string) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			out := play(t, nil, "", "stat", "localhost:"+port, "--json").out
			if strings.Contains(out, `"head":`+head+",") && strings.Contains(out, `"connected":true,"behind":0`) {
				return
			}
			if time.Since(began) > 30*time.Second {
				t.Fatalf("the replica does not catch up: %s", out)
			}
		}
	}
	source := exec.Command(path)
	source.Dir = dir
	old := launchBy(t, source, "PORT="+sourcePort, "DATA=log")
	old.event(t, "listening")
	appends(sourcePort, "1\n2\n")

	copied := launchBy(t, shell("run"), env...)
	copied.event(t, "listening")
	caughtUp(copyPort, "2")
	if out, err := shell("watch").CombinedOutput(); err != nil || string(out) != "[true,0]\n" {
		t.Errorf("watching prints %q, %v", out, err)
	}
	copied.stop(t, syscall.SIGTERM)
	if out, err := shell("promote").CombinedOutput(); err != nil {
		t.Fatalf("the promotion fails: %v: %s", err, out)
	}
	promoted := launchBy(t, shell("serve"), env...)
	promoted.event(t, "listening")
	appends(copyPort, "3\n4\n")

	old.stop(t, syscall.SIGTERM)
	back := launchBy(t, shell("back"), env...)
	back.event(t, "listening")
	caughtUp(sourcePort, "4")
}
