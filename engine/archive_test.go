package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// TestKeepLocal: a log many times what it keeps reads whole, from anywhere, by time and by
// entry, also after restarts and while segments are removed.
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

// TestKeepLocalBesideBlobs: entries with blobs stay in these, others are read from the
// archive.
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

// TestKeepLocalCrash: however far the removal of a segment had come, the directory opens and
// reads whole.
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
	l.disk.unlink = func(path string) error { // the archive is down: nobody calls it yet
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

// TestKeepLocalStays: a segment stays, and all after it, while the archive does not have it or
// has another or has not been claimed, while segments are held, and when it cannot be noted.
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

// TestKeepLocalComparesAgain: a comparison counts for a while only. While segments are held for
// longer, the archive may lose its copy of the one that is to go next.
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
// its entries, since the index is what tells these entries by then.
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

// TestKeepLocalSaysOnce: why a segment stays is logged once, however often its removal is tried.
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

// evicted is a log of 600 entries of which most are in the archive a only.
func evicted(t *testing.T) (c Config, a *fakeArchive, l *Log, all []string) {
	a = newFakeArchive()
	c = keepConfig(t, a)
	l = openKeep(t, c)
	all = padded(1, 600)
	mustAppend(t, l, all...)
	keptDown(t, l)
	return c, a, l, all
}

// TestArchiveDown: while the archive is down, the log opens, takes appends, and reads what is
// here; a read of what is not ends with an error that says so. Nothing is damaged.
func TestArchiveDown(t *testing.T) {
	c, a, l, all := evicted(t)
	closeLog(t, l)
	a.set(func() { a.down = true })
	l = openKeep(t, c)
	first := l.Stats().First
	sameEntries(t, readRange(t, l, first, 600), all[first-1:])
	mustAppend(t, l, `{"more":1}`)
	got := 0
	err := l.Read(t.Context(), 1, 600, func(_ uint64, count int, _ []byte, _ int64, err error) error {
		got += count
		return err
	})
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrDamaged) || got > 0 {
		t.Errorf("read %d entries, %v; want ErrUnavailable", got, err)
	}
	a.set(func() { a.down = false })
	sameEntries(t, readRange(t, l, 1, 600), all)

	// It goes down in the middle of a read.
	next := uint64(1)
	err = l.Read(t.Context(), 1, 600, func(first uint64, count int, _ []byte, _ int64, err error) error {
		next = first + uint64(count)
		if next > 100 {
			a.set(func() { a.down = true })
		}
		return err
	})
	if !errors.Is(err, ErrUnavailable) || next <= 100 || next > first {
		t.Errorf("the read ended at %d, %v", next, err)
	}
	a.set(func() { a.down = false })
	sameEntries(t, readRange(t, l, next, 600), all[next-1:])

	ctx, cancel := context.WithCancel(t.Context())
	err = l.Read(ctx, 1, 600, func(uint64, int, []byte, int64, error) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a read whose context ended: %v", err)
	}
}

// checkFar reads everything: each entry is as it was or an error that wraps ErrDamaged.
func checkFar(t *testing.T, l *Log, all []string) (bad []uint64) {
	t.Helper()
	next := uint64(1)
	err := l.Read(t.Context(), 1, uint64(len(all)), func(first uint64, count int, entries []byte, _ int64, err error) error {
		if first != next {
			return fmt.Errorf("a run from %d, want it from %d", first, next)
		}
		for range count {
			switch {
			case err != nil && !errors.Is(err, ErrDamaged):
				return err
			case err != nil:
				bad = append(bad, next)
			default:
				line, rest, _ := strings.Cut(string(entries), "\n")
				if entries = []byte(rest); line != all[next-1] {
					return fmt.Errorf("entry %d is %s", next, line)
				}
			}
			next++
		}
		return nil
	})
	if err != nil || next != uint64(len(all))+1 {
		t.Fatalf("the read ended at %d: %v", next, err)
	}
	return bad
}

