package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMovedAway: a log whose directories or open segment are removed, moved away or
// exchanged takes no more appends within about a second, and at once if a segment has to be
// begun.
func TestMovedAway(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(t *testing.T, data string) error{
		"removed": func(t *testing.T, data string) error {
			// The settler may create another file while the directory is removed.
			eventually(t, "the directory is gone", func() bool { return os.RemoveAll(data) == nil })
			return nil
		},
		"moved away": func(_ *testing.T, data string) error { return os.Rename(data, data+".away") },
		"exchanged": func(_ *testing.T, data string) error {
			return errors.Join(os.CopyFS(data+".copy", os.DirFS(data)), os.Rename(data, data+".away"), os.Rename(data+".copy", data))
		},
		"segment removed": func(t *testing.T, data string) error {
			return os.Remove(filepath.Join(data, "segments", "00000000000000000001.seg"))
		},
		"segments removed": func(_ *testing.T, data string) error { return os.RemoveAll(filepath.Join(data, "segments")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := testConfig(t)
			config.SegmentSize = 1 << 20
			l, err := Open(config)
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, l, "{}")
			settled(t, l) // nothing is written while it is copied
			if err := move(t, config.Data); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the log fails", func() bool { return l.Err() != nil })
			if r := <-submit(l, "[]"); !errors.Is(r.err, ErrNotStored) || !errors.Is(r.err, ErrMoved) {
				t.Errorf("append is %+v", r)
			}
			if err := l.Refusing(); !errors.Is(err, ErrFailed) || !errors.Is(err, ErrMoved) {
				t.Errorf("refusing is %v", err)
			}
			if err := l.Close(); !errors.Is(err, ErrMoved) {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// TestRemovedSegmentHasNotMoved: a segment that was open when the watch noted its name, and
// was sealed and removed before the watch looked, is no sign that files were moved.
func TestRemovedSegmentHasNotMoved(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize, config.RemoveAfter = 1<<10, time.Hour
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := l.store.(*disk)
	open := d.last()
	fresh, seen := place{path: open.Path}, place{path: open.Path}
	if err := d.openInPlace(open, &seen); err != nil {
		t.Fatal(err)
	}
	for d.last() == open {
		mustAppend(t, l, `["`+strings.Repeat("x", 200)+`"]`)
	}
	if err := os.Remove(open.Path); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*place{&fresh, &seen} {
		if err := d.openInPlace(open, p); err != nil {
			t.Errorf("the segment that was sealed: %v", err)
		}
	}
	last := d.last()
	seen = place{path: last.Path}
	if err := errors.Join(d.openInPlace(last, &seen), os.Rename(last.Path, last.Path+".away")); err != nil {
		t.Fatal(err)
	}
	if err := d.openInPlace(last, &seen); !errors.Is(err, ErrMoved) {
		t.Errorf("the open segment: %v, want ErrMoved", err)
	}
}

// TestLockMadeAgain: LOCK is recreated about a second after something has removed it, and a
// second process is kept out meanwhile.
func TestLockMadeAgain(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(config.Data, "LOCK")
	for range 2 {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(config); !errors.Is(err, ErrLocked) {
			t.Errorf("a second log without LOCK: %v, want ErrLocked", err)
		}
		eventually(t, "LOCK is made again", func() bool { _, err := os.Stat(path); return err == nil })
	}
	mustAppend(t, l, "{}")
}
