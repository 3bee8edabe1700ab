// Package faults breaks what is around the server, and shows what becomes of the
// log: docs/RELIABILITY.md has the faults, and names the test of each.
//
// The tests run the built program as a whole process. They need a Linux machine
// and, most of them, root, strace or loop devices: what is missing is named where
// a test is skipped. FAULT_ROUNDS is the length of the run, 20 when it is not set.
package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	// shortRun is FAULT_ROUNDS where it is not set.
	shortRun = 20
	// patience bounds every wait: only a failure takes as long.
	patience = 60 * time.Second
)

// scratch is where the built programs lie, and all that is not a test's own.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "faults"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// tree is the source of the server: FAULT_TREE, or what this module lies in.
func tree() string {
	if dir := os.Getenv("FAULT_TREE"); dir != "" {
		return dir
	}
	return "../.."
}

// serverBinary is the server, built with the settings of tuning_faults.go.
var serverBinary = sync.OnceValues(func() (string, error) { return build(tree(), "tcp-log-server") })

// build builds the server from the tree at root with the go flags args.
func build(root, name string, args ...string) (string, error) {
	path := filepath.Join(scratch, name)
	cmd := exec.Command("go", append(append([]string{"build", "-tags", "faults", "-o", path}, args...), ".")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build in %s: %w\n%s", root, err, out)
	}
	return path, nil
}

// program is the path of the server's binary.
func program(t testing.TB) string {
	t.Helper()
	path, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// rounds is FAULT_ROUNDS.
func rounds(t testing.TB) int {
	t.Helper()
	s := os.Getenv("FAULT_ROUNDS")
	if s == "" {
		return shortRun
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("FAULT_ROUNDS is %q, want a number from 1 on", s)
	}
	return n
}

// scaled is how often to do what a short run does n times: once at least.
func scaled(t testing.TB, n int) int {
	t.Helper()
	return max(1, n*rounds(t)/shortRun)
}

// long reports whether the run is one that leaves nothing out.
func long(t testing.TB) bool { return rounds(t) >= 10*shortRun }

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func needTool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s", name)
		}
	}
}

// needStrace skips where strace is missing or may not trace.
func needStrace(t testing.TB) {
	t.Helper()
	needTool(t, "strace")
	if out, err := exec.Command("strace", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace does not work here: %v: %s", err, out)
	}
}

// needLoop skips where an image cannot be mounted.
func needLoop(t testing.TB) {
	t.Helper()
	needRoot(t)
	needTool(t, "losetup", "mkfs.ext4", "mount", "umount")
	if out, err := exec.Command("losetup", "--find").CombinedOutput(); err != nil {
		t.Skipf("needs a loop device: %s", out)
	}
}

// needTmpfs skips where a tmpfs cannot be mounted.
func needTmpfs(t testing.TB) {
	t.Helper()
	needRoot(t)
	needTool(t, "mount", "umount")
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("needs to mount a tmpfs: %s", out)
	}
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Fatalf("umount %s: %v: %s", dir, err, out)
	}
}

// run runs a command that has to succeed, and returns what it prints.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// eventually polls until ok returns true; what says what is waited for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !poll(patience, ok) {
		t.Fatalf("after %v still not: %s", patience, what)
	}
}

// poll polls for at most limit and reports whether ok has returned true.
func poll(limit time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// exitCode is the exit code of a command that was run, -1 for one that a signal
// ended.
func exitCode(t testing.TB, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return 0
}
