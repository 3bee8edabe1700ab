package archive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/internal/systrace"
	"tcp-log-server/segment"
)

const restoreSyncsDir = "ARCHIVE_RESTORE_SYNCS_DIR"

// restoreSyncsChild restores a complete archive, with an index file, to the directory "whole", a
// part that ends within a segment to "part", and the complete archive in two runs to "again".
func restoreSyncsChild(t *testing.T, dir string) {
	l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
	l.add(t, 60)
	done := make(chan error, 1)
	l.Append(bytes.Repeat([]byte("[]\n"), segment.RecordsPerFile), segment.RecordsPerFile, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	must(t, <-done)
	l.add(t, segment.RecordsPerFile+70)
	l.sealed(t)
	l.settled(t)
	must(t, os.WriteFile(filepath.Join(l.dir, epochKey), []byte("2 21\n"), 0o600))
	archiveOnce(t, l, b)
	for name, through := range map[string]uint64{"whole": 0, "part": 30} {
		_, err := Restore(context.Background(), b, RestoreConfig{Dir: filepath.Join(dir, name), Through: through})
		must(t, err)
	}
	// One that was killed after it had written everything and synced nothing.
	config := RestoreConfig{Dir: filepath.Join(dir, "again"), step: func(name string) error {
		if name == "commit" {
			return errKilled
		}
		return nil
	}}
	if _, err := Restore(context.Background(), b, config); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(config.Dir, stageName, "segments", "*"))
	must(t, err)
	for _, path := range files {
		content, err := os.ReadFile(path)
		must(t, err)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt(content, 0)
		must(t, errors.Join(err, f.Close()))
	}
	config.step = nil
	_, err = Restore(context.Background(), b, config)
	must(t, err)
}

// TestRestoreSyncs: everything that a restore makes is on disk before it becomes a log, and then so
// is the fact that it is one.
func TestRestoreSyncs(t *testing.T) {
	if dir := os.Getenv(restoreSyncsDir); dir != "" {
		restoreSyncsChild(t, dir)
		return
	}
	dir := t.TempDir()
	b := systrace.Of(t, "TestRestoreSyncs", restoreSyncsDir+"="+dir)
	for _, name := range []string{"whole", "part", "again"} {
		for _, wrong := range checkRestoreSyncs(b, filepath.Join(dir, name)) {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	doctored := regexp.MustCompile(`(?m)^\d+ +(<\.\.\. )?fsync\b.*$`).ReplaceAll(b, nil)
	if len(checkRestoreSyncs(doctored, filepath.Join(dir, "part"))) == 0 {
		t.Error("a trace without any fsync passes")
	}
}

// checkRestoreSyncs returns the problems in the trace of a restore to dir.
func checkRestoreSyncs(b []byte, dir string) []string {
	tr := &systrace.Trace{Calls: systrace.Parse(b)}
	stage, wal := filepath.Join(dir, stageName), filepath.Join(dir, "wal")
	segments := filepath.Join(stage, "segments")
	renames := []string{"rename", "renameat", "renameat2"}
	commit := systrace.Call{}
	tr.Each("renaming of the segments' directory", renames, func(c systrace.Call) bool { return c.Path == filepath.Join(dir, "segments") }, func(c systrace.Call) { commit = c })

	within := func(dir string) func(c systrace.Call) bool {
		return func(c systrace.Call) bool { return filepath.Dir(c.Path) == dir }
	}
	tr.Each("change of a segment", []string{"pwrite64", "ftruncate"}, within(segments), func(c systrace.Call) {
		if !tr.Between("fsync", c.Path, c.End, commit.Begin) {
			tr.Wrong("a %s of %s is not synced before the segments are in their place", c.Name, c.Path)
		}
	})
	tr.Each("change of the index", []string{"write"}, within(wal), func(c systrace.Call) {
		if !tr.Between("fsync", c.Path, c.End, commit.Begin) {
			tr.Wrong("what was written to %s is not synced before the segments are in their place", c.Path)
		}
	})
	for _, made := range []string{segments, wal} {
		tr.Each("file made", []string{"openat"}, func(c systrace.Call) bool {
			return within(made)(c) && strings.Contains(c.Args, "O_CREAT")
		}, func(c systrace.Call) {
			if !tr.Between("fsync", made, c.End, commit.Begin) {
				tr.Wrong("the name of %s is not synced before the segments are in their place", c.Path)
			}
		})
	}
	tr.Each("epoch", renames, func(c systrace.Call) bool { return c.Path == filepath.Join(dir, epochKey) }, func(c systrace.Call) {
		if !tr.Between("fsync", c.Path+".tmp", 0, c.Begin) || !tr.Between("fsync", dir, c.End, commit.Begin) {
			tr.Wrong("%s is not synced before the segments are in their place", c.Path)
		}
	})
	tr.Each("directory made", []string{"mkdir", "mkdirat"}, func(c systrace.Call) bool { return strings.HasPrefix(c.Path, dir) }, func(c systrace.Call) {
		if !tr.Between("fsync", filepath.Dir(c.Path), c.End, commit.Begin) {
			tr.Wrong("the name of %s is not synced before the segments are in their place", c.Path)
		}
	})
	tr.Each("stage removed", []string{"unlink", "unlinkat"}, func(c systrace.Call) bool {
		return c.Begin > commit.End && strings.HasPrefix(c.Path, stage)
	}, func(c systrace.Call) {
		if !tr.Between("fsync", dir, commit.End, c.Begin) {
			tr.Wrong("%s is removed before the new place of the segments is synced", c.Path)
		}
	})
	return tr.Wrongs
}
