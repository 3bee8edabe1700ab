package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tcp-log-server/internal/systrace"
)

const (
	syncsDir    = "ENGINE_SYNCS_DIR"
	syncsBefore = 33_000 // entries: more than a file of the index holds
)

// syncsChild is a short life of a log: segments are begun, sealed, settled and removed,
// blobs and a second file of the index are written, and it is restarted.
func syncsChild(t *testing.T, dir string) {
	config := NewConfig(filepath.Join(dir, "deep", "data"))
	config.SegmentSize, config.SettleEvery, config.RemoveAfter, config.LooseMax = 16<<10, time.Millisecond, time.Millisecond, 40
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	pad := strings.Repeat("x", 3000)
	for n := range 20 {
		mustAppend(t, l, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, pad))
	}
	settled(t, l)
	eventually(t, "a segment to be removed", func() bool { return l.Stats().First > 1 })
	mustAppend(t, l, numbered(1, 30)...) // and no more blobs
	for range 3 {
		if r := <-submit(l, numbered(100, syncsBefore/3)...); r.err != nil {
			t.Fatal(r.err)
		}
	}
	mustAppend(t, l, "[]") // a segment that has room for more
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "again"), nil, 0o600); err != nil { // a mark in the trace
		t.Fatal(err)
	}
	if l, err = Open(config); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "[]")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSyncs follows the system calls of a log: everything that something else depends on
// is synced before it. A kill cannot reveal a missing sync, since the page cache stays; a
// trace can.
func TestSyncs(t *testing.T) {
	if dir := os.Getenv(syncsDir); dir != "" {
		syncsChild(t, dir)
		return
	}
	dir := t.TempDir()
	b := systrace.Of(t, "TestSyncs", syncsDir+"="+dir)
	data := filepath.Join(dir, "deep", "data")
	for _, wrong := range checkSyncs(systrace.Parse(b), data) {
		t.Error(wrong)
	}
	if t.Failed() {
		return
	}
	// And the checks find the faults that they are for: without its syncs a trace does
	// not pass.
	for _, name := range []string{"fdatasync", "fsync", "syncfs", "fadvise64"} {
		doctored := regexp.MustCompile(`(?m)^\d+ +(<\.\.\. )?`+name+`\b.*$`).ReplaceAll(b, nil)
		if bytes.Equal(doctored, b) {
			t.Errorf("the trace has no %s", name)
		}
		if len(checkSyncs(systrace.Parse(doctored), data)) == 0 {
			t.Errorf("a trace without any %s passes", name)
		}
	}
}

// checkSyncs returns what is wrong with the order of a trace.
func checkSyncs(calls []systrace.Call, data string) []string {
	tr := &systrace.Trace{Calls: calls}
	segments, wal, blobs := filepath.Join(data, "segments"), filepath.Join(data, "wal"), filepath.Join(data, "blobs")
	next := filepath.Join(segments, "next.tmp")
	renames := []string{"rename", "renameat", "renameat2"}
	isSegment := func(c systrace.Call) bool { return strings.HasSuffix(c.Path, ".seg") }

	last := 0
	tr.Each("new segment", renames, isSegment, func(c systrace.Call) {
		if !tr.Between("fdatasync", next, last, c.Begin) {
			tr.Wrong("%s gets its name before its bytes are synced", c.Path)
		}
		// After the rename a descriptor's path is the new one.
		first := tr.Next(c.End, func(w systrace.Call) bool { return w.Name == "pwrite64" && w.Path == c.Path })
		if !tr.Between("fsync", segments, c.End, first) {
			tr.Wrong("%s is written to before its name is synced", c.Path)
		}
		last = c.Begin
	})
	tr.Each("segment removed", []string{"unlink", "unlinkat"}, isSegment, func(c systrace.Call) {
		again := tr.Next(c.End, func(u systrace.Call) bool { return strings.HasPrefix(u.Name, "unlink") && isSegment(u) })
		if !tr.Between("fsync", segments, c.End, again) {
			tr.Wrong("the removal of %s is not synced before the next", c.Path)
		}
	})
	// The removal of the first segment depends on the blob of the first entry.
	for _, c := range tr.Calls {
		if slices.Contains(renames, c.Name) && filepath.Dir(filepath.Dir(c.Path)) == blobs {
			gone := tr.Next(c.End, func(u systrace.Call) bool { return strings.HasPrefix(u.Name, "unlink") && isSegment(u) })
			if !tr.Between("fadvise64", c.Path, c.End, gone) {
				tr.Wrong("a segment is removed although %s was read back from the page cache", c.Path)
			}
			break
		}
	}
	tr.Each("directory made", []string{"mkdir", "mkdirat"}, func(c systrace.Call) bool {
		return strings.HasPrefix(c.Path, filepath.Dir(filepath.Dir(data))) && filepath.Dir(c.Path) != blobs
	}, func(c systrace.Call) {
		if !tr.Between("fsync", filepath.Dir(c.Path), c.End, 1<<29) {
			tr.Wrong("the name of %s is not synced", c.Path)
		}
	})

	var blob systrace.Call // the last that was written
	tr.Each("record written", append(renames, "write"), func(c systrace.Call) bool {
		blob := filepath.Dir(filepath.Dir(c.Path)) == blobs && filepath.Base(c.Path) != "README" // of a mark
		return blob || c.Name == "write" && filepath.Dir(c.Path) == wal
	}, func(c systrace.Call) {
		if c.Name != "write" {
			blob = c
			return
		}
		if blob.Name != "" && !tr.Between("syncfs", blobs, blob.End, c.Begin) {
			tr.Wrong("records are written before the blobs, of which the last is %s, are synced", blob.Path)
		}
		later := tr.Next(c.End, func(w systrace.Call) bool { return w.Name == "write" && w.Path == c.Path })
		if !tr.Between("fsync", c.Path, c.End, later) {
			tr.Wrong("records in %s are not synced", c.Path)
		}
	})
	if blob.Name == "" {
		tr.Wrong("the trace has no blob")
	}
	again := tr.Next(0, func(c systrace.Call) bool {
		return c.Name == "openat" && c.Path == filepath.Join(filepath.Dir(filepath.Dir(data)), "again")
	})
	tr.Each("new file of the index", []string{"openat"}, func(c systrace.Call) bool {
		return filepath.Dir(c.Path) == wal && strings.Contains(c.Args, "O_CREAT") && c.Begin < again
	}, func(c systrace.Call) {
		if !tr.Between("fsync", wal, c.End, again) { // the next start syncs it anyway
			tr.Wrong("the name of %s is not synced", c.Path)
		}
	})

	// The second start: the content is read from the disk, and then made durable.
	var tail string
	for _, c := range tr.Calls {
		if c.Name == "pwrite64" && isSegment(c) && c.Begin > again {
			tail = c.Path
			if !tr.Between("fdatasync", tail, again, c.Begin) {
				tr.Wrong("%s is appended to, and what a crash may have left in it is not synced", tail)
			}
			break
		}
	}
	if tail == "" {
		tr.Wrong("the second start appends nothing")
	}
	for _, path := range []string{tail, lastIn(tr, wal)} {
		if !tr.Between("fadvise64", path, again, 1<<29) {
			tr.Wrong("%s is read from the page cache", path)
		}
	}
	return tr.Wrongs
}

// lastIn returns the last file in dir that was written to.
func lastIn(tr *systrace.Trace, dir string) (path string) {
	for _, c := range tr.Calls {
		if c.Name == "write" && filepath.Dir(c.Path) == dir {
			path = c.Path
		}
	}
	return path
}
