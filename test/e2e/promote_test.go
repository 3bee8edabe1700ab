package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tcp-log-server/cli"
	"tcp-log-server/segment"
)

// TestPromote: no server starts on a replica. Once promoted, it is a log that takes appends, and
// the fenced source takes none, even after a restart.
func TestPromote(t *testing.T) {
	dir := t.TempDir()
	source, replica := filepath.Join(dir, "source"), filepath.Join(dir, "replica")
	old := start(t, "DATA="+source)
	appended := func(addr, entry, index string) {
		t.Helper()
		if r := play(t, at(addr), "", "append", entry); r.code != 0 || r.out != index+"\n" {
			t.Fatalf("append: %+v, want index %s", r, index)
		}
	}
	appended(old.addr, "[1]", "1")
	appended(old.addr, "[2]", "2")
	// A backup that is marked as a replica is one.
	if r := play(t, nil, "", "backup", "--data", source, replica); r.code != 0 {
		t.Fatalf("backup: %+v", r)
	}
	if err := os.Remove(filepath.Join(replica, segment.BackupMark)); err != nil {
		t.Fatal(err)
	}
	if err := segment.WriteReplica(replica, segment.Replica{Source: old.addr}); err != nil {
		t.Fatal(err)
	}
	stat := func(dir, says string) {
		t.Helper()
		if r := play(t, nil, "", "stat", "--json", dir); r.code != 0 || !strings.Contains(r.out, says) {
			t.Errorf("stat of %s: %+v, want %s", dir, r, says)
		}
	}
	stat(replica, `"epoch":1,"replica_of":"`+old.addr+`"`)
	appended(old.addr, "[3]", "3")

	refused := launch(t, "DATA="+replica)
	for range refused.events {
	}
	if err := refused.cmd.Wait(); err == nil || !strings.Contains(refused.stderr.String(), "is a replica of "+old.addr+": run it with `tcp-log-server replica`, or make it an independent log by `tcp-log-server promote "+replica) {
		t.Errorf("a server started on a replica: %v, %s", err, refused.stderr.String())
	}
	for _, args := range [][]string{{"cat", "--entry", replica}, {"fsck", replica}} {
		if r := play(t, nil, "", args...); r.code != 0 || strings.Contains(r.out+r.err, "stray") {
			t.Errorf("%v of a replica: %+v", args, r)
		}
	}

	// No server listens there: the replica is promoted anyway, and the command can be repeated.
	r := play(t, nil, "", "promote", replica, "--fence", "localhost:1")
	if r.code != cli.ExitFailure || !strings.Contains(r.out, "epoch 2 begins with entry 3") ||
		!strings.Contains(r.err, "has been promoted, but localhost:1 was not told: ") || !strings.Contains(r.err, "run this command again") {
		t.Errorf("promote with a source that cannot be reached: %+v", r)
	}
	tokens := filepath.Join(dir, "tokens")
	writeTokens(t, tokens, "both")
	guarded := start(t, "DATA=memory", "TOKENS="+tokens)
	if r := play(t, nil, "", "promote", "--fence", guarded.addr, replica); r.code != cli.ExitFailure || !strings.Contains(r.err, "unauthorized; the server requires a token: name one with --token-file") {
		t.Errorf("promote without the token that the source asks for: %+v", r)
	}
	appended(old.addr, "[4]", "4")
	r = play(t, nil, "", "promote", "--fence", old.addr, replica)
	if r.code != 0 || r.out != old.addr+": fenced: it takes no more appends\n" {
		t.Errorf("promote again: %+v", r)
	}
	if r := play(t, nil, "", "promote", replica); r.code != cli.ExitFailure || !strings.Contains(r.err, "is neither a replica nor fenced: a server takes appends there as it is") {
		t.Errorf("promote again without --fence: %+v", r)
	}
	for range 2 {
		if r := play(t, at(old.addr), "", "append", "[5]"); r.code == 0 || !strings.Contains(r.out+r.err, "not stored: fenced: a replica of this log was promoted") {
			t.Errorf("append to the old source: %+v", r)
		}
		if r := play(t, at(old.addr), "", "read", "--entry"); r.code != 0 || r.out != "[1]\n[2]\n[3]\n[4]\n" {
			t.Errorf("read of the old source: %+v", r)
		}
		old.stop(t, syscall.SIGTERM)
		old = start(t, "DATA="+source)
	}

	stat(replica, `"epoch":2}`)
	stat(source, `"fenced":{"epoch":2,"by":`)
	served := start(t, "DATA="+replica)
	appended(served.addr, `["new"]`, "3")
	if r := play(t, nil, "", "promote", "--fence", served.addr, source); r.code == 0 || !strings.Contains(r.err, "locked") {
		t.Errorf("promote of a log that is open: %+v", r)
	}
	served.stop(t, syscall.SIGTERM)
	old.stop(t, syscall.SIGTERM)
	// The old source can continue too, as a separate log of the same id.
	if r := play(t, nil, "", "promote", source); r.code != 0 || !strings.Contains(r.out, source+": was fenced, and is an independent log now: its head is 4, and epoch 3 begins with entry 5") {
		t.Errorf("promote of the old source: %+v", r)
	}
}

// TestPromoteUsage: what cannot be promoted is left alone.
func TestPromoteUsage(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"promote"}, cli.ExitUsage, "want one argument: the directory of the replica"},
		{[]string{"promote", dir, dir}, cli.ExitUsage, "want one argument"},
		{[]string{"promote", dir, "--fence", "a:b"}, cli.ExitUsage, "the port of"},
		{[]string{"promote", dir}, cli.ExitFailure, "there is no log in " + dir + ": is the name right?"},
		{[]string{"promote", dir, "--fence", "localhost:1"}, cli.ExitFailure, "there is no log in " + dir},
		{[]string{"promote", filepath.Join(dir, "none")}, cli.ExitFailure, "is the name right?"},
		{[]string{"promote", "memory"}, cli.ExitFailure, "neither a replica nor fenced"},
	} {
		if r := play(t, nil, "", tt.args...); r.code != tt.code || !strings.Contains(r.err, tt.says) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%v: %+v, want code %d and %q", tt.args, r, tt.code, tt.says)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("there are %v, %v", files, err)
	}
}
