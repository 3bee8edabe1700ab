package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
)

// TestBackupKilled kills `backup` with -9 at random moments. Between two runs the
// log grows, seals, settles and removes segments. Each time the destination holds
// the earlier backup or the new one, and another run completes it. BACKUP_ROUNDS
// makes the test longer.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	work := inMemory(t)
	data, dest := filepath.Join(work, "data"), filepath.Join(work, "dest")
	seen := map[string]int{}
	before, took := "", 100*time.Millisecond
	for round := range setting(t, "BACKUP_ROUNDS", 24) {
		if testing.Short() && round%12 >= 4 {
			continue // a first backup, linked and copied, and a later one, of either log
		}
		if round%6 == 0 {
			dest, before = filepath.Join(work, fmt.Sprint("dest", round)), "" // a first backup
		}
		growLog(t, data, round)
		after := mustDigest(t, data)
		args := []string{"backup", "--data", data, dest}
		if round%4 < 2 {
			args = []string{"backup", "--copy", "--data", data, dest}
		}
		// Half of the kills come after a random time, the others when the destination
		// changes.
		delay, watched := time.Duration(rand.Int64N(int64(took)*3/4)), ""
		if round%2 == 1 {
			delay = rand.N(delay/10+1) * time.Duration(rand.IntN(2))
			watched = filepath.Join(dest, []string{"segments", "wal/00000000000000000001", "incoming", "incoming/segments"}[rand.IntN(4)])
		}
		start := time.Now()
		killed := runKilled(t, exec.Command(path, args...), watched, delay)
		ran := time.Since(start)
		var errs []fsck.Finding
		sum, err := fsck.Check(t.Context(), fsck.Options{Data: dest, OnFinding: func(f fsck.Finding) {
			if f.Severity == fsck.Error {
				errs = append(errs, f)
			}
		}})
		switch {
		case err == nil && len(errs) == 0 && sum.Digest == after:
			seen["new"]++
		case before == "":
			seen["none yet"]++
			if l, err := engine.Open(engine.NewConfig(copyOf(t, dest, work))); err == nil && (sum.Entries > 0 || len(errs) > 0) {
				l.Close()
				t.Errorf("round %d, after %v: a server starts on a first backup that was cut short: %+v, %+v", round, delay, sum, errs)
			}
		case err == nil && len(errs) == 0 && sum.Digest == before:
			seen["earlier"]++
		default:
			t.Fatalf("round %d, after %v: %v, %+v, digest is %s, want %s or %s", round, delay, err, errs, sum.Digest, before, after)
		}
		if !killed {
			seen["not killed"]++
		}
		start = time.Now()
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			t.Fatalf("round %d, after %v: another run: %v: %s", round, delay, err, out)
		}
		if killed {
			ran += time.Since(start)
		}
		took = (took + ran) / 2 // about what a whole run takes
		if got := mustDigest(t, dest); got != after {
			t.Fatalf("round %d, after %v: another run has not completed it: digest is %s, want %s", round, delay, got, after)
		}
		before = after
	}
	t.Logf("destinations after a kill: %v", seen)
}

// inMemory is a directory in memory, if the system has one: a kill is not a power
// cut, so the disk does not matter.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "backup-kill-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// growLog appends to the log in dir, in small segments. It keeps all segments in
// one round, and removes the settled ones in the next.
func growLog(t *testing.T, dir string, round int) {
	t.Helper()
	c := engine.NewConfig(dir)
	c.SegmentSize, c.SettleEvery, c.RemoveAfter, c.LooseMax = 8<<10, time.Millisecond, time.Hour, -1
	remove := round%2 == 1 && round < 12
	switch {
	case remove:
		c.RemoveAfter = time.Millisecond
	case round >= 12:
		c.LooseMax = 0
	}
	l, err := engine.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const batches, size = 20, 15
	done := make(chan error, batches)
	for i := range batches {
		var lines strings.Builder
		for n := range size {
			fmt.Fprintf(&lines, "{\"i\":%d,\"pad\":\"%0*d\",\"round\":%d}\n", i*size+n, n*9, 0, round)
		}
		l.Append([]byte(lines.String()), size, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	}
	for range batches {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); l.Stats().Settled < l.Stats().Head || remove && l.Stats().Segments > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log does not settle")
		}
	}
}

// runKilled runs cmd, kills it after the delay, and reports whether that ended it. The
// delay begins once the file at path has changed, or at once if path is "".
func runKilled(t *testing.T, cmd *exec.Cmd, path string, delay time.Duration) bool {
	t.Helper()
	was, _ := os.Stat(path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	poll := time.NewTicker(50 * time.Microsecond)
	defer poll.Stop()
	var late <-chan time.Time
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			return false
		case <-late:
			_ = cmd.Process.Kill() // it may end by itself at this moment
			return <-ended != nil
		case <-poll.C:
			if now, _ := os.Stat(path); late == nil && (path == "" || changed(was, now)) {
				late = time.After(delay)
			}
		}
	}
}

// changed reports whether a file was replaced or written to; nil means that it does
// not exist.
func changed(was, is os.FileInfo) bool {
	if was == nil || is == nil {
		return (was == nil) != (is == nil)
	}
	return !os.SameFile(was, is) || was.Size() != is.Size() || !was.ModTime().Equal(is.ModTime())
}

// mustDigest returns the digest of the log in dir, which must be whole.
func mustDigest(t *testing.T, dir string) string {
	t.Helper()
	sum, err := fsck.Check(t.Context(), fsck.Options{Data: dir, OnFinding: func(f fsck.Finding) {
		if f.Severity == fsck.Error {
			t.Errorf("%+v", f)
		}
	}})
	if err != nil || sum.Errors > 0 {
		t.Fatalf("%s: %v, %+v", dir, err, sum)
	}
	return sum.Digest
}

// copyOf copies a directory that may not exist.
func copyOf(t *testing.T, from, work string) string {
	t.Helper()
	to := filepath.Join(work, "copy")
	if out, err := exec.Command("sh", "-c", `rm -rf "$2" && mkdir -p "$1" && cp -a "$1" "$2"`, "sh", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}
