package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// holdConfig configures a log that would remove every segment at once.
func holdConfig(dir string) Config {
	c := NewConfig(dir)
	c.SegmentSize = 1 << 10
	c.SettleEvery = time.Millisecond
	c.RemoveAfter = time.Millisecond
	return c
}

// appendHeld appends n entries, each in its own batch.
func appendHeld(t *testing.T, l *Log, n int) {
	t.Helper()
	for range n {
		head, _ := l.Head(t.Context())
		done := make(chan error, 1)
		l.Append(fmt.Appendf(nil, "{\"n\":%d,\"pad\":\"%0100d\"}\n", head, 0), 1, Condition{}, func(_ Result, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// until polls until the log's stats are as wanted.
func until(t *testing.T, l *Log, want func(Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !want(l.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("stats are %+v", l.Stats())
		}
	}
}

func settledAll(s Stats) bool { return s.Settled == s.Head }

// TestHold: while the segments are held none is removed, and then they are.
func TestHold(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "segments"), 0o700); err != nil {
		t.Fatal(err)
	}
	hold, err := segment.Hold(filepath.Join(dir, "segments"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(holdConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 20 {
		appendHeld(t, l, 10)
		until(t, l, settledAll)
		if s := l.Stats(); s.First != 1 {
			t.Fatalf("segments begin at %d while they are held", s.First)
		}
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, l, func(s Stats) bool { return s.Segments == 1 })
}

// TestLeftover: a segment before a gap that the index and blobs fill is dropped; if they
// do not, or have the wrong bytes, the log is refused.
func TestLeftover(t *testing.T) {
	kept, dir := t.TempDir(), t.TempDir()
	c := holdConfig(dir)
	c.RemoveAfter = time.Hour
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	appendHeld(t, l, 60)
	until(t, l, settledAll)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(dir, "segments"))); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(holdConfig(dir)); err != nil {
		t.Fatal(err)
	}
	until(t, l, func(s Stats) bool { return s.Segments == 1 })
	appendHeld(t, l, 20)
	until(t, l, settledAll)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	leave := func() {
		t.Helper()
		first, err := os.ReadFile(filepath.Join(kept, segment.Name(1)))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "segments", segment.Name(1)), first, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	leave()
	c = holdConfig(dir)
	c.RemoveAfter = time.Hour
	if l, err = Open(c); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Head != 80 || s.First == 1 {
		t.Errorf("stats are %+v", s)
	}
	if _, err := os.Lstat(filepath.Join(dir, "segments", segment.Name(1))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	recs, err := segment.ReadRecords(filepath.Join(dir, "wal"), 30, 30)
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "blobs", segment.BlobPath(recs[0].Hash))
	entry, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	entry[20] ^= 1
	leave()
	for name, damage := range map[string]func() error{
		"altered": func() error { return os.WriteFile(blob, entry, 0o600) },
		"missing": func() error { return os.Remove(blob) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(c); !errors.Is(err, ErrDamaged) {
			t.Errorf("blob %s: error is %v, want ErrDamaged", name, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "segments", segment.Name(1))); err != nil {
			t.Errorf("blob %s: %v", name, err)
		}
		if err := os.WriteFile(blob, entry, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
