package daemon

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/engine"
)

// ask returns the status of the daemon.
func ask(t *testing.T, c *client.Client) Stat {
	t.Helper()
	text, err := c.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s Stat
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

// TestStat: the status counts batches and their time, and shows the space of the segments' file system,
// which a log in memory does not have.
func TestStat(t *testing.T) {
	for name, data := range map[string]string{"on disk": t.TempDir(), "in memory": engine.Memory} {
		t.Run(name, func(t *testing.T) {
			config := NewConfig(data)
			config.Port = 0
			d := run(t, config)
			c, err := client.Dial(t.Context(), d.addr, client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if s := ask(t, c); s.Sync != (Sync{}) {
				t.Errorf("before an append the batches are %+v", s.Sync)
			}
			var before Sync
			for i := range uint64(3) {
				if _, err := c.Append(t.Context(), []byte(`{"n":1}`)); err != nil {
					t.Fatal(err)
				}
				s := ask(t, c)
				if s.Sync.Batches != i+1 || s.Sync.Seconds <= before.Seconds {
					t.Errorf("after append %d the batches are %+v, before %+v", i+1, s.Sync, before)
				}
				before = s.Sync
			}
			if data == engine.Memory {
				if s := ask(t, c); s.Disk != nil || s.Unsettled != 0 {
					t.Errorf("a log in memory has %+v, and %d entries to settle", s.Disk, s.Unsettled)
				}
				return
			}
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				s := ask(t, c)
				measured := s.Disk != nil && s.Disk.Used > 0 && s.Disk.Free > 0 || runtime.GOOS != "linux"
				if measured && s.Unsettled == 0 && s.Settled == 3 {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("the disk is %+v, %d entries are to be settled after %d", s.Disk, s.Unsettled, s.Settled)
				}
			}
		})
	}
}
