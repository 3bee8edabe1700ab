package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// serviceManager is the end of the notification socket that systemd has.
type serviceManager struct{ *net.UnixConn }

// newServiceManager listens, and returns the setting that leads to it.
func newServiceManager(t *testing.T) (m serviceManager, setting string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no datagrams between local processes here")
	}
	dir, err := os.MkdirTemp("", "") // a path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	if m.UnixConn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, "NOTIFY_SOCKET=" + path
}

// next is what comes within d, or "".
func (m serviceManager) next(t *testing.T, d time.Duration) string {
	t.Helper()
	m.SetReadDeadline(time.Now().Add(d))
	b := make([]byte, 4096)
	n, err := m.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(b[:n])
}

// TestWatchdog: where the log gives an error or no answer there is no sign of
// life, and once it answers again there is.
func TestWatchdog(t *testing.T) {
	m, setting := newServiceManager(t)
	name, value, _ := strings.Cut(setting, "=")
	t.Setenv(name, value)
	t.Setenv("WATCHDOG_USEC", "60000")
	manager := newManager(zerolog.Nop())
	checking, answer := make(chan struct{}), make(chan error)
	end := manager.watch(func(ctx context.Context) error {
		select {
		case checking <- struct{}{}:
			return <-answer
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	for _, step := range []struct {
		answer error
		hangs  bool
		want   string
	}{
		{nil, false, "WATCHDOG=1"},
		{nil, true, ""},
		{errors.New("closed"), false, ""},
		{nil, false, "WATCHDOG=1"},
	} {
		<-checking
		if step.hangs {
			if got := m.next(t, 3*manager.watchdog); got != "" {
				t.Errorf("with no answer the notification is %q, want none", got)
			}
			go func() { answer <- errors.New("too late") }()
			continue
		}
		answer <- step.answer
		wait := 20 * time.Second
		if step.want == "" {
			wait = manager.watchdog // the next check waits for this loop
		}
		if got := m.next(t, wait); got != step.want {
			t.Errorf("after the answer %v the notification is %q, want %q", step.answer, got, step.want)
		}
	}
	end()
	// One that hangs does not hold up the end.
	hang := make(chan struct{})
	defer close(hang)
	end = manager.watch(func(context.Context) error { <-hang; return nil })
	end()
}
