package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/cli"
)

// binary is the built program, made once for all tests that run it.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "tcp-log-server")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// scratch is the directory of the binary.
var scratch string

// root is the directory of the module, with a slash at its end. Paths of files in the tree begin with
// it, so that go test notices them and runs the tests again when they change.
var root string

// TestMain changes to root, so that commands run as the documents show them.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	root = dir + "/"
	if scratch, err = os.MkdirTemp("", "tcp-log-server-test"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// daemon is a running server.
type daemon struct {
	cmd    *exec.Cmd
	addr   string
	events chan map[string]any // its log; closed when it ends
	stderr bytes.Buffer
}

// start starts the server with settings beyond PORT=0 and waits until it listens.
func start(t *testing.T, settings ...string) *daemon {
	t.Helper()
	d := launch(t, settings...)
	e := d.event(t, "listening")
	d.addr = fmt.Sprintf("127.0.0.1:%v", e["port"])
	return d
}

// launch starts the server.
func launch(t *testing.T, settings ...string) *daemon {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return launchBy(t, exec.Command(path), settings...)
}

// launchBy starts the server by the caller's command.
func launchBy(t *testing.T, cmd *exec.Cmd, settings ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: cmd, events: make(chan map[string]any, 1024)}
	d.cmd.Env = append(os.Environ(), append([]string{"PORT=0"}, settings...)...)
	d.cmd.Stderr = &d.stderr
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.cmd.Process.Kill(); d.cmd.Wait() })
	go func() {
		defer close(d.events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e map[string]any
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e = map[string]any{"event": "not JSON", "line": lines.Text()}
			}
			select {
			case d.events <- e:
			default: // no test looks at this one
			}
		}
	}()
	return d
}

// event waits for a logged event of that name.
func (d *daemon) event(t *testing.T, name string) map[string]any {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e, ok := <-d.events:
			if !ok {
				d.cmd.Wait()
				t.Fatalf("the server ended before %q: %s", name, d.stderr.String())
			}
			if e["event"] == name {
				return e
			}
		case <-timeout:
			t.Fatalf("the server did not log %q in time", name)
		}
	}
}

// stop ends the server by a signal and returns its exit code.
func (d *daemon) stop(t *testing.T, s os.Signal) int {
	t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	return d.wait(t)
}

func (d *daemon) wait(t *testing.T) int {
	t.Helper()
	for range d.events { // until the server closes its standard output
	}
	err := d.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return d.cmd.ProcessState.ExitCode()
}

// talk sends all of input, closes that half of the connection and returns
// the whole answer.
func talk(t *testing.T, addr, input string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, input); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestFirstMinute(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	d := start(t, "DATA="+data)
	if got, want := talk(t, d.addr, `{"id":"1","entry":{"b":1,"a":2}}`+"\n"), `{"id":"1","index":1}`+"\n"; got != want {
		t.Errorf("reply is %q, want %q", got, want)
	}
	// b3sum of {"a":2,"b":1}
	const hash = "aec0c27dfce8daa9a0e36db913d1688ec539ca7f764997c4de8b9f3101f6418b"
	blob := filepath.Join(data, "blobs", hash[:2], hash[2:])
	deadline := time.Now().Add(20 * time.Second)
	for {
		if b, err := os.ReadFile(blob); err == nil && string(b) == `{"a":2,"b":1}` {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", blob)
		}
		time.Sleep(10 * time.Millisecond)
	}
	files := 0
	filepath.WalkDir(filepath.Join(data, "blobs"), func(path string, e os.DirEntry, _ error) error {
		if !e.IsDir() && !strings.HasPrefix(filepath.Base(filepath.Dir(path)), "store-") { // the text of the mark
			files++
		}
		return nil
	})
	if files != 1 {
		t.Errorf("there are %d files below blobs, want 1", files)
	}
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code is %d, want 0: %s", code, d.stderr.String())
	}

	d = start(t, "DATA="+data)
	if got, want := talk(t, d.addr, `{"from":1}`+"\n"), `{"index":1,"entry":{"a":2,"b":1}}`+"\n"+`{"current":true}`+"\n"; got != want {
		t.Errorf("after a restart the log reads %q, want %q", got, want)
	}
}

func TestOldSettings(t *testing.T) {
	for _, name := range []string{"LEVELDB", "LEVELDOWN", "FILE"} {
		d := launch(t, "DATA=memory", name+"=x")
		e := d.event(t, "ignored")
		if msg, _ := e["msg"].(string); e["variable"] != name || !strings.Contains(msg, "WAL") || e["level"] != 40.0 {
			t.Errorf("with %s set the server logs %v", name, e)
		}
		d.event(t, "listening")
		d.stop(t, syscall.SIGTERM)
	}
}

