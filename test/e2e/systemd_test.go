package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/cli"
	"tcp-log-server/test/systemdtest"
)

// TestNotify follows a server's life as systemd sees it.
func TestNotify(t *testing.T) {
	m := systemdtest.NewManager(t)
	d := launch(t, "NOTIFY_SOCKET="+m.Socket, "WATCHDOG_USEC=150000", "DATA="+filepath.Join(t.TempDir(), "data"))
	ready := m.Next(t, 20*time.Second)
	e := d.event(t, "listening")
	addr := fmt.Sprintf("127.0.0.1:%v", e["port"])
	if want := "READY=1\nSTATUS=listening on " + addr; ready != want {
		t.Errorf("the first notification is %q, want %q", ready, want)
	}
	// Watchdog signals come with an empty log, and with one that has entries.
	for range 2 {
		for range 3 {
			if got := m.Next(t, 20*time.Second); got != "WATCHDOG=1" {
				t.Fatalf("notification is %q, want a sign of life", got)
			}
		}
		talk(t, addr, `{"id":"1","entry":{"a":1}}`+"\n")
	}
	other := func() string { // the next notification that is not a watchdog signal
		for deadline := time.Now().Add(20 * time.Second); ; {
			if got := m.Next(t, 20*time.Second); got != "WATCHDOG=1" || time.Now().After(deadline) {
				return got
			}
		}
	}
	d.cmd.Process.Signal(syscall.SIGHUP)
	if got := other(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("notification is %q, want RELOADING", got)
	}
	if got := other(); got != ready {
		t.Errorf("notification after the reload is %q, want %q", got, ready)
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	if got := other(); got != "STOPPING=1\nSTATUS=stopping" {
		t.Errorf("notification is %q, want STOPPING", got)
	}
	if code := d.wait(t); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
}

// TestNotifyFailedStart: a server that refuses to start never says it is ready.
func TestNotifyFailedStart(t *testing.T) {
	data := t.TempDir()
	start(t, "DATA="+data)
	m := systemdtest.NewManager(t)
	d := launch(t, "NOTIFY_SOCKET="+m.Socket, "WATCHDOG_USEC=150000", "DATA="+data)
	defer time.AfterFunc(20*time.Second, func() { d.cmd.Process.Kill() }).Stop() // in case it serves
	if code := d.wait(t); code != cli.ExitFailure {
		t.Errorf("exit code is %d, want %d", code, cli.ExitFailure)
	}
	if got := m.Next(t, time.Millisecond); got != "" {
		t.Errorf("notification is %q, want none", got)
	}
}

// inherit launches the server as a socket unit does: with open sockets, from
// descriptor 3 on. It needs a shell because LISTEN_PID must be the server's own
// process.
func inherit(t *testing.T, sockets []*os.File, settings ...string) *daemon {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no inherited sockets here")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `LISTEN_PID=${LISTEN_PID:-$$} exec "$0"`, path)
	cmd.ExtraFiles = sockets
	return launchBy(t, cmd, append(settings, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "DATA=memory")...)
}

// tcpSocket returns a listening socket as a file.
func tcpSocket(t *testing.T) (file *os.File, addr *net.TCPAddr) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err = ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, ln.Addr().(*net.TCPAddr)
}

// TestSocketActivation: the server serves clients that connected before it ran.
func TestSocketActivation(t *testing.T) {
	file, addr := tcpSocket(t)
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintln(c, `{"id":"1","entry":{"a":1}}`)
	d := inherit(t, []*os.File{file})
	if e := d.event(t, "listening"); e["port"] != float64(addr.Port) {
		t.Errorf("the server listens on port %v, want the inherited %d", e["port"], addr.Port)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || line != `{"id":"1","index":1}`+"\n" {
		t.Errorf("reply is %q, %v", line, err)
	}
	c.Close()
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
}

// TestOtherSockets: sockets meant for another process are left alone, and anything
// except one TCP socket is refused.
func TestOtherSockets(t *testing.T) {
	file, addr := tcpSocket(t)
	d := inherit(t, []*os.File{file}, "LISTEN_PID=1")
	if e := d.event(t, "listening"); e["port"] == float64(addr.Port) {
		t.Error("the server has taken a socket that is another process's")
	}
	another, _ := tcpSocket(t)
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	local, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	regular, err := os.Open("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()
	for _, tt := range []struct {
		name    string
		sockets []*os.File
		says    string
	}{
		{"two", []*os.File{file, another}, "2 sockets, want one"},
		{"a local one", []*os.File{local}, "want TCP"},
		{"a file", []*os.File{regular}, "want ListenStream="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := inherit(t, tt.sockets)
			defer time.AfterFunc(20*time.Second, func() { d.cmd.Process.Kill() }).Stop() // in case it serves
			code := d.wait(t)
			if text := d.stderr.String(); code != cli.ExitFailure || strings.Count(text, "\n") != 1 || !strings.Contains(text, tt.says) {
				t.Errorf("exit code is %d, error %q, want one line with %q", code, text, tt.says)
			}
		})
	}
}
