package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPowerCut cuts the power under a loaded server, and starts it again on the content of
// the disk: every entry acknowledged before the cut is there. The controls show that the
// cut is real: a server that does not sync loses acknowledged entries.
func TestPowerCut(t *testing.T) {
	needLoop(t)
	for name, mode := range map[string]string{"ordered": "data=ordered", "writeback": "data=writeback"} {
		t.Run(name, func(t *testing.T) {
			for i := range max(2, scaled(t, 2)) {
				settings := [][]string{nil, tuned}[i%2]
				h, head, err := cutPower(t, mode, program(t), settings)
				if err != nil {
					t.Fatalf("the log is not what was acknowledged: %v", err)
				}
				acked, refused, unknown := h.counts()
				t.Logf("round %d: head %d, %d acknowledged, %d refused, %d without a reply or unknown", i, head, acked, refused, unknown)
			}
		})
	}
	for name, mode := range map[string]string{"control-ordered": "data=ordered", "control-writeback": "data=writeback"} {
		t.Run(name, func(t *testing.T) {
			binary := withoutSync(t)
			// The kernel may have written everything on its own, but that is unlikely.
			for range 5 {
				_, _, err := cutPower(t, mode, binary, nil)
				if err == nil {
					continue
				}
				if !strings.Contains(err.Error(), "acknowledged entries are missing") && !strings.Contains(err.Error(), "damaged") {
					t.Fatal(err)
				}
				t.Logf("as it has to be without a sync: %v", err)
				return
			}
			t.Error("a server that does not sync has lost nothing: the cut is none")
		})
	}
}

// cutPower runs a server under load, cuts its power, and compares what the next start
// serves with the acknowledgements before the cut.
func cutPower(t *testing.T, mode, binary string, settings []string) (h *history, head uint64, err error) {
	t.Helper()
	disk := newImage(t, 256, mode)
	defer disk.unmount()
	h = newHistory(nil)
	data := filepath.Join(disk.dir, "data")
	p := server(t, options{Data: data, Env: settings, Binary: binary})
	var before uint64 // the greatest index that was acknowledged before the cut
	underLoad(t, p, h, killLoad, func() {
		time.Sleep(100 * time.Millisecond) // until there is something to lose
		moment(400 * time.Millisecond)
		before = h.highest.Load()
		disk.cut()
	})
	disk.unmount()
	disk.mount()
	p = launch(t, options{Data: data, Env: settings})
	if _, ok := p.awaitNth("listening", 1); !ok {
		return h, 0, errText(p.stderr())
	}
	p.listening()
	defer p.kill9() // before the file system is unmounted
	// Without power there would be no acknowledgements after the cut. Here a sync in
	// progress at the cut may wrongly return success: see docs/RELIABILITY.md.
	if head, err = compare(p.addr, h, before); err != nil {
		return h, head, err
	}
	if highest := h.highest.Load(); head < highest {
		t.Logf("entries %d to %d were acknowledged after the cut, and are not there", head+1, highest)
	}
	p.clean()
	fsck(t, data)
	return h, head, nil
}

// errText is the error that a server printed.
type errText string

func (e errText) Error() string { return strings.TrimSpace(string(e)) }

// withoutSync is a server that syncs neither a commit nor the proof that follows it.
func withoutSync(t *testing.T) string {
	t.Helper()
	path, err := unsynced()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var unsynced = sync.OnceValues(func() (string, error) {
	const (
		with    = "	if err := w.f.Datasync(); err != nil {\n		w.broken = fmt.Errorf(\"%w: %s: %w\", ErrSync"
		without = "	if err := error(nil); err != nil {\n		w.broken = fmt.Errorf(\"%w: %s: %w\", ErrSync"
	)
	root, err := filepath.Abs(tree())
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "segment", "writer.go")
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), with); n != 2 {
		return "", fmt.Errorf("%s syncs in this form %d times, want 2: Commit and Prove", path, n)
	}
	altered, overlay := filepath.Join(scratch, "writer.go"), filepath.Join(scratch, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{path: altered}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(
		os.WriteFile(altered, []byte(strings.ReplaceAll(string(source), with, without)), 0o600),
		os.WriteFile(overlay, b, 0o600),
	); err != nil {
		return "", err
	}
	return build(root, "tcp-log-server-unsynced", "-overlay", overlay)
})
