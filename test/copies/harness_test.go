package copies

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/fsck"
)

// scratch is a directory for the binary of the server.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "copies"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// program builds the server once, with the settings of daemon/tuning_faults.go.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "tcp-log-server")
	cmd := exec.Command("go", "build", "-tags", "faults", "-o", path, ".")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

// command returns the program with arguments, in the environment env.
func command(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// run runs a command of the program, which must succeed, and returns its output.
func run(t testing.TB, env []string, args ...string) []byte {
	t.Helper()
	cmd := command(t, env, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s%s", args, err, tail(out), tail(errs.Bytes()))
	}
	return out
}

// tail returns the end of a text that may be long.
func tail(text []byte) []byte { return text[max(0, len(text)-2000):] }

// check runs fsck on a directory or a URL. fsck may report only that the index is incomplete, as in a
// restored log at first, and that segments are to be removed.
func check(t testing.TB, env []string, args ...string) (s fsck.Summary) {
	t.Helper()
	out := run(t, env, append([]string{"fsck", "--json"}, args...)...)
	for line := range bytes.Lines(out) {
		var f fsck.Finding
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatalf("fsck %v printed %s: %v", args, line, err)
		}
		if f.Kind != "" && f.Kind != fsck.IndexLag && f.Kind != fsck.Settled {
			t.Errorf("fsck %v: %s", args, line)
		}
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatal(err)
		}
	}
	if s.Errors > 0 || s.Digest == "" {
		t.Errorf("fsck %v: %s", args, tail(out))
	}
	return s
}

// same checks that an archive and the directory of its log have no faults, and have the same entries
// through the head of the directory. It returns this head.
func same(t testing.TB, env []string, url, dir string) uint64 {
	t.Helper()
	near := check(t, env, dir)
	far := check(t, env, "--through", fmt.Sprint(near.Through), url)
	if near.Digest != far.Digest {
		t.Errorf("through entry %d, the digest of %s is %s, that of %s is %s", near.Through, url, far.Digest, dir, near.Digest)
	}
	return near.Through
}

// process is a running server.
type process struct {
	cmd   *exec.Cmd
	addr  string
	ended chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// Write collects the server's log.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// said returns the end of the server's log.
func (p *process) said() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(tail(p.log.Bytes()))
}

// serve starts a server on a directory, and waits until it listens. If it still runs when the test
// ends, it is killed.
func serve(t testing.TB, env []string, data string, settings ...string) *process {
	t.Helper()
	return serveBy(t, command(t, env), data, settings...)
}

// serveBy is serve for a command that runs a server.
func serveBy(t testing.TB, cmd *exec.Cmd, data string, settings ...string) *process {
	t.Helper()
	p := &process{cmd: cmd, ended: make(chan struct{})}
	p.cmd.Env = append(append(p.cmd.Env, "HOST=127.0.0.1", "PORT=0", "DATA="+data), settings...)
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan int, 1)
	go func() {
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			var e struct {
				Event string
				Port  int
			}
			if json.Unmarshal(line, &e) == nil && e.Event == "listening" {
				listening <- e.Port
			}
			_, _ = p.Write(line)
		}
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	select {
	case port := <-listening:
		p.addr = fmt.Sprintf("127.0.0.1:%d", port)
	case <-p.ended:
		t.Fatalf("the server has ended: %s", p.said())
	case <-time.After(time.Minute):
		t.Fatalf("the server does not listen: %s", p.said())
	}
	return p
}

// kill ends the server as if the machine were gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop ends the server as an operator does.
func (p *process) stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the server ended with %d: %s", code, p.said())
	}
}

// dial connects to the server for the rest of the test.
func (p *process) dial(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), p.addr, client.Options{})
	if err != nil {
		t.Fatalf("%v: %s", err, p.said())
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// status is the part of the answer to {"stat":true} that the tests use. docs/CLI.md describes its
// members.
type status struct {
	Head, Settled, Unsettled uint64
	Segments                 int
	Stalled                  string
	Archive                  struct {
		Through uint64
		Behind  struct{ Entries uint64 }
		Error   string
		Stopped bool
	}
	Archived struct {
		Through, Hits, Misses uint64
		Fetched, Cached       int64
	}
}

// stat asks the server for its status.
func stat(ctx context.Context, c *client.Client) (s status, err error) {
	text, err := c.Stat(ctx)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// await waits until want accepts the status of the server, at most two minutes.
func (p *process) await(t testing.TB, c *client.Client, what string, want func(s status) bool) status {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s, err := stat(t.Context(), c)
		if err != nil {
			t.Fatalf("stat: %v: %s", err, p.said())
		}
		if want(s) {
			return s
		}
		if time.Now().After(deadline) {
			text, _ := json.Marshal(s)
			t.Fatalf("waited in vain for this: %s; stat says %s; the server says %s", what, text, p.said())
		}
	}
}

// archived reports whether the bucket has all entries and nothing fails.
func archived(s status) bool {
	return s.Archive.Through == s.Head && s.Archive.Behind.Entries == 0 && s.Archive.Error == ""
}

// absent checks that nothing is at path.
func absent(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
}
