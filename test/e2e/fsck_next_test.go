package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tcp-log-server/fsck"
)

// TestFsckNext: the command printed at the end is the one to run, with the given
// settings, quoted for a shell.
func TestFsckNext(t *testing.T) {
	work := t.TempDir()
	dir, other := filepath.Join(work, "the log"), filepath.Join(work, "copy")
	appendTo(t, dir, "[1]\n[2]\n[3]\n")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, other} { // neither has the second entry
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

// TestFsckOtherLog: a copy of another log, or a directory without a log, is wrong usage.
func TestFsckOtherLog(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
	appendTo(t, dir, "[1]\n")
	appendTo(t, other, "[2]\n")
	if code, out := runCommand(t, "fsck", "--repair", "--from", other, dir); code != fsck.ExitUsage {
		t.Errorf("exit code %d, want %d\n%s", code, fsck.ExitUsage, out)
	}
}

// TestFsckNames: names of files, including that of the log's directory, cannot control the
// terminal or forge a line wherever they are printed, and the command to run next can be
// pasted.
func TestFsckNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's\n\x1b[31mred")
	appendTo(t, dir, "[1]\n[2]\n")
	for _, name := range []string{"a\nthe log is whole", "\x1b[2J", "\u009b2J", "bell\a", "txt.\u202egpj", "\xff"} {
		path := filepath.Join(dir, "segments", name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	table := filepath.Join(dir, "segments", "00000000000000000001.seg")
	if err := os.Truncate(table, 100); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args, says string
	}{
		{"fsck", `segments/a\u000athe log is whole: a file that does not belong`},
		{"fsck", `--dry-run $'`},
		{"fsck --json", `segments/a\nthe log is whole","`},
		{"fsck --json", `\u009b2J`},
		{"fsck --repair --dry-run", `red/segments/\xff: to lost+found`},
		{"fsck --repair --from /no/\x1b", `/no/\u001b: no such file`},
		{"backup /no/\x1b/x --data", `\u001b`},
		{"cat", `it's\n\u001b[31mred`},
		{"stat", `it's\u000a\u001b[31mred`},
		{"fsck --repair", `red/segments/\u001b[2J: to lost+found`},
	} {
		_, out, said := runBinary(t, append(strings.Fields(tt.args), dir)...)
		out += said
		if !strings.Contains(out, tt.says) {
			t.Errorf("%q says %q, want %q", tt.args, out, tt.says)
		}
		if i := strings.IndexFunc(strings.ReplaceAll(out, "\n", ""), func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }); i >= 0 {
			t.Errorf("%q prints what is not printable: %q", tt.args, out)
		}
		if strings.Contains(out, "\nthe log is whole") && tt.args != "fsck --repair" {
			t.Errorf("%q prints a line that a name has forged: %q", tt.args, out)
		}
	}
}
