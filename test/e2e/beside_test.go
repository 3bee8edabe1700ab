package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tcp-log-server/cli"
)

func TestSecondDaemon(t *testing.T) {
	data := t.TempDir()
	start(t, "DATA="+data)
	second := launch(t, "DATA="+data)
	if code := second.wait(t); code != cli.ExitFailure || !strings.HasSuffix(second.stderr.String(), ": "+data+": locked by another process: stop the other one, or name another directory\n") {
		t.Errorf("exit code is %d, error %q", code, second.stderr.String())
	}
}

// TestRepairBeside: a repair is refused while a server runs, whether LOCK exists or not. So is a
// repair of a log in other directories that shares its index or blobs.
func TestRepairBeside(t *testing.T) {
	data, wal, blobs := t.TempDir(), t.TempDir(), t.TempDir()
	start(t, "DATA="+data, "WAL="+wal, "BLOBS="+blobs)
	other := t.TempDir()
	for name, args := range map[string][]string{
		"LOCK":      {data},
		"no LOCK":   {data},
		"its WAL":   {"--wal", wal, other},
		"its BLOBS": {"--blobs", blobs, other},
	} {
		if name == "no LOCK" {
			os.Remove(filepath.Join(data, "LOCK"))
		}
		cmd := command(t, nil, append([]string{"fsck", "--repair"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "locked by another process") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestSharedIndex: two logs that share a directory by mistake would overwrite
// each other's records.
func TestSharedIndex(t *testing.T) {
	dir := t.TempDir()
	start(t, "DATA="+filepath.Join(dir, "a"), "WAL="+filepath.Join(dir, "wal"))
	second := launch(t, "DATA="+filepath.Join(dir, "b"), "WAL="+filepath.Join(dir, "wal"))
	if code := second.wait(t); code != cli.ExitFailure || strings.Count(second.stderr.String(), "\n") != 1 || !strings.Contains(second.stderr.String(), filepath.Join(dir, "wal")) {
		t.Errorf("exit code is %d, error %q", code, second.stderr.String())
	}
}

// TestSharedIndexOfOneStore: the directories' marks do not tell a log from its
// copy; the lock on the index does.
func TestSharedIndexOfOneStore(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	settings := []string{"WAL=" + filepath.Join(dir, "wal"), "BLOBS=" + filepath.Join(dir, "blobs")}
	d := start(t, append(settings, "DATA="+a)...)
	talk(t, d.addr, `{"id":"1","entry":{"a":1}}`+"\n")
	d.stop(t, syscall.SIGTERM)
	if err := os.CopyFS(b, os.DirFS(a)); err != nil {
		t.Fatal(err)
	}
	start(t, append(settings, "DATA="+a)...)
	second := launch(t, append(settings, "DATA="+b)...)
	if code := second.wait(t); code != cli.ExitFailure || !strings.Contains(second.stderr.String(), "two logs cannot share a directory") {
		t.Errorf("exit code is %d, error %q", code, second.stderr.String())
	}
}
