// Package cluster runs clusters of the built server, makes their processes, disks and networks fail,
// and compares the log afterwards with what its clients were told. docs/RELIABILITY.md lists the
// faults, with the test of each.
//
// Every node is a process, and reaches the others through proxies of the test, so any of them can be
// cut off from any other in either direction. CLUSTER_ROUNDS is the number of times that each fault
// happens, 1 by default.
package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait: only failures take so long. An append whose outcome is unknown waits
// for GIVE_UP, and JetStream takes up to ten seconds to elect a leader.
const patience = 90 * time.Second

// scratch is the directory of the built programs.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "cluster"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// root is the source of the server.
const root = "../.."

// serverBinary is the unchanged server.
var serverBinary = sync.OnceValues(func() (string, error) { return build("tcp-log-server") })

// build builds the server with the go flags args.
func build(name string, args ...string) (string, error) { return buildPackage(name, ".", args...) }

// buildPackage builds a program of the server's module, or of one that it requires.
func buildPackage(name, pkg string, args ...string) (string, error) {
	path := filepath.Join(scratch, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, args...), pkg)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// buildAltered builds the server with one change to one file: it replaces a text that occurs
// once.
func buildAltered(name, file, text, instead string) (string, error) {
	path, err := filepath.Abs(filepath.Join(root, file))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), text); n != 1 {
		return "", fmt.Errorf("%s has %q %d times, want once", file, text, n)
	}
	altered, overlay := filepath.Join(scratch, name+".go"), filepath.Join(scratch, name+".json")
	if err := os.WriteFile(altered, []byte(strings.Replace(string(source), text, instead, 1)), 0o600); err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{path: altered}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		return "", err
	}
	return build(name, "-overlay", overlay)
}

// rounds is CLUSTER_ROUNDS.
func rounds(t testing.TB) int {
	t.Helper()
	s := os.Getenv("CLUSTER_ROUNDS")
	if s == "" {
		return 1
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("CLUSTER_ROUNDS is %q, want a number from 1 on", s)
	}
	return n
}

// long reports whether this is a long run, which leaves nothing out.
func long(t testing.TB) bool { return rounds(t) > 1 }

// eventually polls until ok returns true. what describes the condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !poll(patience, ok) {
		t.Fatalf("after %v still not: %s", patience, what)
	}
}

// poll polls ok for at most limit and reports whether it returned true.
func poll(limit time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