func TestRefusedSettings(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		setting, flag string
		code          int
		says          string
	}{
		{"PORT=x", "", cli.ExitUsage, `invalid value "x" for the variable PORT, want a whole number; see`},
		{"TCP_LOG_PORT=x", "", cli.ExitUsage, `invalid value "x" for the variable TCP_LOG_PORT, want a whole number; see`},
		{"", "--port 99999999999999999999", cli.ExitUsage, `for flag --port, want a number that is not so large; see`},
		{"WRITE_TIMEOUT=5", "", cli.ExitUsage, `invalid value "5" for the variable WRITE_TIMEOUT, want a number and its unit, such as 90s or 5m; see`},
		{"", "--write-timeout 1y", cli.ExitUsage, `invalid value "1y" for flag --write-timeout, want a number and its unit, such as 90s or 5m; see`},
		{"DATA=", "", cli.ExitUsage, `data is empty, want a directory, or "memory" to keep nothing; see`},
		{"HOST=localhost:9", "", cli.ExitUsage, `host is "localhost:9", want a host without a port: set host to localhost and port to 9; see`},
		{"", "cat --data=", cli.ExitUsage, "the name of the directory is empty: is a variable not set?; see"},
		{"", "fsck --data=", cli.ExitUsage, "the name of the directory is empty: is a variable not set?; see"},
		{"", "backup --data= x", cli.ExitUsage, "the name of the directory is empty: is a variable not set?; see"},
		{"", "backup /nosuch/parent/x", cli.ExitFailure, "backup: /nosuch/parent/x cannot be made, because /nosuch/parent does not exist: make that directory, or correct the name\n"},
		{"DATA=" + root + "docs", "", cli.ExitFailure, "docs holds other files (ARCHITECTURE.md, CLI.md, CLUSTER.md and "},
		{"INSECURE=maybe", "", cli.ExitUsage, `invalid value "maybe" for the variable INSECURE, want true or false; see`},
		{"PORT=65536", "", cli.ExitUsage, "65536"},
		{"LOOSE_MAX=-2", "", cli.ExitUsage, "loose-max is -2"},
		{"LOOSE_MAX=x", "", cli.ExitUsage, `invalid value "x" for the variable LOOSE_MAX, want a whole number; see`},
		{"", "fsck --through -1", cli.ExitUsage, "want a whole number, 1 or more; see `tcp-log-server fsck --help`"},
		{"", "append --port 1 {}", cli.ExitUsage, "`append` has no --port: name the server as an address, host:port or :port"},
		{"", "append go.mod", cli.ExitUsage, "\"go.mod\" is not an address but a file; entries of a file come from standard input"},
		{"", "fsck --nonsense", cli.ExitUsage, "see `tcp-log-server fsck --help`"},
		{"LOG_LEVEL=loud", "", cli.ExitUsage, `log-level is "loud"`},
		{"WRITE_TIMEOUT=1ms", "", cli.ExitUsage, "write-timeout is 1ms"},
		{"", "--prot=1", cli.ExitUsage, "prot"},
		{"", "surve", cli.ExitUsage, `no command "surve"`},
		{"", "--data x fsck", cli.ExitUsage, "the flags of `fsck` go after it"},
		{"HOST=no.such.host.invalid", "", cli.ExitFailure, "no.such.host.invalid"},
		{"DATA=/dev/null/x", "", cli.ExitFailure, "/dev/null"},
	} {
		cmd := exec.Command(path)
		if tt.flag != "" {
			cmd.Args = append(cmd.Args, strings.Fields(tt.flag)...)
		}
		cmd.Env = append(os.Environ(), "PORT=0", "DATA="+filepath.Join(t.TempDir(), "data"))
		if tt.setting != "" {
			cmd.Env = append(cmd.Env, tt.setting)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != tt.code {
			t.Errorf("%s%s: exit code is %d, want %d", tt.setting, tt.flag, code, tt.code)
		}
		text := stderr.String()
		if !strings.Contains(text, tt.says) || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "tcp-log-server: ") {
			t.Errorf("%s%s: error is %q, want one line with %q", tt.setting, tt.flag, text, tt.says)
		}
	}
}

func TestDamagedStart(t *testing.T) {
	data := t.TempDir()
	d := start(t, "DATA="+data)
	talk(t, d.addr, strings.Repeat(`{"id":"1","entry":{"a":1}}`+"\n", 10))
	d.stop(t, syscall.SIGTERM)
	path := filepath.Join(data, "segments", "00000000000000000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.LastIndex(b, []byte(`{"a":1}`))+5] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	d = launch(t, "DATA="+data)
	defer time.AfterFunc(20*time.Second, func() { d.cmd.Process.Kill() }).Stop() // in case it serves
	code := d.wait(t)
	text := d.stderr.String()
	if code != cli.ExitFailure || strings.Count(text, "\n") != 1 || !strings.Contains(text, path) || !strings.Contains(text, "tcp-log-server fsck "+data) {
		t.Errorf("exit code is %d, error %q", code, text)
	}
}

func TestSecondSignal(t *testing.T) {
	d := start(t, "DATA=memory")
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d.event(t, "connected")
	// The server waits a moment for a client that stays connected, until the second signal.
	d.cmd.Process.Signal(syscall.SIGTERM)
	d.event(t, "stopping")
	ended := make(chan int)
	go func() { ended <- d.wait(t) }()
	for {
		select {
		case code := <-ended:
			if code != cli.ExitFailure {
				t.Errorf("exit code is %d, want %d", code, cli.ExitFailure)
			}
			return
		case <-time.After(50 * time.Millisecond): // the first few count as the same signal
			d.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
}
