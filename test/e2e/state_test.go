package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/cli"
)

// savedIndex returns the index in a file of --state.
func savedIndex(t *testing.T, path string) uint64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var saved struct {
		Store string
		Index uint64
	}
	if err := json.Unmarshal(text, &saved); err != nil || len(saved.Store) != 32 {
		t.Fatalf("%s holds %s: %v", path, text, err)
	}
	return saved.Index
}

// writeOn appends {"n":N} at each index N, from next on, until stop is called.
func writeOn(t *testing.T, d *daemon, next int) (stop func()) {
	t.Helper()
	cmd := command(t, at(d.addr), "append", "--quiet")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-tick.C:
			case <-stopped:
				tick.Stop()
				return
			}
			for range 20 {
				fmt.Fprintf(in, "{\"n\":%d}\n", next)
				next++
			}
		}
	}()
	return func() {
		close(stopped)
		<-done
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("append: %v", err)
		}
	}
}

// TestStateKilled: a follower that is ended again and again, in any way, continues after the entry
// in its file. So no entry is missing, and only those after the saved one come again.
func TestStateKilled(t *testing.T) {
	t.Parallel()
	d := start(t, "DATA="+filepath.Join(t.TempDir(), "data"))
	stop := writeOn(t, d, 1)
	defer stop()
	state := filepath.Join(t.TempDir(), "state")
	random := rand.New(rand.NewPCG(1, 2))
	saved, last := uint64(0), uint64(0)
	for round := range 16 {
		cmd := command(t, at(d.addr), "tail", "-f", "-n", "99999999", "--state", state, "--entry")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		signal := []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT}[round%4]
		after := random.IntN(5000)
		next, began := saved+1, saved
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if want := fmt.Sprintf(`{"n":%d}`, next); lines.Text() != want {
				if signal == syscall.SIGKILL && next > saved+1 && strings.HasPrefix(want, lines.Text()) {
					break // it was killed while it wrote a line
				}
				t.Fatalf("round %d prints %s, want %s", round, lines.Text(), want)
			}
			next++
			if after--; after == 0 {
				cmd.Process.Signal(signal)
			}
		}
		cmd.Wait()
		saved = savedIndex(t, state)
		last = max(last, next-1)
		if saved < began || saved > last || signal != syscall.SIGKILL && saved != next-1 {
			t.Fatalf("after round %d, %v and entry %d, the file has %d, and had %d", round, signal, next-1, saved, began)
		}
	}
	if last < 1000 {
		t.Errorf("only %d entries were read", last)
	}
}

// TestStateReaderGone: when the reader of the output goes away, only written lines count.
func TestStateReaderGone(t *testing.T) {
	d := start(t, "DATA=memory")
	in := strings.Repeat(`["`+strings.Repeat("x", 1000)+"\"]\n", 2000)
	if r := play(t, at(d.addr), in, "append", "-q"); r.code != 0 {
		t.Fatalf("append: %+v", r)
	}
	state := filepath.Join(t.TempDir(), "state")
	cmd := command(t, at(d.addr), "read", "--follow", "--state", state)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(out, make([]byte, 100_000))
	out.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	// 100,000 bytes are 97 lines; a pipe holds 64 KiB more, perhaps more on some systems.
	if n := savedIndex(t, state); n < 97 || n > 500 {
		t.Errorf("the file has %d", n)
	}
}

