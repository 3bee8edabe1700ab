package faults

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUnreadable makes reads fail with EIO. An entry with another whole copy is read
// from there. For one without, the reader gets an error in its place. The read
// continues, and so do appends.
func TestUnreadable(t *testing.T) {
	needAttach(t)
	packed := []string{"LOOSE_MAX=0"}
	loose := []string{"LOG_LEVEL=debug", "FAULT_SEGMENT_SIZE=4096", "FAULT_REMOVE_AFTER=1ms", "FAULT_SETTLE_EVERY=10ms"}
	for _, tt := range []struct {
		name, calls string
		env         []string
		path        func(t *testing.T, data string) string
		gone        bool // the segments of the entries are gone
		bad         int  // entries that cannot be read, out of 60
	}{
		{"segment", "pread64", packed, func(t *testing.T, data string) string { return segmentFiles(t, data)[0] }, false, 60},
		{"segment-with-blobs", "pread64", nil, func(t *testing.T, data string) string { return segmentFiles(t, data)[0] }, false, 0},
		{"blob", "read", loose, func(t *testing.T, data string) string { return blobOf(t, data, newHistory(nil).entry("0", 7)) }, true, 1},
		{"index", "pread64", loose, func(t *testing.T, data string) string { return files(t, data, "wal", "00*")[0] }, true, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHistory(nil)
			p := server(t, options{Env: append([]string{"LOG_LEVEL=debug"}, tt.env...)})
			h.write(t, p.addr, load{Depth: 5, Entries: 60})
			settledAll(t, p, 60)
			if tt.gone {
				h.write(t, p.addr, load{Depth: 5, Entries: 60})
				eventually(t, "the segments of the first entries are removed", func() bool { return firstIndex(t, p.data) > 60 })
			}
			p.clean() // so that no reader has cached anything
			p = server(t, options{Data: p.data, Env: tt.env})

			i := inject(t, p, tt.calls, "error=EIO", tt.path(t, p.data))
			bad := pull(t, p.addr, h, 60)
			if bad != tt.bad {
				t.Errorf("%d entries could not be read, want %d", bad, tt.bad)
			}
			accepted(t, p.addr, h, 5)
			i.mustEnd()
			verify(t, p.addr, h)
			p.clean()
			recovered(t, p.data, h)
		})
	}
}

// blobOf returns the path of the blob that holds an entry.
func blobOf(t *testing.T, data, entry string) string {
	t.Helper()
	for _, path := range files(t, data, "blobs", "??/*") {
		if b, err := os.ReadFile(path); err == nil && string(b) == entry {
			return path
		}
	}
	t.Fatalf("there is no blob of %s", entry)
	return ""
}

// firstIndex returns the first index of a segment.
func firstIndex(t *testing.T, data string) (first int) {
	t.Helper()
	if _, err := fmt.Sscanf(filepath.Base(segmentFiles(t, data)[0]), "%d.seg", &first); err != nil {
		t.Fatal(err)
	}
	return first
}

// pull reads the first n entries, which are the first writer's. Each must be as it was
// sent, or reported as unreadable. pull returns the number of unreadable ones.
func pull(t *testing.T, addr string, h *history, n int) (bad int) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "{\"from\":1,\"read\":%d}\n", n)
	lines := bufio.NewReader(c)
	for i := range n {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			t.Fatalf("the read ended before index %d: %v", i+1, err)
		case line == fmt.Sprintf("{\"index\":%d,\"entry\":%s}\n", i+1, h.entry("0", i)):
		case strings.HasPrefix(line, fmt.Sprintf(`{"index":%d,"error":"`, i+1)) && strings.Contains(line, "input/output error"):
			bad++
		default:
			t.Fatalf("line is %q, want index %d and its entry, or why that cannot be read", line, i+1)
		}
	}
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"head":`) {
		t.Fatalf("the read ends in %q, %v, want the head", line, err)
	}
	return bad
}
