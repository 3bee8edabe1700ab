package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/engine"
)

// TestBlobsURL: BLOBS as a URL becomes a blob store of the engine, and makes no directory of that name.
func TestBlobsURL(t *testing.T) {
	share := t.TempDir()
	c := NewConfig(filepath.Join(t.TempDir(), "data"))
	c.Blobs = "file://" + filepath.ToSlash(share)
	d := &daemon{config: c}
	if err := d.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	d.log.Append([]byte("{\"n\":1}\n"), 1, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := d.log.Close(); err != nil { // settles the entry
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(share, "??", "*"))
	marks, _ := filepath.Glob(filepath.Join(share, "store-*"))
	if len(found) != 1 || len(marks) != 1 {
		t.Errorf("the share has the blobs %q and the marks %q, want one each", found, marks)
	}
	if _, err := os.Stat(filepath.Join(c.Data, "blobs")); err == nil {
		t.Error("a directory of blobs was made too")
	}
	c.Blobs = "file://host/path"
	if err := (&daemon{config: c}).open(t.Context()); err == nil || !strings.Contains(err.Error(), "three slashes") {
		t.Errorf("a bad URL: %v", err)
	}
}
