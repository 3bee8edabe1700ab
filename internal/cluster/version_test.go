//go:build !nocluster

package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// TestDowngrade: a directory names the version of NATS that last wrote it, and an earlier one is refused
// with advice.
func TestDowngrade(t *testing.T) {
	dir := t.TempDir()
	config := Config{Members: []Member{{"a", "127.0.0.1:1"}}, Name: "a", Dir: dir}
	n, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	path := filepath.Join(dir, versionFile)
	if b, err := os.ReadFile(path); err != nil || string(b) != natsserver.VERSION+"\n" {
		t.Fatalf("%s is %q, %v", path, b, err)
	}
	write := func(version string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, later := range []string{"99.0.0\n", "2.100.0\n", "2.15.100-RC.1\n"} {
		write(later)
		_, err := Start(config)
		if !errors.Is(err, ErrDowngrade) || !strings.Contains(err.Error(), "nats-server "+strings.TrimSpace(later)+", and this program has "+natsserver.VERSION) {
			t.Errorf("a start on a directory of %q: %v", later, err)
		}
		if b, _ := os.ReadFile(path); string(b) != later {
			t.Errorf("the refused start has left %q, want %q", b, later)
		}
	}
	write("what?\n")
	if _, err := Start(config); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a start on a directory of an unknown version: %v", err)
	}
	for _, earlier := range []string{"2.12.0\n", "1.200.7\n", natsserver.VERSION + "-RC.1\n"} {
		write(earlier)
		n, err := Start(config)
		if err != nil {
			t.Fatalf("a start on a directory of %q: %v", earlier, err)
		}
		n.Close()
		if b, _ := os.ReadFile(path); string(b) != natsserver.VERSION+"\n" {
			t.Errorf("after %q it is %q", earlier, b)
		}
	}
}
