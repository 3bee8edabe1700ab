package backup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// TestOtherWitness: an entry that is intact by every checksum of its segment, but differs from the
// index, is damage.
func TestOtherWitness(t *testing.T) {
	dir, dest := tempDir(t), filepath.Join(tempDir(t), "dest")
	c := fast(dir)
	c.LooseMax, c.SegmentSize = 0, 1<<20
	l := open(t, c)
	appendAll(t, l, &entries{}, 0, 3, 10)
	settled(t, l, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "segments", segment.Name(1))
	store, err := segment.Capture(segment.Dirs{Data: dir})
	if err != nil {
		t.Fatal(err)
	}
	p := store.Files[0]
	w, err := segment.NewRewriter(path+".new", p.Header)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := segment.ScanBatches(f, path, p.End, func(_ int64, h segment.BatchHeader, body []byte) error {
		return w.Add(h.Count, h.Time, bytes.Replace(body, []byte(`"i":3`), []byte(`"i":7`), 1))
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
	_, err = Run(t.Context(), Config{Data: dir, Dest: dest})
	var damage *segment.DamageError
	if !errors.As(err, &damage) || damage.First != 4 {
		t.Fatalf("error is %v, want damage at index 4", err)
	}
}

// TestPartedLoose: a log that has diverged is detected even if records are all that both logs have
// of the entries where they diverge.
func TestPartedLoose(t *testing.T) {
	work := tempDir(t)
	one, two, dest := filepath.Join(work, "one"), filepath.Join(work, "two"), filepath.Join(work, "dest")
	e := &entries{}
	l := open(t, fast(one))
	appendAll(t, l, e, 0, 10, 10)
	settled(t, l, 0)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cp(t, one, two)
	for i, dir := range []string{one, two} {
		own := &entries{acked: e.first(100)}
		l := open(t, fast(dir))
		appendAll(t, l, own, 10+100*i, 10+30*i, 10)
		settled(t, l, 0)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			backupTo(t, one, dest)
			e.acked = e.first(100)
		}
	}
	before := list(t, dest)
	if _, err := Run(t.Context(), Config{Data: two, Dest: dest}); !errors.Is(err, ErrOther) {
		t.Fatalf("error is %v, want ErrOther", err)
	}
	if after := list(t, dest); before != after {
		t.Errorf("was\n%s\nis\n%s", before, after)
	}
}

// TestBlobNeededAgain: a blob that is missing from the backup is stored again when the segment that
// also has its entry is removed.
func TestBlobNeededAgain(t *testing.T) {
	dir, dest := tempDir(t), tempDir(t)
	e := &entries{}
	c := fast(dir)
	c.RemoveAfter = time.Hour
	l := open(t, c)
	appendAll(t, l, e, 0, 10, 10)
	settled(t, l, 1000)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	backupTo(t, dir, dest)
	rec, err := readRecord(filepath.Join(dest, "wal"), 5)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dest, "blobs", segment.BlobPath(rec.Hash))); err != nil {
		t.Fatal(err)
	}
	l = open(t, fast(dir))
	settled(t, l, 0)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	backupTo(t, dir, dest)
	mustHold(t, dest, e.first(100))
}
