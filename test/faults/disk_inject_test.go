package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// injection is strace attached to a running server. Until it ends, system calls of
// the server fail.
type injection struct {
	t     testing.TB
	cmd   *exec.Cmd
	trace string
	mu    sync.Mutex
	said  bytes.Buffer
	once  sync.Once
	hits  int
}

// needAttach skips the test if strace may not attach to a running process.
func needAttach(t testing.TB) {
	t.Helper()
	needStrace(t)
	scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if os.Geteuid() != 0 && err == nil && strings.TrimSpace(string(scope)) != "0" {
		t.Skip("needs root, or kernel.yama.ptrace_scope=0")
	}
}

// inject makes the calls, a list like "fsync,write", behave as described by what
// ("error=EIO", "delay_exit=500000"). If paths are given, only calls on them do.
func inject(t testing.TB, p *process, calls, what string, paths ...string) *injection {
	t.Helper()
	i := &injection{t: t, trace: filepath.Join(t.TempDir(), "trace")}
	argv := []string{"-f", "-p", strconv.Itoa(p.pid), "-o", i.trace}
	i.cmd = exec.Command("strace", append(argv, injected(calls, what, paths)...)...)
	i.cmd.Stderr = lockedWriter{&i.mu, &i.said}
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.end() })
	eventually(t, "strace is attached", func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		if strings.Contains(i.said.String(), "Operation not permitted") {
			t.Fatalf("strace: %s", i.said.String())
		}
		return strings.Contains(i.said.String(), "attached")
	})
	return i
}

// injected returns the arguments of strace for inject.
func injected(calls, what string, paths []string) []string {
	argv := []string{"-e", "trace=" + calls, "-e", "inject=" + calls + ":" + what}
	for _, path := range paths {
		argv = append(argv, "-P", path)
	}
	return argv
}

// end detaches strace, after which the server runs as before, and returns how many
// calls it changed.
func (i *injection) end() int {
	i.once.Do(func() {
		i.cmd.Process.Signal(syscall.SIGTERM)
		i.cmd.Wait()
		b, _ := os.ReadFile(i.trace)
		i.hits = bytes.Count(b, []byte("(INJECTED)")) + bytes.Count(b, []byte("(DELAYED)"))
	})
	return i.hits
}

// mustEnd is end for an injection that must have changed a call.
func (i *injection) mustEnd() {
	i.t.Helper()
	if i.end() == 0 {
		i.t.Error("no system call has met the injected fault")
	}
}

// segmentFiles returns the segments of the log, oldest first. The last one is open.
func segmentFiles(t testing.TB, data string) []string {
	t.Helper()
	return files(t, data, "segments", "*.seg")
}

// failures returns how many replies have been errors so far.
func (h *history) failures() int64 { return h.replies.Load() - h.acks.Load() }

// served reads the whole log and returns its number of entries. Anything that is not
// an entry fails the test.
func served(t testing.TB, addr string) int {
	t.Helper()
	n := 0
	if err := readLog(addr, func(line string) error {
		n++
		if !strings.HasPrefix(line, fmt.Sprintf(`{"index":%d,"entry":`, n)) {
			return fmt.Errorf("line is %.200q, want the entry of index %d", line, n)
		}
		return nil
	}); err != nil {
		t.Fatalf("the log cannot be read: %v", err)
	}
	return n
}

// accepted appends n entries over a new connection. Each must be acknowledged.
func accepted(t testing.TB, addr string, h *history, n int) {
	t.Helper()
	before := h.acks.Load()
	h.write(t, addr, load{Entries: n})
	if got := h.acks.Load() - before; got != int64(n) {
		t.Fatalf("%d of %d appends were acknowledged: %v", got, n, h.errors())
	}
}

// refused appends n entries over a new connection. Each must be refused with an error
// that begins with says.
func refused(t testing.TB, addr string, h *history, n int, says string) {
	t.Helper()
	one := newHistory(nil)
	one.write(t, addr, load{Entries: n, Name: "refused"})
	if acked, got, unknown := one.counts(); acked+unknown > 0 || got != n {
		t.Fatalf("%d appends were acknowledged, %d have an unknown outcome, want %d refused", acked, unknown, n)
	}
	for text := range one.errors() {
		if !strings.HasPrefix(text, says) {
			t.Fatalf("an append was refused with %q, want %q", text, says)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, outcomes := range one.writers {
		h.writers[fmt.Sprintf("%s-%d", name, len(h.writers))] = outcomes
	}
}

// settledAll waits until every entry through head has its index record, and its blob
// if it gets one. The server must log at level debug.
func settledAll(t testing.TB, p *process, head uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("entries through %d are settled", head), func() bool {
		for _, e := range p.logged("settled") {
			if e["through"].(float64) >= float64(head) {
				return true
			}
		}
		return false
	})
}

// failed ends a server after a permanent failure, and checks its exit code and that
// it reports the failure and the file.
func failed(t testing.TB, p *process, says ...string) {
	t.Helper()
	code, text := p.stop(syscall.SIGTERM), p.stderr()
	if code != 1 {
		t.Errorf("exit code is %d, want 1: %s", code, text)
	}
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("the error is %q, want %q in it", text, s)
		}
	}
}
