package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/cli"
	"tcp-log-server/internal/legacy"
)

// originals installs the original servers once, as make interop installs its clients,
// and returns their directory. If that is not possible, the test is skipped.
var originals = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join("testdata", "original"))
	if err != nil {
		return "", err
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("there is no %s here", tool)
		}
	}
	installed, err := os.ReadFile(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err != nil || !bytes.Contains(installed, []byte("tcp-log-server-6")) {
		// Their own LevelDB bindings would be compiled in vain.
		install := exec.Command("npm", "ci", "--ignore-scripts", "--silent", "--no-audit", "--no-fund")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			return "", fmt.Errorf("npm ci: %v: %.300s", err, out)
		}
	}
	probe := exec.Command("node", "-e", "require('leveldown')")
	probe.Dir = dir
	if out, err := probe.CombinedOutput(); err != nil {
		return "", fmt.Errorf("leveldown does not load: %.300s", out)
	}
	return dir, nil
})

// startOriginal runs an original server in data until stop is called.
func startOriginal(t *testing.T, version, data string) (addr string, stop func()) {
	t.Helper()
	dir, err := originals()
	if err != nil {
		t.Skipf("the original servers cannot be run: %v", err)
	}
	cmd := exec.Command("node", "original.cjs", version, data)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { in.Close(); cmd.Wait() })
	t.Cleanup(func() { cmd.Process.Kill(); stop() })
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the original server %s does not start: %v", version, err)
	}
	return "127.0.0.1:" + strings.TrimSpace(port), stop
}

// writeOriginal appends entries to an original server.
func writeOriginal(t *testing.T, addr string, entries []string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	go func() {
		w := bufio.NewWriter(c)
		for i, e := range entries {
			fmt.Fprintf(w, "{\"id\":\"%d\",\"entry\":%s}\n", i+1, e)
		}
		w.Flush()
	}()
	replies := bufio.NewReader(c)
	for i := range entries {
		line, err := replies.ReadString('\n')
		if err != nil || !strings.Contains(line, fmt.Sprintf(`"index":%d`, i+1)) {
			t.Fatalf("the original answers %q, %v", line, err)
		}
	}
}

// manyEntries returns enough entries for LevelDB keys of two and three bytes. Some are
// equal, and this log writes some in another form.
func manyEntries() (sent, stored []string) {
	for n := range 600 {
		sent = append(sent, fmt.Sprintf(`{"z":%d,"a":[1e2,"\u00e9"]}`, n/2))
		stored = append(stored, fmt.Sprintf(`{"a":[100,"é"],"z":%d}`, n/2))
	}
	sent[7], stored[7] = "null", "null"
	sent[8], stored[8] = "[[]]", "[[]]"
	return sent, stored
}

// TestImportOriginal imports from each version of the original, from its server and
// then from its directories.
func TestImportOriginal(t *testing.T) {
	if testing.Short() {
		t.Skip("runs servers of node")
	}
	sent, stored := manyEntries()
	var want strings.Builder
	for i, e := range stored {
		fmt.Fprintf(&want, "{\"index\":%d,\"entry\":%s}\n", i+1, e)
	}
	for _, version := range []string{"6", "9", "10"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			addr, stop := startOriginal(t, version, data)
			writeOriginal(t, addr, sent)

			server := start(t, "DATA="+filepath.Join(t.TempDir(), "data"))
			code, out, errs := runBinary(t, "import", addr, "--into", server.addr)
			if code != 0 || out != "" || !strings.Contains(errs, "600 imported and read back") {
				t.Errorf("from the server: exit code %d, %q, %q", code, out, errs)
			}
			if _, got, _ := runBinary(t, "read", server.addr); got != want.String() {
				t.Errorf("from the server: %.200q, want %.200q", got, want.String())
			}
			// Again, with nothing left to import.
			if code, _, errs := runBinary(t, "import", addr, "--into", server.addr); code != 0 || !strings.Contains(errs, "0 imported and read back, 600 already there") {
				t.Errorf("a second time: exit code %d, %q", code, errs)
			}

			if code, _, errs := runBinary(t, "import", "--dry-run", data); code != cli.ExitFailure || !strings.Contains(errs, "is running") {
				t.Errorf("beside the running server: exit code %d, %q", code, errs)
			}
			stop()
			before := treeOf(t, data)
			second := start(t, "DATA=memory")
			if code, _, errs := runBinary(t, "import", data, "--into", second.addr); code != 0 {
				t.Errorf("from the directories: exit code %d, %q", code, errs)
			}
			if _, got, _ := runBinary(t, "read", second.addr); got != want.String() {
				t.Errorf("from the directories: %.200q, want %.200q", got, want.String())
			}
			if after := treeOf(t, data); after != before {
				t.Error("the import has changed the directories")
			}
		})
	}
}

// TestOriginalGeneration: the import recognizes each version.
func TestOriginalGeneration(t *testing.T) {
	if testing.Short() {
		t.Skip("runs servers of node")
	}
	for version, want := range map[string]legacy.Generation{"6": legacy.Streaming, "9": legacy.Pulling, "10": legacy.Pulling} {
		addr, stop := startOriginal(t, version, t.TempDir())
		s, err := legacy.NewServer(context.Background(), addr)
		if err != nil || s.Generation() != want {
			t.Errorf("version %s is taken for %v (%v), want %v", version, s.Generation(), err, want)
		}
		for e, err := range s.Read(context.Background(), 1) {
			t.Errorf("an empty log of version %s has %v, %v", version, e, err)
		}
		stop()
	}
}

// treeOf returns every name and every byte below dir, except LevelDB's own log.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", path, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// runBinary runs the built program and returns its exit code and its output.
func runBinary(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