// TestState: where a read with a state file begins, and which files end it.
func TestState(t *testing.T) {
	d := start(t, "DATA=memory")
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	add := func(n int) {
		t.Helper()
		if r := play(t, at(d.addr), strings.Repeat("{\"a\":1}\n[]\n", n/2), "append", "-q"); r.code != 0 {
			t.Fatalf("append: %+v", r)
		}
	}
	add(20)
	step := func(args, want string, saved uint64) {
		t.Helper()
		r := play(t, at(d.addr), "", strings.Fields(strings.ReplaceAll(args, "STATE", state))...)
		if r.code != 0 || r.err != "" || strings.Join(strings.Fields(r.out), " ") != want {
			t.Errorf("%s: %+v, want %s", args, r, want)
		}
		if got := savedIndex(t, state); got != saved {
			t.Errorf("after %s the file has %d, want %d", args, got, saved)
		}
	}
	step("tail -n 2 --index --state STATE", "19 20", 20)
	step("tail -n 2 --index --state STATE", "", 20)
	add(20)
	step("tail -n 2 --index --state STATE --through 24", "21 22 23 24", 24)
	step("read --from 39 --count 2 --index --state STATE", "25 26", 26)
	step("read --since 2999-01-01 --index --state STATE --count 1", "27", 27)
	step("read --where a=1 --index --state STATE --count 2", "29 31", 31)
	step("read --where a=1 --index --state STATE", "33 35 37 39", 40)
	step("read --where a=2 --index --state STATE", "", 40)
	step("read --pretty --state STATE", "", 40)
	os.Remove(state)
	step("tail -n 0 --index --state STATE", "", 40)
	add(2)
	step("tail -n 0 --index --state STATE", "41 42", 42)
	// A first run may begin after the head: later runs wait for that entry.
	os.Remove(state)
	step("read --from 45 --index --state STATE", "", 44)
	step("read --index --state STATE", "", 44)
	add(4)
	step("read --index --state STATE", "45 46", 46)
	os.Remove(state)
	step("tail -n 4 --index --state STATE", "43 44 45 46", 46)

	refused := func(code int, says, args string) {
		t.Helper()
		before, _ := os.ReadFile(state)
		r := play(t, at(d.addr), "", strings.Fields(strings.ReplaceAll(args, "STATE", state))...)
		if r.code != code || r.out != "" || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v, want %s", args, r, says)
		}
		if after, _ := os.ReadFile(state); string(after) != string(before) {
			t.Errorf("%s has changed the file to %s", args, after)
		}
	}
	refused(cli.ExitUsage, "--state goes forwards from where the last run ended, and --reverse backwards", "tail --reverse --state STATE")
	refused(cli.ExitFailure, "no such file or directory", "tail --state "+filepath.Join(dir, "nothing", "state"))
	if os.Getuid() != 0 {
		os.Chmod(dir, 0o500)
		refused(cli.ExitFailure, "permission denied", "tail --state STATE")
		os.Chmod(dir, 0o700)
	}
	first := d
	d = start(t, "DATA=memory")
	refused(cli.ExitFailure, state+" is of another log, whose name is ", "tail -f --state STATE")
	d = first
	b, _ := os.ReadFile(state)
	os.WriteFile(state, []byte(strings.Replace(string(b), ":46", ":47", 1)), 0o600)
	refused(cli.ExitFailure, state+" is at entry 47, and the log ends at 46: has it been restored from a backup?", "tail -f --state STATE")
	os.WriteFile(state, nil, 0o600)
	refused(cli.ExitFailure, state+` holds "", want {"store":"…","index":N}; remove it to begin again`, "tail -f --state STATE")
}

// TestStateUnwritable: a follower that can no longer save its position ends.
func TestStateUnwritable(t *testing.T) {
	d := start(t, "DATA=memory")
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	f := follow(t, "tail", "-f", "--index", "--state", state, d.addr)
	if r := play(t, at(d.addr), "[1]", "append", "-q"); r.code != 0 {
		t.Fatalf("append: %+v", r)
	}
	f.want(t, "1")
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // it saves what it has printed
		b, err := os.ReadFile(state)
		if strings.Contains(string(b), `"index":1}`) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the state is %q: %v", b, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if r := play(t, at(d.addr), "[2]", "append", "-q"); r.code != 0 {
		t.Fatalf("append: %+v", r)
	}
	f.want(t, "2")
	f.cmd.Wait()
	if code := f.cmd.ProcessState.ExitCode(); code != cli.ExitFailure || !strings.Contains(f.errs.String(), "--state: open ") || strings.Count(f.errs.String(), "\n") != 1 {
		t.Errorf("exit code %d, %q", code, f.errs.String())
	}
}

// TestStatePipeline: a pipeline that is killed as a whole continues where it stopped.
func TestStatePipeline(t *testing.T) {
	d := start(t, "DATA=memory")
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for round := range 5 {
		if r := play(t, at(d.addr), strings.Repeat("{}\n", 500), "append", "-q"); r.code != 0 {
			t.Fatalf("append: %+v", r)
		}
		cmd := exec.Command("sh", "-c", `exec "$1" read --follow --index --state state >> out`, "sh", path)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), at(d.addr)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("\n%d\n", 500*(round+1))
		for deadline := time.Now().Add(20 * time.Second); ; {
			if b, _ := os.ReadFile(filepath.Join(dir, "out")); strings.HasSuffix(string(b), want) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it does not print the last entry")
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	b, _ := os.ReadFile(filepath.Join(dir, "out"))
	seen := 0
	for _, field := range strings.Fields(string(b)) {
		var n int
		fmt.Sscan(field, &n)
		if n > seen+1 {
			t.Fatalf("%d comes after %d", n, seen)
		}
		seen = max(seen, n)
	}
}
