package e2e

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/internal/porttest"
)

var update = flag.Bool("update", false, "write what documents should say instead of checking it")

// TestFirstMinutes runs the README's first screen unchanged: the blocks of the first
// two terminals in a shell each, those of the third command by command. An ellipsis
// in the output matches any text.
func TestFirstMinutes(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "jq", "nc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	if !strings.Contains(netcatUsage(), "-46C") {
		t.Skip("the nc here is not that of OpenBSD")
	}
	b, err := os.ReadFile(root + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n## The first minutes\n")
	text, _, _ = strings.Cut(text, "\n## ")
	block := regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```")
	var blocks []string
	for i, m := range block.FindAllStringSubmatch(text, -1) {
		if kinds := []string{"sh", "sh", "console", "text", "sh"}; i >= len(kinds) || m[1] != kinds[i] {
			t.Fatalf("block %d is of kind %q, want %q in this order", i+1, m[1], kinds)
		}
		blocks = append(blocks, m[2])
	}
	if len(blocks) != 5 {
		t.Fatalf("there are %d blocks, want 5", len(blocks))
	}
	dir := t.TempDir()
	if err := copySources(dir); err != nil {
		t.Fatal(err)
	}
	// Use another port only if this one is taken.
	port := "8089"
	if nc, err := net.Dial("tcp", "localhost:8089"); err == nil {
		nc.Close()
		port = porttest.Port(t)
	}
	shell := func(script string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(script, "8089", port))
		cmd.Dir = dir
		if port != "8089" {
			cmd.Env = append(os.Environ(), "PORT="+port)
		}
		return cmd
	}

	var logged, followed lockedBuffer
	for i, out := range []*lockedBuffer{&logged, &followed} {
		cmd := shell("set -e\n" + strings.TrimSuffix(blocks[i], "\n") + " & echo $! > pid" + fmt.Sprint(i) + "; wait")
		cmd.Stdout, cmd.Stderr = out, out
		cmd.WaitDelay = 10 * time.Second
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill() // if the build takes too long, the server must not start after it
			if b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("pid", i))); err == nil {
				if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
					if p, err := os.FindProcess(pid); err == nil {
						p.Kill()
					}
				}
			}
			cmd.Wait()
		})
		if i == 0 {
			waitFor(t, "the server to listen", func() bool { return strings.Contains(logged.String(), "listening") }, &logged)
		}
	}
	for _, step := range strings.Split("\n"+blocks[2], "\n$ ")[1:] {
		line, want, _ := strings.Cut(step, "\n")
		got, err := shell(line).CombinedOutput()
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.ReplaceAll(strings.TrimSpace(want), "8089", port)), "…", ".+")
		if err != nil || !regexp.MustCompile("^"+pattern+"$").MatchString(strings.TrimSpace(string(got))) {
			t.Errorf("%s\nprints\n%s%v, want\n%s", line, got, err, want)
		}
	}
	waitFor(t, "the second terminal to show what the README shows", func() bool { return followed.String() == blocks[3] }, &followed)
}

// netcatUsage returns the output of `nc -h`. The flags of OpenBSD's begin with -46C; the traditional one
// prints its version.
func netcatUsage() string {
	usage, _ := exec.Command("nc", "-h").CombinedOutput()
	return string(usage)
}

// TestNetcats runs the README's lines that append without this program, as far as their programs are
// installed. `nc` may be one of three.
func TestNetcats(t *testing.T) {
	b, err := os.ReadFile(root + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(b), "\nEach of these lines appends an entry")
	_, block, _ = strings.Cut(block, "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	lines := strings.Split(strings.TrimSpace(block), "\n")
	if len(lines) != 5 {
		t.Fatalf("there are %d lines, want 5:\n%s", len(lines), block)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("there is no bash here")
	}
	d := start(t, "DATA=memory")
	_, port, _ := net.SplitHostPort(d.addr)
	ran := 0
	for _, line := range lines {
		switch _, after, _ := strings.Cut(line, "| "); {
		case strings.HasPrefix(after, "nc -N") && !strings.Contains(netcatUsage(), "-46C"),
			strings.HasPrefix(after, "nc -q") && !strings.Contains(netcatUsage(), "[v1."):
			t.Logf("not run, its nc is not here: %s", line)
			continue
		case after != "":
			if _, err := exec.LookPath(strings.Fields(after)[0]); err != nil {
				t.Logf("not run: %v: %s", err, line)
				continue
			}
		}
		ran++
		cmd := exec.Command("bash", "-c", "timeout 10 bash -c "+"\"$0\"", strings.ReplaceAll(line, "8089", port))
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != fmt.Sprintf("{\"id\":\"x\",\"index\":%d}\n", ran) {
			t.Errorf("%s\nprints %q, %v", line, out, err)
		}
	}
	t.Logf("%d of %d lines were run", ran, len(lines))
}

// copySources copies to dir the files that `go build .` needs: the sources of the packages that it builds and the
// files that they embed.
func copySources(dir string) error {
	const files = `{{with .Module}}{{if .Main}}{{range $.GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}` +
		`{{range $.EmbedFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`
	out, err := exec.Command("go", "list", "-deps", "-f", files, ".").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	for _, path := range append(strings.Fields(string(out)), root+"go.mod", root+"go.sum") {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, root))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// lockedBuffer holds the output of a process, which a test may read while it runs.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// waitFor waits until ok returns true. If it times out, it shows the output.
func waitFor(t *testing.T, what string, ok func() bool, printed *lockedBuffer) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s; printed was\n%s", what, printed.String())
		}
	}
}
