package bucket_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/bucket/buckettest"
	"tcp-log-server/internal/systrace"
)

const fileSyncsDir = "BUCKET_FILE_SYNCS_DIR"

// fileSyncsChild puts a new object, replaces it, and finds it; a mark follows each step.
func fileSyncsChild(t *testing.T, dir string) {
	content := string(buckettest.Content(1, 300<<10))
	for _, mark := range []string{"new", "replaced", "found"} {
		root := filepath.Join(dir, "bucket")
		if err := os.MkdirAll(root, 0o700); err != nil {
			t.Fatal(err)
		}
		b := openDir(t, root, bucket.Options{}) // as after a restart
		err := b.Put(t.Context(), "deep/object", strings.NewReader(content), int64(len(content)), mark != "replaced")
		if (err != nil) != (mark == "found") {
			t.Fatalf("%s: %v", mark, err)
		}
		if err := os.WriteFile(filepath.Join(dir, mark), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFileSyncs: an object is on disk before it has its name, and its name before Put returns, even
// if Put returns that it exists.
func TestFileSyncs(t *testing.T) {
	if dir := os.Getenv(fileSyncsDir); dir != "" {
		fileSyncsChild(t, dir)
		return
	}
	dir := t.TempDir()
	b := systrace.Of(t, "TestFileSyncs", fileSyncsDir+"="+dir)
	for _, wrong := range checkFileSyncs(b, dir) {
		t.Error(wrong)
	}
	doctored := regexp.MustCompile(`(?m)^\d+ +(<\.\.\. )?fsync\b.*$`).ReplaceAll(b, nil)
	if len(checkFileSyncs(doctored, dir)) == 0 {
		t.Error("a trace without any fsync passes")
	}
}

// checkFileSyncs returns the problems in a trace of fileSyncsChild.
func checkFileSyncs(b []byte, dir string) []string {
	tr := &systrace.Trace{Calls: systrace.Parse(b)}
	root := filepath.Join(dir, "bucket")
	object := filepath.Join(root, "deep", "object")
	done := func(mark string) int {
		return tr.Next(0, func(c systrace.Call) bool { return c.Name == "openat" && c.Path == filepath.Join(dir, mark) })
	}
	isPart := func(c systrace.Call) bool { return filepath.Dir(c.Path) == filepath.Join(root, ".unfinished") }
	puts := 0
	tr.Each("name given", []string{"link", "linkat", "rename", "renameat", "renameat2"}, func(c systrace.Call) bool { return c.Path == object }, func(c systrace.Call) {
		mark := []string{"new", "replaced"}[min(puts, 1)]
		puts++
		var part systrace.Call // the last write of the content
		for _, w := range tr.Calls {
			if w.Name == "write" && isPart(w) && w.Begin < c.Begin {
				part = w
			}
		}
		if !tr.Between("fsync", part.Path, part.End, c.Begin) {
			tr.Wrong("the %s object gets its name before its bytes are synced", mark)
		}
		if !tr.Between("fsync", filepath.Dir(object), c.End, done(mark)) {
			tr.Wrong("the put of the %s object returns before its name is synced", mark)
		}
	})
	if puts != 2 {
		tr.Wrong("the object got its name %d times, want twice", puts)
	}
	if !tr.Between("fsync", filepath.Dir(object), done("replaced"), done("found")) {
		tr.Wrong("the object is said to be there before its name is synced")
	}
	tr.Each("directory made", []string{"mkdir", "mkdirat"}, func(c systrace.Call) bool { return strings.HasPrefix(c.Path, root+"/") }, func(c systrace.Call) {
		if !tr.Between("fsync", filepath.Dir(c.Path), c.End, done("new")) {
			tr.Wrong("the put returns before the name of %s is synced", c.Path)
		}
	})
	return tr.Wrongs
}