// TestArchiveWrongBytes: bytes that were altered on the way are read again; if the archive
// itself has altered them, the entry concerned is an error, and no other.
func TestArchiveWrongBytes(t *testing.T) {
	_, a, l, all := evicted(t)
	anew := func() { // as after a start
		l.disk.parked.clear()
		l.disk.archived.mu.Lock()
		l.disk.archived.open = nil
		l.disk.archived.mu.Unlock()
	}
	first := a.firsts()[2]
	whole := slices.Clone(a.files[first])
	for off := 0; off < len(whole); off += 7 {
		altered := slices.Clone(whole)
		altered[off] ^= 0x20
		a.set(func() { a.spoilt[first] = altered })
		anew()
		if bad := checkFar(t, l, all); len(bad) > 0 {
			t.Fatalf("offset %d altered on the way: entries %v cannot be read", off, bad)
		}
		a.set(func() { clear(a.spoilt); a.files[first] = altered })
		anew()
		// Header, footer and store are checked as a whole: without them nothing is served.
		bad := checkFar(t, l, all)
		inBatches := off >= segment.HeaderSize && off < len(whole)-segment.FooterSize
		if inBatches && len(bad) > 1 {
			t.Fatalf("offset %d altered in the archive: entries %v cannot be read", off, bad)
		}
		a.set(func() { a.files[first] = whole })
	}
}

// TestArchiveLacksSegment: the entries of a segment that the archive has lost are errors,
// except those with blobs.
func TestArchiveLacksSegment(t *testing.T) {
	c, a, l, all := evicted(t)
	closeLog(t, l)
	firsts := a.firsts()
	a.set(func() { delete(a.files, firsts[0]); delete(a.files, firsts[3]) })
	l = openKeep(t, c)
	bad := checkFar(t, l, all)
	var want []uint64
	for i := range uint64(600) {
		if n := i + 1; n < firsts[1] || n >= firsts[3] && n < firsts[4] {
			want = append(want, n)
		}
	}
	if !slices.Equal(bad, want) {
		t.Errorf("entries %v cannot be read, want %v", bad, want)
	}
}

// TestArchiveOfAnotherLog: segments of another log are not served.
func TestArchiveOfAnotherLog(t *testing.T) {
	_, other, l, _ := evicted(t)
	closeLog(t, l)
	c, a, l, all := evicted(t)
	closeLog(t, l)
	a.set(func() { a.files = maps.Clone(other.files) })
	first := l.Stats().First
	l = openKeep(t, c)
	if bad := checkFar(t, l, all); uint64(len(bad)) != first-1 {
		t.Errorf("%d entries cannot be read, want the %d that are in the archive", len(bad), first-1)
	}
}

// TestArchiveNeeded: a log with entries in an archive does not open without it, nor by a file
// that is damaged, and nothing is changed.
func TestArchiveNeeded(t *testing.T) {
	c, _, l, all := evicted(t)
	closeLog(t, l)
	without := c
	without.Archive, without.KeepLocal = nil, 0
	if _, err := Open(without); err == nil || !strings.Contains(err.Error(), "are in the archive at fake") {
		t.Errorf("opened without the archive: %v", err)
	}
	path := filepath.Join(c.Data, segment.ArchiveName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{}"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(c); !errors.Is(err, ErrDamaged) {
			t.Errorf("opened by the file %q: %v", text, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path+" is missing") {
		t.Errorf("opened without the file: %v", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	sameEntries(t, readAll(t, openKeep(t, c)), all)
}

// TestArchiveReadersAndEviction: reads, one of them slow, go on while segments are appended and
// removed.
func TestArchiveReadersAndEviction(t *testing.T) {
	a := newFakeArchive()
	c := keepConfig(t, a)
	l := openKeep(t, c)
	all := padded(1, 1500)
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			next := uint64(1)
			for next <= uint64(len(all)) {
				_, moved := l.Acked()
				err := l.Read(t.Context(), next, next+uint64(20*i+1), func(first uint64, count int, entries []byte, _ int64, err error) error {
					if want := strings.Join(all[first-1:int(first)-1+count], "\n") + "\n"; err != nil || string(entries) != want {
						return fmt.Errorf("entries from %d are %s (%w)", first, entries, err)
					}
					next = first + uint64(count)
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				if head, _ := l.Head(t.Context()); next > head && next <= uint64(len(all)) {
					<-moved
				}
			}
		})
	}
	for i := 0; i < len(all); i += 50 {
		mustAppend(t, l, all[i:i+50]...)
	}
	readers.Wait()
	keptDown(t, l)
}
