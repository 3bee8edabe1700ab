package engine

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// noon is a time at which tests set the clock.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// openAt opens a log whose clock stands at *now.
func openAt(t *testing.T, config Config, now *time.Time) *Log {
	t.Helper()
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	l.clock.now = func() time.Time { return *now }
	return l
}

// batchTimes returns the times of all batches in the segments, in order.
func batchTimes(t *testing.T, config Config) (times []time.Time) {
	t.Helper()
	dir := filepath.Join(config.Data, "segments")
	firsts, err := segment.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range firsts {
		f, err := segment.CaptureFile(filepath.Join(dir, segment.Name(first)))
		if err != nil {
			t.Fatal(err)
		}
		if f.Empty() {
			continue
		}
		r, err := f.Segment().NewReader(first)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			times = append(times, time.UnixMicro(b.Time).UTC())
		}
	}
	return times
}

// TestClockJumpsBack: no batch is before the one before it, in a segment, over segments,
// and over restarts.
func TestClockJumpsBack(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.SegmentSize = 1024
	now := noon
	l := openAt(t, c, &now)
	mustAppend(t, l, "[1]")
	now = noon.Add(time.Second)
	mustAppend(t, l, "[2]")
	now = noon.Add(-time.Hour)
	mustAppend(t, l, numbered(3, 100)...)
	settled(t, l)
	if l.Stats().Segments < 3 {
		t.Fatal("there are too few segments")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	now = noon.Add(-2 * time.Hour)
	l = openAt(t, c, &now)
	mustAppend(t, l, "[103]")
	now = noon.Add(2 * time.Second)
	mustAppend(t, l, "[104]")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	got := batchTimes(t, c)
	if len(got) != 104 {
		t.Fatalf("there are %d batches, want 104", len(got))
	}
	for i, at := range got {
		want := noon.Add(time.Second)
		switch i {
		case 0:
			want = noon
		case 103:
			want = noon.Add(2 * time.Second)
		}
		if !at.Equal(want) {
			t.Fatalf("batch %d has the time %v, want %v", i+1, at, want)
		}
	}
	checkStore(t, c)
}

// TestClockJumpsBackBeforeRecords: if no segment holds a batch, the last record gives the
// last time.
func TestClockJumpsBackBeforeRecords(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.LooseMax, c.RemoveAfter = -1, 0
	last := noon.Add(time.Second)
	now := last
	l := openAt(t, c, &now)
	mustAppend(t, l, "[1]", "[2]")
	w := l.store.(*disk).open
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The next start finds the segment sealed, and begins another.
	f, err := segment.CaptureFile(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	if w, err = segment.Resume(f.Segment(), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	l = openAt(t, c, &now)
	eventually(t, "the segment is removed", func() bool { return l.Stats().First == 3 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	now = noon
	l = openAt(t, c, &now)
	mustAppend(t, l, "[3]")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := batchTimes(t, c); !slices.Equal(got, []time.Time{last}) {
		t.Errorf("the batch after the jump has the time %v, want %v", got, last)
	}
	checkStore(t, c)
}
