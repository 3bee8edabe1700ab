package fsck

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMisplacedDirectories gives directories that are not what the settings say: a check
// reports it, and a repair moves nothing, so that the log is unchanged once the settings
// are right.
func TestMisplacedDirectories(t *testing.T) {
	for _, c := range []struct {
		name     string
		segments bool // there are any
		options  func(o Options, strange string) Options
	}{
		{"swapped, with segments", true, func(o Options, _ string) Options { o.WAL, o.Blobs = o.Blobs, o.WAL; return o }},
		{"swapped, without segments", false, func(o Options, _ string) Options { o.WAL, o.Blobs = o.Blobs, o.WAL; return o }},
		{"the index is the blobs", true, func(o Options, _ string) Options { o.WAL = o.Blobs; return o }},
		{"the blobs are the index", true, func(o Options, _ string) Options { o.Blobs = o.WAL; return o }},
		{"the index is the segments", true, func(o Options, _ string) Options { o.WAL = segmentDir(o.Data); return o }},
		{"the blobs are the log", true, func(o Options, _ string) Options { o.Blobs = o.Data; return o }},
		{"the index is the log", true, func(o Options, _ string) Options { o.WAL = o.Data; return o }},
		{"the index is of no log", true, func(o Options, strange string) Options { o.WAL = strange; return o }},
		{"the blobs are of no log", true, func(o Options, strange string) Options { o.Blobs = strange; return o }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dir := filepath.Join(top, "data")
			right := Options{Data: dir, WAL: filepath.Join(top, "w"), Blobs: filepath.Join(top, "b")}
			copyTree(t, newStore(t, both), dir)
			must(t, os.Rename(filepath.Join(dir, "wal"), right.WAL))
			must(t, os.Rename(filepath.Join(dir, "blobs"), right.Blobs))
			strange := filepath.Join(top, "letters")
			must(t, os.Mkdir(strange, 0o700))
			must(t, os.WriteFile(filepath.Join(strange, "a letter"), []byte("dear"), 0o600))
			if !c.segments {
				must(t, os.RemoveAll(segmentDir(dir)))
			}
			runRepair(t, RepairOptions{Options: right}) // settled segments may be removed, and LOCK exists
			was, want := treeSum(t, top), runCheck(t, right)
			if want.Errors > 0 {
				t.Fatal(want)
			}

			wrong := c.options(right, strange)
			if got := runCheck(t, wrong); !got.has(Foreign) || got.Errors == 0 || got.has(StrayFile) {
				t.Errorf("a check finds:\n%s", got)
			}
			res, code, said := runRepair(t, RepairOptions{Options: wrong, AcceptLoss: true, Prune: true, From: newStore(t, both)})
			if code != ExitErrors || res.Outcome.Steps > 0 || treeSum(t, top) != was {
				t.Errorf("a repair: exit code %d, %d steps:\n%s", code, res.Outcome.Steps, said)
			}
			if got := runCheck(t, right); got.Errors > 0 || got.Digest != want.Digest {
				t.Errorf("with the right settings:\n%s", got)
			}
		})
	}
}

// TestNamedDirectoriesMissing names directories that do not exist, which is refused
// except for a repair from a copy, and removes the default one of the blobs, which is
// reported.
func TestNamedDirectoriesMissing(t *testing.T) {
	dir := newStore(t, both)
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	for _, o := range []Options{{Data: dir, WAL: nowhere}, {Data: dir, Blobs: nowhere}} {
		if _, err := Check(t.Context(), o); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), nowhere) {
			t.Errorf("a check: %v, want %s named", err, nowhere)
		}
		if _, err := Repair(t.Context(), RepairOptions{Options: o}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a repair: %v", err)
		}
		if _, err := os.Lstat(nowhere); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there now: %v", nowhere, err)
		}
	}
	if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir, WAL: nowhere}, From: newStore(t, both)}); code == ExitErrors {
		t.Errorf("from a copy: exit code %d:\n%s", code, said)
	}
	dir = newStore(t, both)
	must(t, os.RemoveAll(filepath.Join(dir, "blobs")))
	if c := runCheck(t, Options{Data: dir}); !c.has(BlobAbsent) || c.Errors > 0 {
		t.Errorf("without the directory of the blobs:\n%s", c)
	}
}
