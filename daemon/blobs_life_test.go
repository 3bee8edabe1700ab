package daemon

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/backup"
	"tcp-log-server/engine"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/bucketblobs"
	"tcp-log-server/segment"
)

// TestBlobsInBucket: a log whose blobs are in a bucket settles, removes its segments, is read after a
// restart, and is checked, repaired and copied from there.
func TestBlobsInBucket(t *testing.T) {
	const entries = 300
	share := t.TempDir()
	url := "file://" + filepath.ToSlash(share)
	store, err := bucketblobs.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	config := engine.NewConfig(filepath.Join(t.TempDir(), "data"))
	config.BlobStore, config.SegmentSize, config.RemoveAfter, config.SettleEvery = store, 1<<10, 0, time.Millisecond
	entry := func(i int) string { return fmt.Sprintf(`{"n":%d}`, i) }
	l, err := engine.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, entries)
	for i := 1; i <= entries; i++ {
		l.Append([]byte(entry(i)+"\n"), 1, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); l.Stats().Unsettled > 0 || l.Stats().First < entries/2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not settled and removed after a minute: %+v", l.Stats())
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	whole := func(data string, open func(t *testing.T) *engine.Log) {
		t.Helper()
		l := open(t)
		next := 1
		err := l.Read(t.Context(), 1, entries, func(first uint64, count int, lines []byte, _ int64, err error) error {
			for line := range bytes.Lines(lines) {
				if string(line) != entry(next)+"\n" {
					return fmt.Errorf("entry %d is %s", next, line)
				}
				next++
			}
			return err
		})
		if err != nil || next != entries+1 {
			t.Errorf("%s: read through %d: %v", data, next-1, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	// The daemon opens it with its default sizes and times.
	start := func(t *testing.T) *engine.Log {
		c := NewConfig(config.Data)
		c.Blobs = url
		d := &daemon{config: c}
		if err := d.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		return d.log
	}
	whole(config.Data, start)

	options := fsck.Options{Data: config.Data, BlobStore: store}
	check := func(when string, errs int64) {
		t.Helper()
		if sum, err := fsck.Check(t.Context(), options); err != nil || sum.Errors != errs {
			t.Errorf("fsck %s: %d errors, %v, want %d", when, sum.Errors, err, errs)
		}
	}
	check("at first", 0)

	dest := filepath.Join(t.TempDir(), "backup")
	if _, err := backup.Run(t.Context(), backup.Config{Data: config.Data, BlobStore: store, Dest: dest}); err != nil {
		t.Fatal(err)
	}
	if sum, err := fsck.Check(t.Context(), fsck.Options{Data: dest}); err != nil || sum.Errors > 0 || sum.Entries != entries {
		t.Errorf("fsck of the backup: %+v, %v", sum, err)
	}

	path := func(i int) string { return filepath.Join(share, segment.BlobPath(segment.Sum([]byte(entry(i))))) }
	wrong := func(i int) error { return os.WriteFile(path(i), []byte("[1]"), 0o600) }
	for _, test := range []struct {
		what  string
		i     int
		spoil func(i int) error
		from  string
	}{
		{"of a wrong blob whose entry is in a segment", entries, wrong, ""},
		{"of a wrong blob", 1, wrong, dest},
		{"of a missing blob", 2, func(i int) error { return os.Remove(path(i)) }, dest},
	} {
		if err := test.spoil(test.i); err != nil {
			t.Fatal(err)
		}
		check("before the repair "+test.what, 1)
		if _, err := fsck.Repair(t.Context(), fsck.RepairOptions{Options: options, From: test.from}); err != nil {
			t.Errorf("repair %s: %v", test.what, err)
		}
		if got, err := os.ReadFile(path(test.i)); err != nil || string(got) != entry(test.i) {
			t.Errorf("after the repair %s it has %q, %v", test.what, got, err)
		}
		check("after the repair "+test.what, 0)
	}
	whole(config.Data, start)
}
