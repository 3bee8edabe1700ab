package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
)

// runCommand runs the program with args and returns its exit code and its
// output.
func runCommand(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	code, out, _ = runBinary(t, args...)
	return code, out
}

// TestFsckCommand runs the command on a whole store, a damaged one, and none: exit
// codes, the objects of --json, the last lines.
func TestFsckCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	config := engine.NewConfig(dir)
	config.LooseMax = 0
	log, err := engine.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	log.Append([]byte("{\"a\":1}\n{\"a\":2}\n"), 2, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	if code, out := runCommand(t, "fsck", "--repair", dir); code != fsck.ExitFailed {
		t.Errorf("a repair beside the daemon: exit code %d\n%s", code, out)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	code, out := runCommand(t, "fsck", dir)
	if code != fsck.ExitClean || !strings.HasSuffix(out, "the log is whole\n") {
		t.Errorf("whole: exit code %d\n%s", code, out)
	}
	for _, wrong := range [][]string{{"--nonsense"}, {"a", "b"}, {"--dry-run", dir}, {"--repair", "--quick", dir}, {"--through", "3", dir}, {"memory"}} {
		if code, out := runCommand(t, append([]string{"fsck"}, wrong...)...); code != fsck.ExitUsage {
			t.Errorf("fsck %v: exit code %d, want %d\n%s", wrong, code, fsck.ExitUsage, out)
		}
	}
	for _, none := range []string{filepath.Join(dir, "nothing"), t.TempDir()} {
		if code, out := runCommand(t, "fsck", none); code != fsck.ExitFailed {
			t.Errorf("no log: exit code %d, want %d\n%s", code, fsck.ExitFailed, out)
		}
	}

	path := filepath.Join(dir, "segments", "00000000000000000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte(`{"a":2}`))] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out = runCommand(t, "fsck", dir)
	if code != fsck.ExitErrors || !strings.Contains(out, "next: tcp-log-server fsck --repair --dry-run "+dir+"\n") {
		t.Errorf("damaged: exit code %d\n%s", code, out)
	}
	code, out = runCommand(t, "fsck", "--json", dir)
	types := map[string]int{}
	for line := range strings.Lines(out) {
		var object struct {
			Type, Kind, Severity string
			Errors               int
		}
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		types[object.Type]++
		if object.Type == "finding" && object.Kind != string(fsck.BatchDamaged) {
			t.Errorf("found %s", line)
		}
	}
	if code != fsck.ExitErrors || types["finding"] != 1 || types["summary"] != 1 || len(types) != 2 {
		t.Errorf("--json: exit code %d, %v\n%s", code, types, out)
	}
	if code, out := runCommand(t, "fsck", "--repair", dir); code != fsck.ExitErrors {
		t.Errorf("repair: exit code %d\n%s", code, out)
	}
	code, out = runCommand(t, "fsck", "--repair", "--accept-loss", dir)
	if code != fsck.ExitCorrected || !strings.HasSuffix(out, "1 step made; 0 entries given up\n") {
		t.Errorf("repair with the loss accepted: exit code %d\n%s", code, out)
	}
	lost := 0
	if log, err = engine.Open(config); err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	err = log.Read(context.Background(), 1, 2, func(_ uint64, count int, _ []byte, _ int64, err error) error {
		if err != nil {
			lost += count
		}
		return nil
	})
	if err != nil || lost != 1 {
		t.Errorf("%d entries are lost (%v), want 1", lost, err)
	}
}

// TestFsckRefuses: arguments that make no sense are refused with one line.
func TestFsckRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	appendTo(t, dir, "[1]\n")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{""}, "directory is empty"},
		{[]string{"--through", "0", dir}, "through is 0"},
		{[]string{"--repair", "--from", "", dir}, "--from is empty"},
		{[]string{"--repair", "--from", dir, dir}, "is the directory that is to be repaired"},
		{[]string{"--repair", "--from", link, dir}, "is the directory that is to be repaired"},
		{[]string{"--repair", "--from", link + "x", dir}, "no such file"},
		{[]string{"--repair", "--from", path, dir}, "is not a directory"},
	} {
		var stderr bytes.Buffer
		cmd := exec.Command(path, append([]string{"fsck"}, tt.args...)...)
		cmd.Stderr = &stderr
		_ = cmd.Run()
		if text := stderr.String(); cmd.ProcessState.ExitCode() != fsck.ExitUsage || strings.Count(text, "\n") != 1 || !strings.Contains(text, tt.says) {
			t.Errorf("fsck %q: %v, %q, want one line with %q", tt.args, cmd.ProcessState, text, tt.says)
		}
	}
}

// appendTo makes a settled log with lines in dir, without blobs.
func appendTo(t *testing.T, dir, lines string) {
	t.Helper()
	config := engine.NewConfig(dir)
	config.LooseMax, config.SettleEvery = 0, time.Millisecond
	log, err := engine.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	done := make(chan error, 1)
	n := strings.Count(lines, "\n")
	log.Append([]byte(lines), n, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); log.Stats().Settled < log.Stats().Head; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log does not settle")
		}
	}
}

// TestFsckGivesUp: if the end of the last segment is gone, the dry run says how many
// entries a repair would give up, and that a copy may have them; the copy restores
// them.
func TestFsckGivesUp(t *testing.T) {
	work := t.TempDir()
	dir, other := filepath.Join(work, "data"), filepath.Join(work, "copy")
	appendTo(t, dir, "[1]\n[2]\n[3]\n")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	_, want := runCommand(t, "fsck", other)
	if err := os.Truncate(filepath.Join(dir, "segments", "00000000000000000001.seg"), 64); err != nil {
		t.Fatal(err)
	}
	code, out := runCommand(t, "fsck", "--repair", "--dry-run", dir)
	if code != fsck.ExitErrors || !strings.Contains(out, "3 entries would be given up") || !strings.Contains(out, "next: tcp-log-server fsck --repair --from COPY "+dir+"\n") {
		t.Errorf("dry run: exit code %d\n%s", code, out)
	}
	code, out = runCommand(t, "fsck", "--repair", "--dry-run", "--from", other, dir)
	if code != fsck.ExitErrors || strings.Contains(out, "given up") || !strings.Contains(out, "next: tcp-log-server fsck --repair --from "+other+" "+dir+"\n") {
		t.Errorf("dry run with a copy: exit code %d\n%s", code, out)
	}
	code, out = runCommand(t, "fsck", "--repair", dir)
	if code != fsck.ExitCorrected || !strings.HasSuffix(out, "3 entries given up after index 0: the index had their records, but they had no content\n") {
		t.Errorf("repair: exit code %d\n%s", code, out)
	}
	code, out = runCommand(t, "fsck", "--repair", "--from", other, dir)
	if code != fsck.ExitClean {
		t.Errorf("repair with a copy: exit code %d\n%s", code, out)
	}
	_, got := runCommand(t, "fsck", dir)
	if digestLine(got) != digestLine(want) || digestLine(got) == "" {
		t.Errorf("after it:\n%swant\n%s", got, want)
	}
}

// digestLine returns the line of a summary with the digest.
func digestLine(summary string) string {
	for line := range strings.Lines(summary) {
		if strings.HasPrefix(line, "digest ") {
			return line
		}
	}
	return ""
}
