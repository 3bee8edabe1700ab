package archive

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// copyLog copies the directory of a stopped log.
func copyLog(t testing.TB, from, to string, without ...string) {
	t.Helper()
	must(t, os.CopyFS(to, os.DirFS(from)))
	for _, name := range without {
		must(t, os.RemoveAll(filepath.Join(to, name)))
	}
}

// starts starts a keeper as a server does, and stops it at the end of the test.
func starts(t testing.TB, l *testLog, config Config) (*Keeper, error) {
	config.Dirs.Data = l.dir
	k := New(config)
	err := k.Start(context.Background(), l)
	t.Cleanup(func() { k.Stop(context.Background()) })
	return k, err
}

func TestAnArchiveOfAnotherLogIsRefused(t *testing.T) {
	_, dir := archivedLog(t, 20)
	other := openLog(t, filepath.Join(t.TempDir(), "data"), nil)
	for _, over := range []bool{false, true} {
		if _, err := starts(t, other, Config{Bucket: openBucket(t, dir), TakeOver: over}); !errors.Is(err, ErrOther) {
			t.Errorf("another log, take over %v: %v", over, err)
		}
	}
}

func TestADirectoryTakesAnArchiveOver(t *testing.T) {
	l, dir := archivedLog(t, 100)
	b := openBucket(t, dir)
	to := filepath.Join(t.TempDir(), "restored")
	_, err := Restore(context.Background(), b, RestoreConfig{Dir: to})
	must(t, err)
	second := openLog(t, to, nil)
	if _, err := starts(t, second, Config{Bucket: b}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "ARCHIVE_TAKE_OVER=1") {
		t.Errorf("a restored directory: %v", err)
	}
	second.add(t, 150)
	k, err := starts(t, second, Config{Bucket: b, TakeOver: true, Every: time.Millisecond})
	must(t, err)
	until(t, "the archive does not go on", func() bool { return k.Holds(150) })
	k.Stop(context.Background())
	if head := whole(t, b); head != 150 {
		t.Errorf("the archive ends at %d, want 150", head)
	}
	// Another start needs no permission, and the old directory may not come back, even with it.
	_, err = starts(t, second, Config{Bucket: b})
	must(t, err)
	if _, err := starts(t, l, Config{Bucket: b}); !errors.Is(err, ErrInUse) {
		t.Errorf("the directory that had the archive: %v", err)
	}
	if _, err := starts(t, l, Config{Bucket: b, TakeOver: true}); !errors.Is(err, ErrDiverged) {
		t.Errorf("the directory that had the archive, taking it over: %v", err)
	}
}

// A start reports at once how far the archive is, even if there is nothing to upload. If the bucket
// has lost a segment, that comes only after it is there again.
func TestAStartKnowsHowFarTheArchiveIs(t *testing.T) {
	const head = 300
	l, dir := archivedLog(t, head)
	b := openBucket(t, dir)
	k, err := starts(t, l, Config{Bucket: b, Every: time.Hour})
	must(t, err)
	if s := k.Stats(); s.Through != head || s.Entries != 0 || !k.Holds(head) {
		t.Errorf("after a start: %+v, want everything through %d", s, head)
	}
	k.Stop(context.Background())
	must(t, b.Delete(context.Background(), SegmentKey(l.Segments()[1].Header.First)))
	k = newKeeper(l, b)
	must(t, k.remember())
	must(t, k.claim(context.Background()))
	if s := k.Stats(); s.Through != 0 || s.Entries == 0 || s.Seconds > 60 {
		t.Errorf("without a segment: %+v, want nothing before it is there", s)
	}
	must(t, k.round(context.Background()))
	if s := k.Stats(); s.Through != head {
		t.Errorf("once it is there again: %+v", s)
	}
}

// TestALogThatHasGoneAnotherWayIsRefused makes two logs from one that differ after entry 60.
func TestALogThatHasGoneAnotherWayIsRefused(t *testing.T) {
	for _, entries := range []uint64{61, 75, 100, 200} {
		for _, whole := range []bool{false, true} { // the archive ends with a sealed segment
			l := openLog(t, filepath.Join(t.TempDir(), "data"), nil)
			l.add(t, 60)
			must(t, l.Close())
			other := filepath.Join(t.TempDir(), "other")
			copyLog(t, l.dir, other)
			l = openLog(t, l.dir, nil)
			l.add(t, 150)
			l.sealed(t)
			b := openBucket(t, filepath.Join(t.TempDir(), "bucket"))
			k := archiveOnce(t, l, b)
			if whole {
				for _, i := range k.obsolete {
					must(t, b.Delete(context.Background(), i.Key()))
				}
			}
			o := openLog(t, other, nil)
			o.add(t, 62) // at other times, so that the chain differs
			o.add(t, max(entries, 62))
			o.sealed(t)
			if _, err := starts(t, o, Config{Bucket: b, TakeOver: true}); !errors.Is(err, ErrDiverged) {
				t.Errorf("a log with %d entries, 60 of which the archive has, which ends with a whole segment %v: %v", entries, whole, err)
			}
		}
	}
}

