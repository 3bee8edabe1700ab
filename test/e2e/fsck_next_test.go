package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/fsck"
)

// TestFsckNext: the command that is printed at the end is the one to run, with the
// settings that were given, in words that a shell takes as they are.
func TestFsckNext(t *testing.T) {
	work := t.TempDir()
	dir, other := filepath.Join(work, "the log"), filepath.Join(work, "copy")
	appendTo(t, dir, "[1]\n[2]\n[3]\n")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, other} { // nobody has the second entry
		path := filepath.Join(d, "segments", "00000000000000000001.seg")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[strings.Index(string(b), "[2]")+1] = '7'
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ args, next string }{
		{"", "--repair --dry-run"},
		{"--loose-max 50", "--repair --loose-max 50 --dry-run"},
		{"--repair --dry-run --loose-max 50", "--repair --loose-max 50 --from COPY"},
		{"--repair --dry-run --loose-max 50 --accept-loss", "--repair --loose-max 50 --accept-loss"},
		{"--repair --dry-run --from " + other, "--repair --from " + other + " --accept-loss"},
		{"--repair --loose-max 50", "--repair --loose-max 50 --from COPY"},
		{"--repair --loose-max 50 --from " + other, "--repair --loose-max 50 --from " + other + " --accept-loss"},
	} {
		code, out := runCommand(t, append(append([]string{"fsck"}, strings.Fields(tt.args)...), dir)...)
		if want := "\nnext: tcp-log-server fsck " + tt.next + " '" + dir + "'\n"; code != fsck.ExitErrors || !strings.Contains(out, want) {
			t.Errorf("fsck %s: exit code %d, want %q in\n%s", tt.args, code, want, out)
		}
	}
}

// TestFsckOtherLog: a copy of another log is wrong usage, as no copy at all is.
func TestFsckOtherLog(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
	appendTo(t, dir, "[1]\n")
	appendTo(t, other, "[2]\n")
	if code, out := runCommand(t, "fsck", "--repair", "--from", other, dir); code != fsck.ExitUsage {
		t.Errorf("exit code %d, want %d\n%s", code, fsck.ExitUsage, out)
	}
}
