package faults

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// syncTakes is how long a sync of the slow disk takes, in microseconds.
const syncTakes = 1_000_000

// TestSlowDisk makes every fdatasync take a second longer.
func TestSlowDisk(t *testing.T) {
	needAttach(t)
	// If reads waited for syncs, most would take half a second or more.
	t.Run("reads", func(t *testing.T) {
		h := newHistory(nil)
		p := server(t, options{Env: []string{"LOOSE_MAX=0"}})
		h.write(t, p.addr, load{Depth: 100, Entries: 1000})
		i := inject(t, p, "fdatasync", fmt.Sprintf("delay_exit=%d", syncTakes))
		before := h.acks.Load()
		writers := h.start(t, p.addr, load{Writers: 4, Depth: 4})
		var took []time.Duration
		c, lines := dial(t, p.addr)
		for h.acks.Load() < before+2*16 || len(took) < 20 {
			began := time.Now()
			fmt.Fprintln(c, `{"from":1,"read":1000}`)
			for n := range 1000 {
				want(t, lines, fmt.Sprintf(`{"index":%d,"entry":%s}`, n+1, h.entry("0", n)))
			}
			if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"head":`) {
				t.Fatalf("the read ends in %q, %v", line, err)
			}
			took = append(took, time.Since(began))
			time.Sleep(20 * time.Millisecond)
		}
		i.mustEnd()
		writers.halt()
		slices.Sort(took)
		median := took[len(took)/2]
		t.Logf("%d reads of 1,000 entries while syncs of 1 s were under way: median %v, longest %v", len(took), median, took[len(took)-1])
		if median > 250*time.Millisecond {
			t.Errorf("the median of the reads is %v: they wait for syncs", median)
		}
		p.clean()
		recovered(t, p.data, h)
	})
	t.Run("batches", func(t *testing.T) {
		h := newHistory(nil)
		p := server(t, options{Env: []string{"LOOSE_MAX=0"}})
		i := inject(t, p, "fdatasync", fmt.Sprintf("delay_exit=%d", syncTakes))
		h.write(t, p.addr, load{Writers: 16, Depth: 200, Entries: 200})
		syncs := i.end()
		acked, _, _ := h.counts()
		t.Logf("%d entries in %d syncs", acked, syncs)
		if acked != 16*200 || syncs == 0 || acked/syncs < 400 {
			t.Errorf("%d of %d entries were acknowledged, by %d syncs, want 400 entries a sync at least", acked, 16*200, syncs)
		}
		p.clean()
		recovered(t, p.data, h)
	})
	// 32 writers send a gigabyte, while this disk takes half a megabyte a second.
	t.Run("memory", func(t *testing.T) {
		p := server(t, options{Env: []string{"LOOSE_MAX=0"}})
		quiet := residentMiB(t, p.pid)
		i := inject(t, p, "fdatasync", fmt.Sprintf("delay_exit=%d", syncTakes))
		line := fmt.Sprintf("{\"id\":\"x\",\"entry\":{\"pad\":\"%s\"}}\n", strings.Repeat("x", 32<<10))
		for range 32 {
			c, _ := dial(t, p.addr)
			go func() {
				for range 1 << 10 {
					if _, err := c.Write([]byte(line)); err != nil {
						return
					}
				}
			}()
		}
		most, steady, last := 0, time.Now(), 0
		for time.Since(steady) < 2*time.Second && most < memoryBoundMiB {
			now := residentMiB(t, p.pid)
			if now > last+8 {
				steady, last = time.Now(), now
			}
			most = max(most, now)
			time.Sleep(50 * time.Millisecond)
		}
		t.Logf("%d MiB before, %d MiB with everything it holds waiting", quiet, most)
		if most >= memoryBoundMiB {
			t.Errorf("the server takes %d MiB, want less than %d", most, memoryBoundMiB)
		}
		// Other clients are served meanwhile.
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintln(c, `{"from":1,"read":1}`)
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"index":1,`) && !strings.HasPrefix(line, `{"current":true}`) {
			t.Errorf("a read is answered %.100q, %v", line, err)
		}
		i.mustEnd()
	})
}

// memoryBoundMiB is the limit of a server's memory, with default settings, while its disk
// does not keep up: 128 MiB wait for the disk (server.Config.MaxInFlight), and the heap
// grows beyond the memory in use.
const memoryBoundMiB = 768

// residentMiB returns the resident memory of a process in MiB.
func residentMiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte("VmRSS:"))
	fields := strings.Fields(string(rest))
	if len(fields) == 0 {
		t.Fatalf("no VmRSS in %s", b)
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}
