package faults

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestFailingDisk makes system calls of appends fail with EIO under load. The batch
// is refused or its outcome is unknown, readers never see it, reads continue, and
// the next start has every acknowledged entry and no refused one.
func TestFailingDisk(t *testing.T) {
	needAttach(t)
	open := func(t *testing.T, data string) []string {
		all := segmentFiles(t, data)
		return all[len(all)-1:]
	}
	next := func(_ *testing.T, data string) []string { return []string{filepath.Join(data, "segments", "next.tmp")} }
	dir := func(_ *testing.T, data string) []string { return []string{filepath.Join(data, "segments")} }
	all := func(*testing.T, string) []string { return nil }
	small := []string{"FAULT_SEGMENT_SIZE=65536"}
	for _, tt := range []struct {
		name, calls string
		paths       func(t *testing.T, data string) []string
		env         []string
		unknown     bool   // the outcome of the first batch is unknown, and the log takes no more appends
		says        string // the error of refused appends
	}{
		{"sync-of-a-batch", "fdatasync", open, nil, true, "not stored: log has failed and takes no more appends: sync failed: "},
		{"write-of-a-batch", "pwrite64", open, nil, false, "not stored: not written to 00000000000000000001.seg: input/output error"},
		{"undoing-a-write", "pwrite64,ftruncate", open, nil, true, "not stored: log has failed and takes no more appends: sync failed: "},
		{"creation-of-a-segment", "openat", next, small, false, "not stored: open "},
		{"sync-of-a-new-segment", "fdatasync", next, small, false, "not stored: create segment "},
		{"naming-of-a-new-segment", "?rename,renameat,?renameat2", next, small, false, "not stored: create segment "},
		{"sync-of-the-directory", "fsync", dir, small, false, "not stored: create segment "},
		{"sync-of-the-directory-and-removal", "fsync,unlinkat", all, small, false, "not stored: create segment "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHistory(nil)
			p := server(t, options{Env: tt.env})
			h.write(t, p.addr, load{Writers: 4, Depth: 8, Entries: 25})

			writers := h.start(t, p.addr, load{Writers: 8, Depth: 16})
			i := inject(t, p, tt.calls, "error=EIO", tt.paths(t, p.data)...)
			eventually(t, "a batch is not stored", func() bool { return h.failures() > 0 })
			writers.halt()
			if tt.env == nil { // if the segment is full, smaller batches may still fit
				refused(t, p.addr, h, 3, tt.says)
			}
			served(t, p.addr)
			i.mustEnd()
			if tt.unknown {
				p.await("failed")
				refused(t, p.addr, h, 3, tt.says)
			} else {
				p.await("refused")
				accepted(t, p.addr, h, 50)
			}
			acked, _, unknown := h.counts()
			if head := verify(t, p.addr, h); head != uint64(acked) {
				t.Errorf("%d entries are served, want the %d that were acknowledged", head, acked)
			}
			if tt.unknown != (unknown > 0) {
				t.Errorf("%d entries have an unknown outcome, want some: %v; %v", unknown, tt.unknown, h.errors())
			}
			for text := range h.errors() {
				if !strings.Contains(text, "input/output error") || !strings.HasPrefix(text, tt.says) && !strings.HasPrefix(text, "outcome unknown: ") {
					t.Errorf("a writer is told %q, want %q and the error", text, tt.says)
				}
			}
			if tt.unknown {
				failed(t, p, "sync failed: ", ".seg: ", "input/output error")
			} else {
				p.clean()
			}
			recovered(t, p.data, h)
		})
	}
}

// TestFailingDiskSealing: a segment that cannot be sealed stays as it is, and the log
// continues. The next start seals it.
func TestFailingDiskSealing(t *testing.T) {
	needAttach(t)
	h := newHistory(nil)
	p := server(t, options{Env: []string{"FAULT_SEGMENT_SIZE=16384"}})
	i := inject(t, p, "ftruncate", "error=EIO")
	h.write(t, p.addr, load{Writers: 4, Depth: 8, Entries: 200})
	p.await("seal")
	i.mustEnd()
	accepted(t, p.addr, h, 200)
	verify(t, p.addr, h)
	p.clean()
	if acked, _, _ := h.counts(); acked != 1000 {
		t.Errorf("%d of 1000 appends were acknowledged: %v", acked, h.errors())
	}
	recovered(t, p.data, h)
}
