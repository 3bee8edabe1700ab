package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tcp-log-server/cli"
)

// TestWrongUsage: a wrong command line gets a one-line error that uses the names in
// the help, and the exit code ExitUsage.
func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f.ndjson")
	if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		setting, args, says string
	}{
		{"", "help foo", "there is no command \"foo\", want one of append, read, tail, fsck, backup, restore, stat, cat, import, replica, promote, cluster, token, version, completion, man; see `tcp-log-server --help`"},
		{"", "read --from 0", `invalid value "0" for flag --from: from is 0, want 1 or more; see`},
		{"", "read -from x", `invalid value "x" for flag --from, want a whole number, 1 or more; see`},
		{"", "cat --count=-1", `invalid value "-1" for flag --count, want a whole number, 1 or more; see`},
		{"", "tail -n x", `invalid value "x" for flag -n, want a whole number, 0 or more; see`},
		{"", "fsck --through 0", "through is 0, want 1 or more; see"},
		{"", "read --form 1", "there is no flag --form (did you mean --from?); see `tcp-log-server read --help`"},
		{"", "read -x", "there is no flag -x; see"},
		{"", "tail -n x", `invalid value "x" for flag -n, want a whole number`},
		{"", "--port x", `invalid value "x" for flag --port, want a whole number; see`},
		{"", "stat --wal X localhost:1", "--wal needs the directory of a log as the argument; this would ask a server; see"},
		{"WAL=Y", "stat --wal X", "--wal needs the directory of a log"},
		{"", "stat --blobs X :1", "--blobs needs the directory of a log"},
		{"", "replica s3://backups/log", "s3://backups/log is the URL of an archive: name the server to copy, and the archive with --from; see"},
		{"", "stat " + file, `f.ndjson" is a file, not an address or the directory of a log; see`},
		{"", "stat f.ndjson", `"f.ndjson" is a file, not an address or the directory of a log; see`},
		{"", "read f.ndjson", `"f.ndjson" is not an address but a file; see`},
		{"", "append f.ndjson", `"f.ndjson" is not an address but a file; entries of a file come from standard input: < FILE; see`},
		{"", "read ./sub", `"./sub" is a directory, not an address; to print the log in it: tcp-log-server cat ./sub; see`},
		{"", "tail sub", `"sub" is a directory, not an address; to print the log in it: tcp-log-server cat sub; for a host of that name write sub:8089; see`},
		{"", "append sub [1]", `"sub" is a directory, not an address; an entry is an object, an array or null; see`},
		{"", "append https://log.example:1/ [1]", `"https://log.example:1/" is a URL, not an address; write log.example:1; an entry is`},
		{"", "stat http://log.example", `"http://log.example" is a URL, not an address; write log.example; see`},
		{"HOST=localhost:9", "read", `HOST is "localhost:9", want a host without a port: set it to localhost and PORT to 9; see`},
		{"TCP_LOG_HOST=localhost:9", "read", `TCP_LOG_HOST is "localhost:9", want a host without a port: set it to localhost and PORT to 9; see`},
		{"", "append -", `"-" is not an address; entries of a file come from standard input: < FILE; see`},
		{"", "apend {}", "there is no command \"apend\" (did you mean append?); see"},
		{"", "fcsk", "there is no command \"fcsk\" (did you mean fsck?); see"},
		{"", "serve", "there is no command \"serve\"; the server runs if no command is named; see"},
		{"", "--prot 1", "there is no flag --prot (did you mean --port?); see `tcp-log-server --help`"},
		{"", "tail --folow", "there is no flag --folow (did you mean --follow?); see"},
		{"", "read no*host", `"no*host" is not an address, want host:port, host or :port; see`},
		{"", "stat 1.2.3", `"1.2.3" is not an address, want host:port, host or :port; see`},
		{"", "append 42", `"42" is not an address; for a port write :42; an entry is an object, an array or null; see`},
		{"", "append a:b", `the port of "a:b" is "b", want 1 to 65535; an entry is an object, an array or null; see`},
		{"", "read -5", `"-5" is neither a flag nor an address; see`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			cmd := command(t, []string{tt.setting}, strings.Fields(tt.args)...)
			cmd.Dir = dir
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != cli.ExitUsage {
				t.Errorf("exit code is %d, want %d", code, cli.ExitUsage)
			}
			checkErrors(t, string(out), []string{tt.says})
		})
	}
	for _, command := range []string{"read", "tail", "stat", "cat", "fsck"} {
		if r := play(t, nil, "", command, ""); r.code != cli.ExitUsage || !strings.Contains(r.err, " is empty") {
			t.Errorf("%s of an empty argument: %+v", command, r)
		}
	}
	// HOST is a name that other programs set too.
	conda := []string{"HOST=x86_64-conda-linux-gnu.invalid", "DATA=memory"}
	for _, args := range [][]string{{}, {"read"}, {"append", "[1]"}} {
		r := play(t, conda, "", args...)
		if r.code != cli.ExitFailure || !strings.Contains(r.err, "x86_64-conda-linux-gnu.invalid") || !strings.Contains(r.err, "; it is from the variable HOST, which other programs set too: set TCP_LOG_HOST, which wins") {
			t.Errorf("%q with the HOST of conda: %+v", args, r)
		}
	}
	d := start(t, append(conda, "TCP_LOG_HOST=127.0.0.1", "TCP_LOG_DATA="+filepath.Join(dir, "data"))...)
	if r := play(t, append(conda, "TCP_LOG_HOST=127.0.0.1", "TCP_LOG_PORT="+d.addr[len("127.0.0.1:"):]), "", "append", "[1]"); r.code != 0 || r.out != "1\n" {
		t.Errorf("append with TCP_LOG_HOST: %+v", r)
	}
	// A variable that is meant for the server is not wrong usage.
	if r := play(t, []string{"WAL=Y", "BLOBS=Z"}, "", "stat", "localhost:1"); r.code != cli.ExitFailure || !strings.Contains(r.err, "connection refused") {
		t.Errorf("stat beside the server's settings: %+v", r)
	}
	if r := play(t, nil, "", "tail", "-h", "localhost:1"); r.code != 0 || !strings.HasPrefix(r.out, "NAME:\n   tcp-log-server tail - ") {
		t.Errorf("the help of tail beside an address: %+v", r)
	}
}

