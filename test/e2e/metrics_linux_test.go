package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReadyOnAFullDisk: while batches are refused the server is alive, not ready,
// and says why. Once there is room and a batch was stored, it is ready again. A
// limit on the size of its files stands in for the disk.
func TestReadyOnAFullDisk(t *testing.T) {
	w := startWatched(t, "DATA="+filepath.Join(t.TempDir(), "data"), "LOOSE_MAX=0")
	limit := func(size uint64) {
		t.Helper()
		if err := unix.Prlimit(w.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Skipf("limiting the size of a process's files: %v", err)
		}
	}
	limit(4 << 10)
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	write := func(id int) (reply string) {
		t.Helper()
		fmt.Fprintf(c, `{"id":"%d","entry":{"pad":"%s"}}`+"\n", id, strings.Repeat("x", 8<<10))
		b := make([]byte, 4<<10)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	if reply := write(1); !strings.Contains(reply, `"error":"not stored`) {
		t.Fatalf("the reply is %s, want a refusal", reply)
	}
	if status, body := w.ask(t, "/readyz"); status != 503 || !strings.Contains(body, "file too large") || strings.Count(body, "\n") != 1 {
		t.Errorf("/readyz is %d %q, want 503 and why", status, body)
	}
	if status, body := w.ask(t, "/healthz"); status != 200 {
		t.Errorf("/healthz is %d %q, want 200", status, body)
	}
	got := w.scrape(t).Samples
	for name, want := range map[string]float64{
		"ready": 0, "failed": 0, "head": 0, "appended_entries_total": 0, "sync_seconds_count": 0, "ack_seconds_count": 0,
		`errors_total{kind="refused_batch"}`: 1, `errors_total{kind="unstored_entry"}`: 1, `errors_total{kind="failed_sync"}`: 0,
	} {
		if got["tcp_log_server_"+name] != want {
			t.Errorf("%s is %v, want %v", name, got["tcp_log_server_"+name], want)
		}
	}
	limit(unix.RLIM_INFINITY)
	if reply := write(2); reply != `{"id":"2","index":1}`+"\n" {
		t.Fatalf("the reply is %s once there is room", reply)
	}
	if status, body := w.ask(t, "/readyz"); status != 200 || body != "ready\n" {
		t.Errorf("/readyz is %d %q once there is room", status, body)
	}
	if got := w.scrape(t).Samples; got["tcp_log_server_ready"] != 1 || got["tcp_log_server_head"] != 1 {
		t.Errorf("ready is %v, head %v, want 1 and 1", got["tcp_log_server_ready"], got["tcp_log_server_head"])
	}
}
