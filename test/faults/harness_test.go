// Package faults makes the environment of the server fail, and checks the log
// afterwards. docs/RELIABILITY.md lists the faults, with the test of each.
//
// The tests run the built program as a process. They need Linux and, most of them,
// root, strace or loop devices. A skipped test names what is missing. FAULT_ROUNDS is
// the length of the run, 20 by default.
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
	// shortRun is the default of FAULT_ROUNDS.
	shortRun = 20
	// patience bounds every wait: only failures take so long.
	patience = 60 * time.Second
)

// scratch is the directory of the built programs and other shared files.
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

// tree returns the source of the server: FAULT_TREE, or the tree of this module.
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

// scaled scales n, the number of times in a short run, to this run: at least once.
func scaled(t testing.TB, n int) int {
	t.Helper()
	return max(1, n*rounds(t)/shortRun)
}

// long reports whether this is a long run, which leaves nothing out.
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

// needStrace skips the test if strace is missing or may not trace.
func needStrace(t testing.TB) {
	t.Helper()
	needTool(t, "strace")
	if out, err := exec.Command("strace", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace does not work here: %v: %s", err, out)
	}
}

// needLoop skips the test if an image cannot be mounted.
func needLoop(t testing.TB) {
	t.Helper()
	needRoot(t)
	needTool(t, "losetup", "mkfs.ext4", "mount", "umount")
	if out, err := exec.Command("losetup", "--find").CombinedOutput(); err != nil {
		t.Skipf("needs a loop device: %s", out)
	}
}

// needTmpfs skips the test if a tmpfs cannot be mounted.
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

// run runs a command that must succeed, and returns its output.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// eventually polls until ok returns true. what describes the condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !poll(patience, ok) {
		t.Fatalf("after %v still not: %s", patience, what)
	}
}

// poll polls ok for at most limit and reports whether it returned true.
func poll(limit time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// exitCode returns the exit code of a command, or -1 if a signal ended it.
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
