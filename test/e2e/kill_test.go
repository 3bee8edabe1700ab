package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestKill appends through many connections while the server is killed with -9
// at random moments and started again, and then reads everything back: each
// acknowledged entry must be at its index, byte for byte, with no gap before it.
// KILL_ENTRIES and KILL_ROUNDS make the test longer.
func TestKill(t *testing.T) {
	t.Parallel()
	const connections = 64
	entries := 40_000
	if testing.Short() {
		entries = 10_000
	}
	entries, rounds := setting(t, "KILL_ENTRIES", entries), setting(t, "KILL_ROUNDS", 3)
	data := filepath.Join(t.TempDir(), "data")
	acked := make(map[uint64]string) // the entries that the log must hold
	var mu sync.Mutex
	var written atomic.Int64
	// The kills come at random entries, and the last one after all of them.
	kills := []int64{int64(entries)}
	for len(kills) < rounds {
		kills = append(kills, 1+rand.Int64N(int64(entries)))
	}
	slices.Sort(kills)
	for round, kill := range kills {
		d := start(t, "DATA="+data)
		kill = max(kill, written.Load()+1)
		var writers sync.WaitGroup
		for w := range connections {
			writers.Go(func() {
				for index, entry := range appendUntilKilled(t, d.addr, fmt.Sprintf("%d-%d", round, w)) {
					mu.Lock()
					if was, ok := acked[index]; ok {
						t.Errorf("index %d was acknowledged for %s and for %s", index, was, entry)
					}
					acked[index] = entry
					mu.Unlock()
					if written.Add(1) == kill {
						d.cmd.Process.Kill()
					}
				}
			})
		}
		writers.Wait()
		d.wait(t)
		d = start(t, "DATA="+data)
		verify(t, d.addr, acked)
		if code := d.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code is %d after a clean stop: %s", code, d.stderr.String())
		}
	}
	t.Logf("%d entries acknowledged, %d kills", len(acked), rounds)
}

// setting returns a number from the environment.
func setting(t *testing.T, name string, value int) int {
	if s := os.Getenv(name); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s is %q, want a number", name, s)
		}
		return n
	}
	return value
}

// appendUntilKilled appends, some entries in flight at a time, until the server
// is gone, and yields each acknowledged index with its entry.
func appendUntilKilled(t *testing.T, addr, name string) func(yield func(uint64, string) bool) {
	return func(yield func(uint64, string) bool) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return // killed already
		}
		defer c.Close()
		const inFlight = 16
		replies := bufio.NewReader(c)
		var out bytes.Buffer
		for n := 0; ; n += inFlight {
			out.Reset()
			for i := range inFlight {
				fmt.Fprintf(&out, "{\"id\":\"%d\",\"entry\":%s}\n", n+i, killEntry(name, n+i))
			}
			if _, err := c.Write(out.Bytes()); err != nil {
				return
			}
			for i := range inFlight {
				line, err := replies.ReadBytes('\n')
				if err != nil {
					return
				}
				var reply struct {
					ID    string
					Index uint64
					Error string
				}
				if err := json.Unmarshal(line, &reply); err != nil || reply.ID != strconv.Itoa(n+i) || reply.Error != "" || reply.Index == 0 {
					t.Errorf("reply to %d is %s", n+i, line)
					return
				}
				if !yield(reply.Index, killEntry(name, n+i)) {
					return
				}
			}
		}
	}
}

func killEntry(name string, n int) string {
	return fmt.Sprintf(`{"from":"%s","n":%d,"padding":"%s"}`, name, n, strings.Repeat("x", n%150))
}

// verify reads the log from its beginning.
func verify(t *testing.T, addr string, acked map[uint64]string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintln(c, `{"from":1}`)
	lines := bufio.NewReader(c)
	left := len(acked)
	for next := uint64(1); ; next++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "{\"current\":true}\n" {
			break
		}
		prefix := fmt.Sprintf(`{"index":%d,"entry":`, next)
		if !strings.HasPrefix(line, prefix) {
			t.Fatalf("line is %s, want index %d", line, next)
		}
		if want, ok := acked[next]; ok {
			left--
			if line != prefix+want+"}\n" {
				t.Fatalf("index %d is %s, acknowledged was %s", next, line, want)
			}
		}
	}
	if left > 0 {
		t.Fatalf("%d acknowledged entries are missing at the log's end", left)
	}
}
