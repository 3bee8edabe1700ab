package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/internal/porttest"
)

// TestFirstCluster runs the README's section on three machines, unchanged except for the ports, and
// kills the two nodes that are left.
func TestFirstCluster(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(root + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n## On three machines\n")
	text, _, _ = strings.Cut(text, "\n## ")
	blocks := regexp.MustCompile("(?s)```(sh|console)\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(blocks) != 2 || blocks[0][1] != "sh" || blocks[1][1] != "console" {
		t.Fatalf("the blocks are %q, want one for sh and one session", blocks)
	}
	var ports []string
	for _, port := range []string{"6301", "6302", "6303", "8101", "8102", "8103"} {
		ports = append(ports, port, porttest.Port(t))
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(path, filepath.Join(dir, "tcp-log-server")); err != nil {
		t.Fatal(err)
	}
	shell := func(script string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", strings.NewReplacer(ports...).Replace(script))
		cmd.Dir = dir
		return cmd
	}
	t.Cleanup(func() {
		for _, name := range []string{"a.pid", "b.pid", "c.pid"} {
			b, _ := os.ReadFile(filepath.Join(dir, name))
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	listening := func() bool {
		for i, port := range ports {
			if i%2 == 1 && strings.HasPrefix(ports[i-1], "81") {
				c, err := net.Dial("tcp", "localhost:"+port)
				if err != nil {
					return false
				}
				c.Close()
			}
		}
		return true
	}
	for i, step := range append([]string{blocks[0][2]}, strings.Split("\n"+blocks[1][2], "\n$ ")[1:]...) {
		line, want, _ := strings.Cut(step, "\n")
		switch i {
		case 0:
			line, want = step, ""
		case 1: // a person would type more slowly
			waitFor(t, "the nodes to listen", listening, &lockedBuffer{})
		}
		cmd := shell(line)
		out, err := os.CreateTemp(dir, "out") // not a pipe: processes in the background would keep it open
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = out, out
		timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		err = cmd.Run()
		timer.Stop()
		got, _ := os.ReadFile(out.Name())
		if err != nil || string(got) != want && strings.TrimSpace(string(got)) != strings.TrimSpace(want) {
			log, _ := exec.Command("sh", "-c", "tail -n 20 "+dir+"/*.log").CombinedOutput()
			t.Fatalf("%s\nprints\n%s%v, want\n%s\nThe nodes say\n%s", line, got, err, want, log)
		}
	}
}
