package engine

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// TestKeepLocal: a log many times larger than what it keeps can be read completely, from anywhere,
// by time and by entry, also after restarts and while segments are removed.
func TestKeepLocal(t *testing.T) {
	a := newFakeArchive()
	c := keepConfig(t, a)
	all := padded(1, 2000)
	l := openKeep(t, c)
	for i := 0; i < len(all); i += 500 {
		mustAppend(t, l, all[i:i+500]...)
		keptDown(t, l)
		sameEntries(t, readAll(t, l), all[:i+500])
		closeLog(t, l)
		l = openKeep(t, c)
	}
	if s := l.Stats(); s.First < 1000 || s.Archived != s.First-1 {
		t.Fatalf("segments begin at %d, through %d they are archived", s.First, s.Archived)
	}
	for range 50 {
		from := 1 + rand.IntN(2000)
		through := min(2000, from+rand.IntN(300))
		sameEntries(t, readRange(t, l, uint64(from), uint64(through)), all[from-1:through])
	}
	var at int64
	if err := l.Read(t.Context(), 700, 700, func(_ uint64, _ int, _ []byte, time int64, err error) error { at = time; return err }); err != nil {
		t.Fatal(err)
	}
	if index, err := l.Since(t.Context(), at); err != nil || index == 0 || index > 700 {
		t.Errorf("Since of entry 700 is %d, %v", index, err)
	}
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := places(<-give(l, once, all[41], `{"new":1}`)); !slices.Equal(got, []string{"42 seen", "2001"}) {
		t.Errorf("two entries appended once lie at %v, want the first found at 42", got)
	}
}

// TestKeepLocalBesideBlobs: entries with blobs stay there, others are read from the archive.
func TestKeepLocalBesideBlobs(t *testing.T) {
	a := newFakeArchive()
	c := keepConfig(t, a)
	c.LooseMax, c.RemoveAfter, c.KeepLocal = 200, 0, 30<<10
	l := openKeep(t, c)
	all := padded(1, 150)
	mustAppend(t, l, all...)
	settled(t, l)
	eventually(t, "segments removed that are in blobs", func() bool { return l.Stats().First > 100 })
	more := padded(151, 1000)
	all = append(all, more...)
	mustAppend(t, l, more...)
	keptDown(t, l)
	sameEntries(t, readAll(t, l), all)
	note, err := segment.ReadArchived(c.Data)
	if err != nil || len(note.Removed) != 1 || note.Removed[0][0] <= 100 {
		t.Fatalf("%+v, %v, want one run after the entries in blobs", note, err)
	}
	closeLog(t, l)
	l = openKeep(t, c)
	sameEntries(t, readAll(t, l), all)
}

// TestKeepLocalLeavesBlobs: a segment whose entries are in blobs is removed for that reason,
// although the archive has it too: its entries can still be read from here.
func TestKeepLocalLeavesBlobs(t *testing.T) {
	c := keepConfig(t, newFakeArchive())
	c.LooseMax, c.RemoveAfter, c.KeepLocal = 200, 300*time.Millisecond, 10<<10
	l := openKeep(t, c)
	mustAppend(t, l, padded(1, 150)...)
	settled(t, l)
	keptDown(t, l)
	if note, err := segment.ReadArchived(c.Data); err != nil || len(note.Removed) > 0 {
		t.Errorf("%+v, %v, want no segment that is only in the archive", note, err)
	}
}

// TestKeepLocalCrash: however far the removal of a segment had got, the directory opens and can be
// read completely.
func TestKeepLocalCrash(t *testing.T) {
	a := newFakeArchive()
	c := keepConfig(t, a)
	all := padded(1, 400)
	c.KeepLocal = 1 << 30
	l := openKeep(t, c)
	mustAppend(t, l, all...)
	settled(t, l)
	closeLog(t, l)
	dirs := []string{copyOf(t, c.Data)} // before anything
	c.KeepLocal = 10 << 10
	a.set(func() { a.down = true })
	var err error
	if l, err = Open(c); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	remove := l.disk.unlink
	l.disk.unlink = func(path string) error { // the archive is down: no call to it yet
		mu.Lock()
		defer mu.Unlock()
		if len(dirs) < 10 {
			dirs = append(dirs, copyOf(t, c.Data)) // noted, and there
		}
		err := remove(path)
		if len(dirs) < 10 {
			dirs = append(dirs, copyOf(t, c.Data)) // noted, and gone
		}
		return err
	}
	a.set(func() { a.down = false })
	keptDown(t, l)
	closeLog(t, l)
	for _, dir := range append(dirs, c.Data) {
		c := c
		c.Data = dir
		l := openKeep(t, c)
		sameEntries(t, readAll(t, l), all)
		keptDown(t, l)
		sameEntries(t, readAll(t, l), all)
		closeLog(t, l)
	}
}

