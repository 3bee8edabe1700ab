package faults

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFailingDiskWhileSettling makes system calls after the acknowledgement fail with
// EIO. The entries stay in their segment, and appends and reads continue. Once the
// disk works again, the settler catches up.
func TestFailingDiskWhileSettling(t *testing.T) {
	needAttach(t)
	at := func(parts ...string) func(string) string {
		return func(data string) string { return filepath.Join(append([]string{data}, parts...)...) }
	}
	const record = "00000000000000000001"
	for _, tt := range []struct {
		name, calls string
		path        func(data string) string
	}{
		{"creation-of-a-blob", "openat", at("blobs", "blob.tmp")},
		{"write-of-a-blob", "write", at("blobs", "blob.tmp")},
		{"naming-of-a-blob", "?rename,renameat,?renameat2", at("blobs", "blob.tmp")},
		{"sync-of-blobs", "syncfs", at("blobs")},
		{"write-of-index-records", "write", at("wal", record)},
		{"sync-of-index-records", "fsync", at("wal", record)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			h := newHistory(nil)
			p := server(t, options{Env: []string{"LOG_LEVEL=debug", "FAULT_SETTLE_EVERY=10ms"}})
			accepted(t, p.addr, h, 20)
			settledAll(t, p, 20)

			i := inject(t, p, tt.calls, "error=EIO", tt.path(p.data))
			accepted(t, p.addr, h, 100)
			p.await("settle")
			accepted(t, p.addr, h, 100)
			verify(t, p.addr, h)
			i.mustEnd()
			settledAll(t, p, 220)
			verify(t, p.addr, h)
			p.clean()
			for _, e := range p.logged("settle") {
				if text, _ := e["error"].(string); text == "" || e["settled"].(float64) != 20 {
					t.Errorf("the failure is logged as %v, want its error, and the last entry that was settled: 20", e)
				}
			}
			fsckSettled(t, p.data, 220)
			recovered(t, p.data, h)
		})
	}
}

// TestFailingDiskRemoving: a segment that cannot be removed stays readable, and so do
// those after it. The next start continues to remove them.
func TestFailingDiskRemoving(t *testing.T) {
	needAttach(t)
	for _, tt := range []struct {
		name, calls string
		path        func(t *testing.T, data string) string
	}{
		{"removal-of-a-segment", "?unlink,unlinkat", func(t *testing.T, data string) string { return segmentFiles(t, data)[0] }},
		{"sync-of-a-removal", "fsync", func(_ *testing.T, data string) string { return filepath.Join(data, "segments") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHistory(nil)
			env := []string{"FAULT_SEGMENT_SIZE=4096", "FAULT_REMOVE_AFTER=1ms", "FAULT_SETTLE_EVERY=10ms"}
			p := server(t, options{Env: env})
			free := hold(t, p.data)
			h.write(t, p.addr, load{Depth: 10, Entries: 200})
			before := len(segmentFiles(t, p.data))
			i := inject(t, p, tt.calls, "error=EIO", tt.path(t, p.data))
			free()
			e := p.await("remove")
			if text, _ := e["error"].(string); text == "" {
				t.Errorf("the failure is logged as %v, want its error", e)
			}
			verify(t, p.addr, h)
			i.mustEnd()
			accepted(t, p.addr, h, 10)
			verify(t, p.addr, h)
			if now := len(segmentFiles(t, p.data)); now < before-1 {
				t.Errorf("of %d segments %d are left: one after the failed one was removed", before, now)
			}
			p.clean()

			p = server(t, options{Data: p.data, Env: env})
			eventually(t, "segments are removed again", func() bool { return len(segmentFiles(t, p.data)) <= 2 })
			verify(t, p.addr, h)
			p.clean()
			recovered(t, p.data, h, env...)
		})
	}
}

// hold keeps the server from removing segments, as a backup does, until free is
// called.
func hold(t *testing.T, data string) (free func()) {
	t.Helper()
	d, err := os.Open(filepath.Join(data, "segments"))
	if err == nil {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { d.Close() }
}