// TestALogThatHasGoneAnotherWayInBlobsIsRefused: the segment with the archive's last entry has been
// removed here, and the index shows that the entry was a different one.
func TestALogThatHasGoneAnotherWayInBlobsIsRefused(t *testing.T) {
	blobs := func(c *engine.Config) { c.LooseMax = -1 }
	l := openLog(t, filepath.Join(t.TempDir(), "data"), blobs)
	l.add(t, 60)
	must(t, l.Close())
	other := filepath.Join(t.TempDir(), "other")
	copyLog(t, l.dir, other)
	l = openLog(t, l.dir, blobs)
	l.add(t, 63)
	b := openBucket(t, filepath.Join(t.TempDir(), "bucket"))
	archiveOnce(t, l, b)
	o := openLog(t, other, func(c *engine.Config) { c.LooseMax, c.RemoveAfter = -1, 0 })
	done := make(chan error, 1)
	o.Append([]byte("[1]\n[2]\n[3]\n"), 3, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	must(t, <-done)
	o.add(t, 300)
	until(t, "no segments are removed", func() bool { return o.Segments()[0].Header.First > 100 })
	if _, err := starts(t, o, Config{Bucket: b, TakeOver: true}); !errors.Is(err, ErrDiverged) {
		t.Errorf("a log in blobs whose entry 63 is another: %v", err)
	}
}

// TestTheOlderOfTwoServersStops starts a second server on a copy of the directory, including its
// file ARCHIVE.
func TestTheOlderOfTwoServersStops(t *testing.T) {
	l, dir := archivedLog(t, 50)
	must(t, l.Close())
	copied := filepath.Join(t.TempDir(), "copy")
	copyLog(t, l.dir, copied)
	l = openLog(t, l.dir, nil)
	b := openBucket(t, dir)
	older, err := starts(t, l, Config{Bucket: b, Every: time.Millisecond})
	must(t, err)
	second := openLog(t, copied, nil)
	newer, err := starts(t, second, Config{Bucket: b, Every: time.Millisecond})
	must(t, err)
	l.add(t, 60)
	until(t, "the older server does not stop", func() bool { return older.Stats().Stopped })
	if s := older.Stats(); !strings.Contains(s.Error, "started later") || older.Holds(1) {
		t.Errorf("it is %+v", s)
	}
	second.add(t, 70)
	until(t, "the newer server does not go on", func() bool { return newer.Holds(70) })
	if s := newer.Stats(); s.Error != "" || s.Stopped {
		t.Errorf("the newer is %+v", s)
	}
	newer.Stop(context.Background())
	whole(t, b)
}

// overtaken is a bucket in which another owner comes first, once: before the next object is put.
type overtaken struct {
	bucket.Bucket
	by func()
}

func (b *overtaken) Put(ctx context.Context, key string, content io.ReaderAt, size int64, create bool) error {
	if by := b.by; by != nil {
		b.by = nil
		by()
	}
	return b.Bucket.Put(ctx, key, content, size, create)
}

// TestTwoServersStartAtOnce has a server claim the archive after another has checked the owner and
// before it claims the archive itself. Only the one that is later according to the archive
// continues.
func TestTwoServersStartAtOnce(t *testing.T) {
	l, dir := archivedLog(t, 50)
	b := openBucket(t, dir)
	first := newKeeper(l, b)
	must(t, first.remember())
	second := newKeeper(l, &overtaken{b, func() { must(t, first.claim(context.Background())) }})
	must(t, second.remember())
	must(t, second.claim(context.Background()))
	if err := first.stillOwner(context.Background()); !errors.Is(err, ErrInUse) {
		t.Errorf("the server that claimed the archive first goes on: %v", err)
	}
	must(t, second.stillOwner(context.Background()))
	if o, err := readOwner(context.Background(), b, second.owner); err != nil || o.Run != second.run || second.owner == first.owner {
		t.Errorf("claim %d, after %d, is %+v, %v; want the later server's", second.owner, first.owner, o, err)
	}
}

// TestAReplacedServerUploadsNothingAtItsEnd stops a server before it has noticed that another has
// taken over its archive. Its entries would go to the same place as the other's, and count if they
// reach further.
func TestAReplacedServerUploadsNothingAtItsEnd(t *testing.T) {
	l, dir := archivedLog(t, 50)
	b := openBucket(t, dir)
	older, err := starts(t, l, Config{Bucket: b, Every: time.Hour})
	must(t, err)
	until(t, "the archive is not followed", func() bool { return older.Holds(50) })
	to := filepath.Join(t.TempDir(), "restored")
	_, err = Restore(context.Background(), b, RestoreConfig{Dir: to})
	must(t, err)
	second := openLog(t, to, nil)
	newer, err := starts(t, second, Config{Bucket: b, TakeOver: true, Every: time.Millisecond})
	must(t, err)
	l.add(t, 90)
	older.Stop(context.Background())
	if s := older.Stats(); !s.Stopped {
		t.Errorf("the older server is %+v", s)
	}
	second.add(t, 53)
	until(t, "the newer server does not go on", func() bool { return newer.Holds(53) })
	newer.Stop(context.Background())
	if res, _ := restored(t, b, RestoreConfig{}); res.Head != 53 || res.Digest != digest(t, to, 53) {
		t.Errorf("restored %+v, want the entries of the newer server", res)
	}
}

// TestAnIdleLogIsArchivedAfterARestart: the content of the bucket counts before there are new
// entries.
func TestAnIdleLogIsArchivedAfterARestart(t *testing.T) {
	l, dir := archivedLog(t, 50)
	k, err := starts(t, l, Config{Bucket: openBucket(t, dir), Every: time.Hour})
	must(t, err)
	until(t, "the archive is said to lack entries", func() bool { s := k.Stats(); return s.Through == 50 && s.Entries == 0 })
}

func TestAnArchiveThatIsGoneIsNotBegunAgain(t *testing.T) {
	l, dir := archivedLog(t, 50)
	must(t, os.RemoveAll(dir))
	b := openBucket(t, dir) // an empty directory, as of an unmounted share
	k, err := starts(t, l, Config{Bucket: b, Every: time.Millisecond})
	must(t, err)
	if s := k.Stats(); s.Error == "" || s.Through != 0 || s.Entries != 50 || s.Seconds > 60 {
		t.Errorf("the archive is gone, and it is %+v", s)
	}
	k.Stop(context.Background())
	note, err := segment.ReadArchived(l.dir)
	must(t, err)
	must(t, segment.WriteArchived(l.dir, note.Add(1, 10)))
	k, err = starts(t, l, Config{Bucket: b, Every: time.Millisecond})
	must(t, err)
	if s := k.Stats(); !strings.Contains(s.Error, "through 10 are only there") || strings.Contains(s.Error, "remove") {
		t.Errorf("the archive is gone with the only copy of entries, and it is %+v", s)
	}
	k.Stop(context.Background())
	must(t, os.Remove(filepath.Join(l.dir, segment.ArchiveName)))
	k, err = starts(t, l, Config{Bucket: b, Every: time.Millisecond})
	must(t, err)
	until(t, "no other archive is begun", func() bool { return k.Holds(50) })
}

// TestAnArchiveWithoutItsNameIsNotAnothers: the server starts, and says what log.json contained.
func TestAnArchiveWithoutItsNameIsNotAnothers(t *testing.T) {
	l, dir := archivedLog(t, 50)
	path := filepath.Join(dir, logKey)
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Remove(path))
	k, err := starts(t, l, Config{Bucket: openBucket(t, dir), Every: time.Millisecond})
	must(t, err)
	if s := k.Stats(); !strings.HasSuffix(s.Error, strings.TrimSpace(string(text))) {
		t.Errorf("without log.json it is %+v", s)
	}
	l.add(t, 60)
	must(t, os.WriteFile(path, text, 0o600))
	until(t, "the archive does not go on", func() bool { return k.Holds(60) })
}