// TestKeepLocalStays: a segment, and all after it, stay while the archive does not have it, has a
// different one or has not been claimed, while segments are held, and if it cannot be noted.
func TestKeepLocalStays(t *testing.T) {
	all := padded(1, 300)
	for _, tt := range []struct {
		name  string
		begin func(t *testing.T, l *Log, a *fakeArchive) (end func())
	}{
		{"not archived yet", func(_ *testing.T, _ *Log, a *fakeArchive) func() {
			a.set(func() { a.keeps = false })
			return func() { a.set(func() { a.keeps = true }) }
		}},
		{"archive down", func(_ *testing.T, _ *Log, a *fakeArchive) func() {
			a.set(func() { a.down = true })
			return func() { a.set(func() { a.down = false }) }
		}},
		{"another copy", func(_ *testing.T, _ *Log, a *fakeArchive) func() {
			a.set(func() { a.files[1] = []byte("another") })
			return func() { a.set(func() { delete(a.files, 1) }) }
		}},
		{"held", func(t *testing.T, l *Log, a *fakeArchive) func() {
			hold, err := segment.Hold(l.disk.dir)
			if err != nil {
				t.Fatal(err)
			}
			return func() { hold.Close() }
		}},
		{"not claimed", func(t *testing.T, l *Log, a *fakeArchive) func() {
			note := func(instance string) {
				if err := segment.WriteArchived(l.disk.cfg.Data, segment.Archived{URL: "fake:", Instance: instance}); err != nil {
					t.Fatal(err)
				}
			}
			note("")
			return func() { note("1") }
		}},
		{"no note", func(t *testing.T, l *Log, a *fakeArchive) func() {
			dir := filepath.Join(l.disk.cfg.Data, segment.ArchiveName+".tmp")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(dir) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newFakeArchive()
			c := keepConfig(t, a)
			l := openKeep(t, c)
			end := tt.begin(t, l, a)
			mustAppend(t, l, all...)
			settled(t, l)
			for until := time.Now().Add(200 * time.Millisecond); time.Now().Before(until); time.Sleep(time.Millisecond) {
				if s := l.Stats(); s.First != 1 {
					t.Fatalf("segments begin at %d", s.First)
				}
			}
			end()
			keptDown(t, l)
			sameEntries(t, readAll(t, l), all)
		})
	}
}

// TestKeepLocalComparesAgain: a comparison is valid only for a while. While segments are held for
// longer, the archive may lose its copy of the next one to be removed.
func TestKeepLocalComparesAgain(t *testing.T) {
	a := newFakeArchive()
	a.down = true
	l := openKeep(t, keepConfig(t, a))
	e := l.disk.evictor
	e.within = 50 * time.Millisecond
	hold, err := segment.Hold(l.disk.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	a.set(func() { a.down = false })
	all := padded(1, 300)
	mustAppend(t, l, all...)
	settled(t, l)
	eventually(t, "a segment compared for too long", func() bool { s := e.same.Load(); return s != nil && time.Since(s.at) > e.within })
	a.set(func() { clear(a.files) })
	hold.Close()
	keptDown(t, l)
	sameEntries(t, readAll(t, l), all)
}

// TestKeepLocalWrongRecord: a segment stays while the index has another entry in place of one of
// its entries, since afterwards the index is what identifies them.
func TestKeepLocalWrongRecord(t *testing.T) {
	a := newFakeArchive()
	c := keepConfig(t, a)
	c.KeepLocal = 1 << 30
	l := openKeep(t, c)
	all := padded(1, 300)
	mustAppend(t, l, all...)
	settled(t, l)
	closeLog(t, l)
	wal := filepath.Join(c.Data, "wal")
	path, _, _ := segment.RecordPath(wal, 1)
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	recs, err := segment.ReadRecords(wal, 1, 300)
	if err != nil {
		t.Fatal(err)
	}
	recs[4] = recs[5]
	if err := segment.WriteRecords(path, 1, recs); err != nil {
		t.Fatal(err)
	}
	log := &events{}
	c.KeepLocal, c.Logger = 10<<10, zerolog.New(log)
	l, err = Open(c) // openKeep would check the index at the end
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the removal tried", func() bool { return log.have(`"evict"`) || l.Stats().First > 1 })
	if !log.have("the record is not that of the entry: index 5") || l.Stats().First != 1 {
		t.Errorf("segments begin at %d", l.Stats().First)
	}
	closeLog(t, l)
	if err := os.WriteFile(path, right, 0o600); err != nil {
		t.Fatal(err)
	}
	l = openKeep(t, c)
	keptDown(t, l)
	sameEntries(t, readAll(t, l), all)
}

// TestKeepLocalSaysOnce: the reason why a segment stays is logged once, however often its removal
// is tried.
func TestKeepLocalSaysOnce(t *testing.T) {
	a := newFakeArchive()
	c := keepConfig(t, a)
	log := &events{}
	c.Logger = zerolog.New(log)
	l := openKeep(t, c)
	dir := filepath.Join(c.Data, segment.ArchiveName+".tmp")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, padded(1, 300)...)
	eventually(t, "the removal tried", func() bool { return log.have(`"evict"`) })
	mustAppend(t, l, padded(301, 600)...)
	settled(t, l)
	if n := log.count(`"event":"evict"`); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	keptDown(t, l)
}

// TestKeepLocalUnlinkFails: when a segment cannot be removed, it and all after it stay, and
// everything is read.
func TestKeepLocalUnlinkFails(t *testing.T) {
	a := newFakeArchive()
	a.down = true
	c := keepConfig(t, a)
	l := openKeep(t, c)
	tried := make(chan struct{}, 10)
	l.disk.unlink = func(string) error { tried <- struct{}{}; return errors.New("no") }
	a.set(func() { a.down = false })
	all := padded(1, 300)
	mustAppend(t, l, all...)
	<-tried
	settled(t, l)
	sameEntries(t, readAll(t, l), all)
	closeLog(t, l)
	if len(tried) > 0 {
		t.Error("a second segment was to be removed")
	}
	l = openKeep(t, c)
	keptDown(t, l)
	sameEntries(t, readAll(t, l), all)
}
