// Package systemdtest is systemd's end of its notification protocol, for tests.
package systemdtest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A Manager receives what a service notifies systemd of.
type Manager struct {
	// Socket is the path for NOTIFY_SOCKET.
	Socket string
	conn   *net.UnixConn
}

// NewManager listens until the test ends. It skips the test where there are no such sockets.
func NewManager(t *testing.T) *Manager {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no datagrams between local processes here")
	}
	dir, err := os.MkdirTemp("", "") // a path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &Manager{Socket: filepath.Join(dir, "notify")}
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.Socket, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.conn.Close() })
	return m
}

// Next returns the notification that arrives within d, or "".
func (m *Manager) Next(t *testing.T, d time.Duration) string {
	t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(d))
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(b[:n])
}