func TestAnArchiveElsewhereIsRefusedWhileEntriesAreOnlyThere(t *testing.T) {
	l, dir := archivedLog(t, 50)
	local, err := segment.ReadArchived(l.dir)
	must(t, err)
	must(t, segment.WriteArchived(l.dir, local.Add(1, 10)))
	if _, err := starts(t, l, Config{Bucket: openBucket(t, filepath.Join(filepath.Dir(dir), "another"))}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("another bucket, and entries that are only in the first: %v", err)
	}
}

// TestALogIsLostUnderLoad throws directories away while they are written to: a restore has every
// entry that Stats had reported.
func TestALogIsLostUnderLoad(t *testing.T) {
	for round := range 10 {
		dir := t.TempDir()
		l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
		k, err := starts(t, l, Config{Bucket: b, Every: time.Millisecond})
		must(t, err)
		stop, appending := make(chan struct{}), sync.WaitGroup{}
		appending.Go(func() {
			for through := uint64(10); ; through += 10 {
				select {
				case <-stop:
					return
				default:
					l.add(t, through)
				}
			}
		})
		want := 100 + rand.Uint64N(400)
		until(t, "nothing is archived", func() bool { return k.Stats().Through > want })
		shown := k.Stats()
		// As if the machine were lost now: nothing that the keeper does from here on counts.
		frozen := filepath.Join(dir, "frozen")
		for {
			if os.CopyFS(frozen, os.DirFS(filepath.Join(dir, "bucket"))) == nil {
				break
			}
			must(t, os.RemoveAll(frozen)) // an increment was deleted during the copy
		}
		close(stop)
		appending.Wait()
		res, to := restored(t, openBucket(t, frozen), RestoreConfig{})
		if res.Head < shown.Through || res.Digest != digest(t, l.dir, res.Head) || to == "" {
			t.Errorf("round %d: restored %+v, stat had shown %d", round, res, shown.Through)
		}
	}
}

// TestStopUploadsWhatIsNew stops a keeper whose next round is far away.
func TestStopUploadsWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
	k, err := starts(t, l, Config{Bucket: b, Every: time.Hour})
	must(t, err)
	l.add(t, 200)
	k.Stop(context.Background())
	if head := whole(t, b); head != 200 {
		t.Errorf("after a stop the archive ends at %d, want 200", head)
	}
}
