package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadOnly revokes, and then restores, write access to one part of the log or to
// the whole log.
func TestReadOnly(t *testing.T) {
	t.Run("blobs", func(t *testing.T) {
		needTmpfs(t)
		h := newHistory(nil)
		data, dir := newData(t), newTmpfs(t, "size=32m")
		blobs := filepath.Join(dir, "blobs")
		p := server(t, options{Data: data, Env: []string{"LOG_LEVEL=debug", "BLOBS=" + blobs, "FAULT_SETTLE_EVERY=10ms"}})
		accepted(t, p.addr, h, 20)
		settledAll(t, p, 20)
		run(t, "mount", "-o", "remount,ro", dir)
		accepted(t, p.addr, h, 100)
		if e := p.await("settle"); !strings.Contains(e["error"].(string), "read-only file system") {
			t.Errorf("the failure is logged as %v", e)
		}
		verify(t, p.addr, h)
		run(t, "mount", "-o", "remount,rw", dir)
		settledAll(t, p, 120)
		p.clean()
		fsckSettled(t, data, 120, "--blobs", blobs)
	})
	// Without capabilities, file modes restrict even root.
	t.Run("segments", func(t *testing.T) {
		needRoot(t)
		needTool(t, "setpriv")
		h := newHistory(nil)
		p := server(t, options{
			Env:  []string{"LOG_LEVEL=debug", "FAULT_SEGMENT_SIZE=65536", "FAULT_SETTLE_EVERY=10ms"},
			Wrap: []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"},
		})
		accepted(t, p.addr, h, 20)
		segments := filepath.Join(p.data, "segments")
		chmod(t, segments, 0o500)
		writers := h.start(t, p.addr, load{Writers: 4, Depth: 16})
		eventually(t, "a segment cannot be created", func() bool { return h.failures() > 0 })
		writers.halt()
		p.await("refused")
		verify(t, p.addr, h)
		for text := range h.errors() {
			if !strings.HasPrefix(text, "not stored: open ") || !strings.HasSuffix(text, "permission denied") {
				t.Errorf("a writer is told %q, want that there is no permission", text)
			}
		}
		chmod(t, segments, 0o700)
		accepted(t, p.addr, h, 500)
		acked, _, unknown := h.counts()
		if head := verify(t, p.addr, h); head != uint64(acked) || unknown > 0 {
			t.Errorf("the log has %d entries, %d were acknowledged, %d have an unknown outcome", head, acked, unknown)
		}
		settledAll(t, p, uint64(acked))
		p.clean()
		fsckSettled(t, p.data, acked)
		recovered(t, p.data, h)
	})
	// ext4 does this after an error in its own metadata.
	t.Run("file-system", func(t *testing.T) {
		needTmpfs(t)
		needLoop(t)
		needTool(t, "truncate", "fallocate", "fstrim")
		h := newHistory(nil)
		d := newThinDisk(t)
		trigger := filepath.Join("/sys/fs/ext4", filepath.Base(d.loop), "trigger_fs_error")
		if _, err := os.Stat(trigger); err != nil {
			t.Skip("needs ", trigger)
		}
		run(t, "mount", "-o", "remount,errors=remount-ro", d.dir)
		p := server(t, options{Data: filepath.Join(d.dir, "data")})
		accepted(t, p.addr, h, 100)
		writers := h.start(t, p.addr, load{Writers: 4, Depth: 16})
		if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, "appends fail", func() bool { return h.failures() > 0 })
		writers.halt()
		refused(t, p.addr, h, 3, "not stored: log has failed and takes no more appends: ")
		p.await("failed")
		acked, _, _ := h.counts()
		if head := verify(t, p.addr, h); head != uint64(acked) {
			t.Errorf("%d entries are served, want the %d that were acknowledged", head, acked)
		}
		failed(t, p, "sync failed: ", "read-only file system")

		p = launch(t, options{Data: p.data})
		if code, text := p.wait(), p.stderr(); code != 1 || !strings.Contains(text, "read-only file system") {
			t.Errorf("the start on it ends with exit code %d and %q, want 1 and why", code, text)
		}
		d.remount()
		recovered(t, p.data, h)
	})
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
