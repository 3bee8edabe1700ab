package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// TestIndexRemovedBeneath: files of the index that something removes, replaces or cuts while
// the log is open are recreated from the segments, in the same run; the next start finds the
// index intact, as openLog checks.
func TestIndexRemovedBeneath(t *testing.T) {
	t.Parallel()
	records := func(wal string) string { return filepath.Join(wal, "00000000000000000001") }
	for name, tt := range map[string]struct {
		before, after int // entries that are settled before the change, and appended after it
		change        func(t *testing.T, wal string) error
	}{
		"the empty file, before many entries": {0, segment.RecordsPerFile + 100, func(_ *testing.T, wal string) error { return os.Remove(records(wal)) }},
		"the empty file after a full one":     {segment.RecordsPerFile, 3, func(_ *testing.T, wal string) error { return os.Remove(filepath.Join(wal, "00000000000000032769")) }},
		"the last file":                       {100, 3, func(_ *testing.T, wal string) error { return os.Remove(records(wal)) }},
		"the directory":                       {100, 3, func(_ *testing.T, wal string) error { return os.RemoveAll(wal) }},
		"the last file, which is cut":         {100, 3, func(_ *testing.T, wal string) error { return os.Truncate(records(wal), 1000) }},
		"the directory, for a copy": {100, 3, func(t *testing.T, wal string) error {
			return errors.Join(os.Rename(wal, wal+".was"), os.CopyFS(wal, os.DirFS(wal+".was")), os.RemoveAll(wal+".was"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, log := testConfig(t), &events{}
			config.LooseMax, config.Logger = 0, zerolog.New(log)
			l := openLog(t, config)
			append := func(first, n int) {
				if n == 0 {
					return
				}
				if r := <-submit(l, numbered(first, n)...); r.err != nil {
					t.Fatal(r.err)
				}
				settled(t, l)
			}
			append(1, tt.before)
			if err := tt.change(t, filepath.Join(config.Data, "wal")); err != nil {
				t.Fatal(err)
			}
			append(tt.before+1, tt.after)
			if !log.have(`"event":"settle"`) {
				t.Error("nothing has been said of it")
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			sameEntries(t, readAll(t, openLog(t, config)), numbered(1, tt.before+tt.after))
		})
	}
}

// TestIndexRemovedWithoutSegments: if the segments do not hold the entries that the index has
// lost, this is reported, entries stay in their segments, and no segment is removed; once the
// file is back the log continues with it.
func TestIndexRemovedWithoutSegments(t *testing.T) {
	t.Parallel()
	config, log := testConfig(t), &events{}
	config.SegmentSize, config.LooseMax, config.RemoveAfter = 1024, -1, 0
	config.Logger = zerolog.New(log)
	l := openLog(t, config)
	mustAppend(t, l, numbered(1, 100)...)
	settled(t, l)
	eventually(t, "segments are removed", func() bool { return l.Stats().First > 1 })
	path := filepath.Join(config.Data, "wal", "00000000000000000001")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, numbered(101, 100)...)
	eventually(t, "the loss is logged", func() bool {
		return log.have("the index is missing") && log.have("fsck --repair "+config.Data)
	})
	first := l.Stats().First
	mustAppend(t, l, numbered(201, 100)...)
	if s := l.Stats(); s.First != first || s.Settled >= 200 {
		t.Errorf("settled through %d, the first segment begins at %d, want %d", s.Settled, s.First, first)
	}
	sameEntries(t, readRange(t, l, 101, 300), numbered(101, 200))
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	settled(t, l)
	sameEntries(t, readAll(t, l), numbered(1, 300))
}

// TestIndexOfAnotherLogBeneath: another log's index that takes the place of this one's is not
// written to.
func TestIndexOfAnotherLogBeneath(t *testing.T) {
	t.Parallel()
	config, other, log := testConfig(t), testConfig(t), &events{}
	o := openLog(t, other)
	mustAppend(t, o, numbered(1, 5)...)
	settled(t, o)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	config.Logger = zerolog.New(log)
	l := openLog(t, config)
	mustAppend(t, l, numbered(1, 10)...)
	settled(t, l)
	wal := filepath.Join(config.Data, "wal")
	if err := errors.Join(os.Rename(wal, wal+".away"), os.CopyFS(wal, os.DirFS(filepath.Join(other.Data, "wal")))); err != nil {
		t.Fatal(err)
	}
	before := tree(t, wal)
	mustAppend(t, l, "[]")
	eventually(t, "it is refused", func() bool { return log.have("belongs to store") })
	if after := tree(t, wal); after != before {
		t.Errorf("the other index has been changed: %s, before %s", after, before)
	}
	if err := errors.Join(os.RemoveAll(wal), os.Rename(wal+".away", wal)); err != nil {
		t.Fatal(err)
	}
	settled(t, l)
}

// TestTrimNeedsEntries: the start cuts off an index at an invalid record that has valid
// records after it only if all the entries can be read without them.
func TestTrimNeedsEntries(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize, config.LooseMax = 1024, 0
	l := openLog(t, config)
	mustAppend(t, l, numbered(1, 50)...)
	seg, _ := l.store.(*disk).find(30)
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	flip := func(path string, off int64) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			b[off] ^= 1
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := seg.NewReader(30)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Next()
	if err := errors.Join(err, r.Close()); err != nil || b.First != 30 {
		t.Fatal(b.First, err)
	}
	body := b.Offset + segment.BatchHeaderSize
	flip(filepath.Join(config.Data, "wal", "00000000000000000001"), 20*(segment.RecordSize+1)+5) // of entry 21
	flip(seg.Path, body+2)                                                                       // of entry 30, whose record is valid
	before := tree(t, config.Data)
	refuse(t, config, ErrDamaged, "entry 30 cannot be read from its segment without the records after it")
	if after := tree(t, config.Data); after != before {
		t.Errorf("the start changed the directory: %s, before %s", after, before)
	}
	flip(seg.Path, body+2)
	l = openLog(t, config)
	settled(t, l)
	sameEntries(t, readAll(t, l), numbered(1, 50))
}
