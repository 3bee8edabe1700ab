package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tcp-log-server/cli"
	"tcp-log-server/internal/porttest"
)

// TestDocumentedAccess runs the commands of docs/OPERATIONS.md for a server with TLS and tokens,
// and then those for its client, unchanged except for the port. A client without the token is not
// admitted, nor is one whose token has been removed.
func TestDocumentedAccess(t *testing.T) {
	for _, tool := range []string{"sh", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(root + "docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(pattern string) string {
		t.Helper()
		m := regexp.MustCompile("(?s)" + pattern + "```sh\n(.*?)```").FindSubmatch(text)
		if m == nil {
			t.Fatalf("docs/OPERATIONS.md has no block after %q", pattern)
		}
		return string(m[1])
	}
	port := porttest.Port(t)
	dir := t.TempDir()
	shell := func(script string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", "set -e\n"+script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PORT="+port, "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
		return cmd
	}
	// The last line starts the server, which must be the process that signals reach.
	script := strings.TrimSpace(block("<!-- server -->\n"))
	lines := strings.Split(script, "\n")
	lines[len(lines)-1] = "export " + strings.Replace(lines[len(lines)-1], " tcp-log-server", "; exec tcp-log-server", 1)
	launchBy(t, shell(strings.Join(lines, "\n")), "PORT="+port, "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH")).event(t, "listening")

	out, err := shell(block("<!-- client -->\n")).CombinedOutput()
	if want := "1\n{\"index\":1,\"entry\":{\"hello\":\"world\"}}\n"; err != nil || string(out) != want {
		t.Errorf("the client prints %q, %v, want %q", out, err, want)
	}
	addr := "localhost:" + port
	if r := play(t, []string{"TLS_CA=" + filepath.Join(dir, "server.pem")}, "", "read", addr); r.code != cli.ExitFailure || !strings.Contains(r.err, "the server requires a token") {
		t.Errorf("without a token: %+v", r)
	}
	for _, name := range []string{"alice.token", "tokens.txt", "server.key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v, want it readable by its owner alone", name, info.Mode(), err)
		}
	}
	tokens := shell(block("`token` edits the file.*?") + "tcp-log-server token list")
	out, err = tokens.CombinedOutput()
	const read = "tokens.txt; a running server reads it at SIGHUP (systemctl reload tcp-log-server)\n"
	if want := "tcp-log-server: token: bob is added to " + read + "alice  both\nbob    read\n" +
		"tcp-log-server: token: bob is removed from " + read + "alice  both\n"; err != nil || string(out) != want {
		t.Errorf("editing the tokens prints %q, %v, want %q", out, err, want)
	}
}