// TestSingular: the commands use the singular for a count of one.
func TestSingular(t *testing.T) {
	work := t.TempDir()
	data, copied := filepath.Join(work, "data"), filepath.Join(work, "copy")
	d := start(t, "DATA="+data)
	if r := play(t, at(d.addr), "[1]", "append"); r.code != 0 {
		t.Fatalf("append: %+v", r)
	}
	deadline := time.Now().Add(20 * time.Second) // for the entry to be settled
	for !strings.Contains(play(t, at(d.addr), "", "stat").out, "loose     1 blob file\n") && time.Now().Before(deadline) {
	}
	for _, tt := range []struct{ args, says string }{
		{"stat", "clients   0 connections besides this one, 0 of them read\n"},
		{"stat", "appended  1 entry, "},
		{"stat", "loose     1 blob file\n"},
		{"stat " + data, "loose     1 entry in 1 blob file, "},
		{"backup --data " + data + " " + copied, "(1 new), 1 segment and 1 blob added: "},
	} {
		if r := play(t, at(d.addr), "", strings.Fields(tt.args)...); r.code != 0 || !strings.Contains(r.out, tt.says) {
			t.Errorf("%s prints %+v, want %q", tt.args, r, tt.says)
		}
	}
}

// TestHelp: the help of each command fits into 80 columns and shows its usage and flags.
func TestHelp(t *testing.T) {
	names := []string{""}
	root := play(t, nil, "", "--help").out
	_, list, _ := strings.Cut(root, "\nCOMMANDS:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.SplitSeq(list, "\n") {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "   "), " "); ok && name != "" {
			names = append(names, name)
		}
	}
	if len(names) < 12 {
		t.Errorf("the help lists %q", names)
	}
	for _, name := range names {
		r := play(t, nil, "", append(strings.Fields(name), "--help")...)
		if r.code != 0 || !strings.Contains(r.out, "\nUSAGE:\n   tcp-log-server "+name) || !strings.Contains(r.out, "\nFLAGS:\n") {
			t.Errorf("%s --help: %+v", name, r)
		}
		for line := range strings.SplitSeq(r.out, "\n") {
			if n := utf8.RuneCountInString(line); n > 80 {
				t.Errorf("%s --help has a line of %d columns: %s", name, n, line)
			}
		}
	}
	if !strings.Contains(root, "[flags]                  run the server\n") {
		t.Errorf("the help does not say that no command means the server:\n%s", root)
	}
}

// TestEmptyLog: the digest of an empty log names no entries.
func TestEmptyLog(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	start(t, "DATA="+data).stop(t, os.Interrupt)
	if r := play(t, nil, "", "fsck", data); r.code != 0 || !strings.Contains(r.out, " (no entries)\n") {
		t.Errorf("fsck of an empty log: %+v", r)
	}
}

// TestNoLog: if there is no log, a command says so briefly, and what to name.
func TestNoLog(t *testing.T) {
	for args, says := range map[string]string{
		"stat ./nothing":                 "stat: there is no log in ./nothing; name its directory: tcp-log-server stat DIR\n",
		"cat ./nothing":                  "cat: there is no log in ./nothing; name its directory: tcp-log-server cat DIR\n",
		"fsck ./nothing":                 "fsck: ./nothing holds no log: it does not exist; name its directory: tcp-log-server fsck DIR\n",
		"backup --data ./nothing copied": "backup: there is no log in ./nothing; name its directory with --data\n",
	} {
		if r := play(t, nil, "", strings.Fields(args)...); r.code == 0 || r.err != "tcp-log-server: "+says {
			t.Errorf("%s: %+v, want %s", args, r, says)
		}
	}
}

// TestBackupHelp: only a log on disk can be backed up, so the help does not offer memory.
func TestBackupHelp(t *testing.T) {
	r := play(t, nil, "", "backup", "--help")
	if r.code != 0 || strings.Contains(r.out, "memory") || !strings.Contains(r.out, "of the log to copy") {
		t.Errorf("backup --help prints %+v", r)
	}
}
