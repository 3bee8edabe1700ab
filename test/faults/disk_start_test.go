package faults

import (
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFailingDiskAtStart makes each kind of system call of recovery fail with EIO. The
// server refuses to start with one line that names the file, and has changed nothing
// except to clean up after a crash. The next start, on a working disk, has
// everything.
func TestFailingDiskAtStart(t *testing.T) {
	needStrace(t)
	h, crashed := crashedLog(t)
	before := snapshot(t, crashed)
	const (
		firstSegment = "segments/00000000000000000001.seg"
		lastSegment  = "segments/last"
		record       = "wal/00000000000000000001"
	)
	for _, tt := range []struct {
		name, calls, path string
		changed           bool // the traces of a crash may have been cleaned up in part
	}{
		{"segments-unlisted", "getdents64", "segments", false},
		{"first-segment-unreadable", "pread64", firstSegment, false},
		{"last-segment-unreadable", "pread64", lastSegment, false},
		{"last-segment-not-opened", "openat", lastSegment, false},
		{"index-unlisted", "getdents64", "wal", false},
		{"index-unreadable", "pread64", record, false},
		{"blobs-unlisted", "getdents64", "blobs", false},
		{"cutting-the-index", "ftruncate", record, true},
		{"sync-of-the-index", "fsync", record, true},
		{"cutting-the-last-segment", "ftruncate", lastSegment, true},
		{"sync-of-the-last-segment", "fdatasync", lastSegment, true},
		{"stray-file", "?unlink,unlinkat", "segments/next.tmp", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := newData(t)
			run(t, "cp", "-a", crashed, data)
			path := filepath.Join(data, tt.path)
			if tt.path == lastSegment {
				all := segmentFiles(t, data)
				path = all[len(all)-1]
			}
			trace := filepath.Join(t.TempDir(), "trace")
			p := launch(t, options{Data: data, Wrap: append([]string{"strace", "-f", "-qq", "-o", trace}, injected(tt.calls, "error=EIO", []string{path})...)})
			code, text := p.wait(), p.stderr()
			if b, err := os.ReadFile(trace); err != nil || !strings.Contains(string(b), "(INJECTED)") {
				t.Errorf("no system call has met the injected fault: %v\n%s", err, b)
			}
			if code != 1 || strings.Count(text, "\n") != 1 || !strings.Contains(text, path) || !strings.Contains(text, "input/output error") {
				t.Errorf("exit code is %d and the error %q, want 1 and one line with %s and why", code, text, path)
			}
			after := snapshot(t, data)
			for name, was := range before {
				if is, ok := after[name]; !tt.changed && (!ok || is != was) {
					t.Errorf("%s is not what it was", name)
				}
			}
			recovered(t, data, h)
		})
	}
}

// crashedLog makes a log of several segments with all possible traces of a crash,
// and the history of its entries.
func crashedLog(t *testing.T) (h *history, data string) {
	t.Helper()
	h, data = newHistory(nil), newData(t)
	p := server(t, options{Data: data, Env: []string{"LOG_LEVEL=debug", "FAULT_SEGMENT_SIZE=8192", "FAULT_SETTLE_EVERY=10ms"}})
	h.write(t, p.addr, load{Writers: 2, Depth: 5, Entries: 100})
	settledAll(t, p, 200)
	p.kill9()
	unfinish(t, data)
	return h, data
}

// snapshot returns a hash of each file below dir, by its path.
func snapshot(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	sums := make(map[string][32]byte)
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		sums[name] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}
