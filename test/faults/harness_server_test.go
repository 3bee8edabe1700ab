package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// options says how to run a server. Env follows PORT=0 and Data.
type options struct {
	Args   []string // of the command line
	Data   string   // by default a new directory
	Env    []string // NAME=value
	Wrap   []string // the program that runs the server: strace -f …, prlimit --fsize=…
	Binary string   // by default program(t)
	Tracer *tracer  // watches its system calls, unless nil
}

// tuned has settings with which segments are sealed and removed within a second.
var tuned = []string{"FAULT_SEGMENT_SIZE=65536", "FAULT_REMOVE_AFTER=50ms", "FAULT_SETTLE_EVERY=10ms", "LOOSE_MAX=-1"}

// event is a line of the server's log.
type event map[string]any

// process is a started server.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	bin  string
	data string
	addr string // once it listens
	pid  int    // of the server itself, not of the program that runs it, once it listens

	mu     sync.Mutex
	events []event
	size   int           // of its log, in bytes
	more   chan struct{} // closed when another event arrives, or the log ends
	ended  bool          // the log has ended
	errs   bytes.Buffer

	tracer *tracer
	exit   chan struct{} // closed once the process is gone
	result error         // then: what Wait returned
}

// server starts a server and waits until it listens.
func server(t testing.TB, o options) *process {
	t.Helper()
	p := launch(t, o)
	p.listening()
	return p
}

// launch starts a server without waiting.
func launch(t testing.TB, o options) *process {
	t.Helper()
	if o.Binary == "" {
		o.Binary = program(t)
	}
	if o.Data == "" {
		o.Data = newData(t)
	}
	argv := append(append(slices.Clone(o.Wrap), o.Binary), o.Args...)
	p := &process{t: t, cmd: exec.Command(argv[0], argv[1:]...), bin: o.Binary, data: o.Data, more: make(chan struct{}), exit: make(chan struct{}), tracer: o.Tracer}
	p.cmd.Env = append(append(os.Environ(), "PORT=0", "DATA="+o.Data), o.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end the whole group
	p.cmd.Stderr = lockedWriter{&p.mu, &p.errs}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := p.cmd.Start
	if o.Tracer != nil {
		start = func() error { return o.Tracer.start(p.cmd) }
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	go p.collect(out)
	t.Cleanup(p.kill9)
	return p
}

// newData returns the path of a data directory to be created. If the test fails, the
// directory is kept.
func newData(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "faults-data")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the test left is in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "data")
}

// lockedWriter is a buffer that can be read while it is written.
type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// collect reads the log to its end, and then waits for the process.
func (p *process) collect(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		e := event{}
		if err := json.Unmarshal(line, &e); err != nil {
			e = event{"event": "not JSON", "line": string(line)}
		}
		p.mu.Lock()
		p.events = append(p.events, e)
		p.size += len(line)
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
	if p.tracer != nil {
		<-p.tracer.ended // the tracer gets the exit code
	}
	p.result = p.cmd.Wait()
	p.mu.Lock()
	p.ended = true
	close(p.more)
	p.mu.Unlock()
	close(p.exit)
}

// listening waits until the server listens, and fails the test if it ends before.
func (p *process) listening() {
	p.t.Helper()
	e := p.await("listening")
	p.addr = fmt.Sprintf("127.0.0.1:%v", e["port"])
	p.pid = int(e["pid"].(float64))
}

// await waits for the first event of that name, or returns it if it was logged.
func (p *process) await(name string) event {
	p.t.Helper()
	e, ok := p.awaitNth(name, 1)
	if !ok {
		p.t.Fatalf("the server ended without the event %q: %s", name, p.stderr())
	}
	return e
}

// awaitNth waits for the nth event of that name. ok is false if the log ends first.
func (p *process) awaitNth(name string, n int) (e event, ok bool) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		more, ended := p.more, p.ended
		found := p.named(name)
		p.mu.Unlock()
		if len(found) >= n {
			return found[n-1], true
		}
		if ended {
			return nil, false
		}
		select {
		case <-more:
		case <-timeout:
			p.t.Fatalf("the server did not log %q %d times in %v: %s", name, n, patience, p.stderr())
		}
	}
}

// logged returns the events of that name so far.
func (p *process) logged(name string) []event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.named(name)
}

func (p *process) named(name string) (found []event) {
	for _, e := range p.events {
		if e["event"] == name {
			found = append(found, e)
		}
	}
	return found
}

// stderr returns the standard error of the server and of the program that runs it.
func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errs.String()
}

// wait waits for the end and returns the exit code, -1 after a signal.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exit:
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT) // for the stacks
		select {
		case <-p.exit:
		case <-time.After(time.Second):
		}
		p.t.Fatalf("the server has not ended in %v: %s", patience, p.stderr())
	}
	if p.tracer != nil {
		return p.tracer.status.ExitStatus()
	}
	return exitCode(p.t, p.result)
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.exit:
		return true
	default:
		return false
	}
}

// signal sends a signal to the server itself.
func (p *process) signal(s syscall.Signal) {
	if pid := p.server(); pid > 0 {
		syscall.Kill(pid, s)
	}
}

// stop ends the server by a signal and returns its exit code.
func (p *process) stop(s syscall.Signal) int {
	p.t.Helper()
	p.signal(s)
	return p.wait()
}

// clean stops the server, and fails the test if it does not stop cleanly.
func (p *process) clean() {
	p.t.Helper()
	if code := p.stop(syscall.SIGTERM); code != 0 {
		p.t.Errorf("exit code is %d after SIGTERM, want 0: %s", code, p.stderr())
	}
}

// kill9 kills the server and the program that runs it, and waits for the end.
func (p *process) kill9() {
	if !p.gone() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	<-p.exit
}

// server returns the process id of the server itself: the started process or a child
// of it that runs the binary, or 0 if there is none.
func (p *process) server() int {
	if p.gone() {
		return 0
	}
	if p.pid != 0 {
		return p.pid
	}
	return runs(p.cmd.Process.Pid, p.bin)
}

// runs finds the process pid, or a descendant, that runs the program at path.
func runs(pid int, path string) int {
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == path {
		return pid
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(child)
			if found := runs(n, path); found != 0 {
				return found
			}
		}
	}
	return 0
}
