package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
	"tcp-log-server/segment"
)

// archivedLog makes a log with the given number of entries and its archive.
func archivedLog(t testing.TB, entries uint64) (*testLog, string) {
	t.Helper()
	dir := t.TempDir()
	l := openLog(t, filepath.Join(dir, "data"), nil)
	l.add(t, entries)
	l.sealed(t)
	archiveOnce(t, l, openBucket(t, filepath.Join(dir, "bucket")))
	return l, filepath.Join(dir, "bucket")
}

// TestRestoreByIndex restores a log through each of its entries.
func TestRestoreByIndex(t *testing.T) {
	l, dir := archivedLog(t, 150)
	b := openBucket(t, dir)
	for through := uint64(1); through <= 150; through += 1 + through/60 {
		to := filepath.Join(t.TempDir(), "restored")
		res, err := Restore(context.Background(), b, RestoreConfig{Dir: to, Through: through})
		must(t, err)
		want := digest(t, l.dir, through)
		if got := digest(t, to, 0); res.Head != through || res.Digest != want || got != want {
			t.Fatalf("restored through %d: %+v, digest of the directory %s, want %s", through, res, got, want)
		}
		if through%10 == 1 {
			restored(t, b, RestoreConfig{Through: through})
		}
	}
	if _, err := Restore(context.Background(), b, RestoreConfig{Dir: filepath.Join(t.TempDir(), "r"), Through: 151}); !errors.Is(err, fsck.ErrBeyond) {
		t.Errorf("restored beyond the head: %v", err)
	}
}

// TestRestoreByTime restores a log as it was just before, at and just after each batch.
func TestRestoreByTime(t *testing.T) {
	l, dir := archivedLog(t, 150)
	b := openBucket(t, dir)
	var times []int64
	must(t, l.Read(context.Background(), 1, 150, func(_ uint64, count int, _ []byte, at int64, err error) error {
		for range count {
			times = append(times, at)
		}
		return err
	}))
	for i := 0; i < len(times); i += 7 {
		for _, at := range []int64{times[i] - 1, times[i], times[i] + 1} {
			want := uint64(0)
			for want < 150 && times[want] < at {
				want++
			}
			to := filepath.Join(t.TempDir(), "restored")
			res, err := Restore(context.Background(), b, RestoreConfig{Dir: to, Until: time.UnixMicro(at)})
			if want == 0 {
				if !errors.Is(err, ErrNothing) {
					t.Errorf("restored until before the first entry: %+v, %v", res, err)
				}
				continue
			}
			must(t, err)
			if res.Head != want {
				t.Errorf("restored until %d: %d entries, want %d", at, res.Head, want)
			}
		}
	}
}

// TestAnInterruptedRestoreGoesOn ends a restore at each of its steps. The log refuses the directory
// until the restore is complete, and the next restore completes it.
func TestAnInterruptedRestoreGoesOn(t *testing.T) {
	l, dir := archivedLog(t, 150)
	must(t, os.WriteFile(filepath.Join(l.dir, epochKey), []byte("2 101\n"), 0o600))
	b := openBucket(t, dir)
	archiveOnce(t, l, b)
	want := digest(t, l.dir, 0)
	for stop := 1; ; stop++ {
		to := filepath.Join(t.TempDir(), "restored")
		steps := 0
		var last string
		var mu sync.Mutex
		_, err := Restore(context.Background(), b, RestoreConfig{Dir: to, step: func(name string) error {
			mu.Lock()
			defer mu.Unlock()
			if last, steps = name, steps+1; steps == stop {
				return errKilled
			}
			return nil
		}})
		if err == nil {
			if stop < 8 {
				t.Errorf("a restore has only %d steps", steps)
			}
			return
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		if last != "prepare" && last != "mark" && last != "clear" {
			if l, err := engine.Open(engine.NewConfig(to)); err == nil {
				t.Errorf("the log opens what a restore has left that ended at step %d, %s", stop, last)
				must(t, l.Close())
			}
		}
		res, dir := restored(t, b, RestoreConfig{Dir: to})
		if res.Digest != want || res.Head != 150 {
			t.Errorf("interrupted at step %d, %s, and restored again: %+v, want digest %s", stop, last, res, want)
		}
		if text, err := os.ReadFile(filepath.Join(dir, epochKey)); err != nil || string(text) != "2 101\n" {
			t.Errorf("EPOCH is %q, %v", text, err)
		}
	}
}

func TestRestoreRefusesADirectoryThatIsNotEmpty(t *testing.T) {
	l, dir := archivedLog(t, 20)
	b := openBucket(t, dir)
	other := t.TempDir()
	must(t, os.WriteFile(filepath.Join(other, "letter"), []byte("x"), 0o600))
	for _, to := range []string{l.dir, other} {
		before, _ := os.ReadDir(to)
		_, err := Restore(context.Background(), b, RestoreConfig{Dir: to})
		after, _ := os.ReadDir(to)
		if !errors.Is(err, ErrNotEmpty) || len(before) != len(after) {
			t.Errorf("restore to %s: %v", to, err)
		}
	}
	empty := t.TempDir()
	restored(t, b, RestoreConfig{Dir: empty})
	if _, err := Restore(context.Background(), b, RestoreConfig{Dir: empty}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("restore to a log: %v", err)
	}
}

func TestEpochsThatBeginLaterAreNotRestored(t *testing.T) {
	for _, tt := range []struct {
		head uint64
		want string
	}{{200, "2 101\n3 201\n"}, {199, "2 101\n"}, {100, "2 101\n"}, {99, ""}, {1000, "2 101\n3 201\n"}} {
		if got := string(cutEpoch([]byte("2 101\n3 201\n"), tt.head)); got != tt.want {
			t.Errorf("with head %d EPOCH is %q, want %q", tt.head, got, tt.want)
		}
	}
}

// TestTheBeginningInBlobs archives a log whose first segments have been removed.
func TestTheBeginningInBlobs(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	l := openLog(t, data, func(c *engine.Config) { c.LooseMax, c.RemoveAfter = -1, 0 })
	l.add(t, 300)
	until(t, "no segments are removed", func() bool { return l.Stats().Segments == 1 && l.Stats().Settled == 300 })
	first := l.Segments()[0].Header.First
	must(t, l.Close())
	l = openLog(t, data, nil)
	b := openBucket(t, filepath.Join(dir, "bucket"))
	archiveOnce(t, l, b)
	if head := whole(t, b); head != 300 || first < 100 {
		t.Errorf("the archive ends at %d, want 300; the first segment begins at %d", head, first)
	}
	want := digest(t, data, 0)
	res, to := restored(t, b, RestoreConfig{})
	if res.Digest != want {
		t.Errorf("restored with digest %s, want %s", res.Digest, want)
	}
	same := openLog(t, to, nil)
	here, err1 := l.Digest(context.Background(), 1, 300)
	there, err2 := same.Digest(context.Background(), 1, 300)
	must(t, errors.Join(err1, err2, same.Close()))
	if here != there {
		t.Errorf("restored with the digests %x, want %x", there, here)
	}
	if _, err := os.Stat(filepath.Join(data, TempName)); err == nil {
		t.Errorf("%s is still there", TempName)
	}
	// The archive continues after more segments have been removed while it was off.
	must(t, l.Close())
	l = openLog(t, data, func(c *engine.Config) { c.LooseMax, c.RemoveAfter = -1, 0 })
	l.add(t, 600)
	until(t, "no segments are removed", func() bool { return l.Stats().Segments == 1 && l.Stats().Settled == 600 })
	archiveOnce(t, l, b)
	if head := whole(t, b); head != 600 {
		t.Errorf("the archive ends at %d, want 600", head)
	}
	l.add(t, 700)
	l.sealed(t)
	archiveOnce(t, l, b)
	if res, _ := restored(t, b, RestoreConfig{}); res.Head != 700 || res.Digest != digest(t, data, 0) {
		t.Errorf("restored %+v", res)
	}
}

// TestASegmentIsRemovedOnlyOnceItIsArchived runs a log that removes all it may.
func TestASegmentIsRemovedOnlyOnceItIsArchived(t *testing.T) {
	dir := t.TempDir()
	var k *Keeper
	b := openBucket(t, filepath.Join(dir, "bucket"))
	k = New(Config{Bucket: b, Dirs: segment.Dirs{Data: filepath.Join(dir, "data")}, Every: time.Hour})
	l := openLog(t, filepath.Join(dir, "data"), func(c *engine.Config) { c.LooseMax, c.RemoveAfter, c.MayRemove = -1, 0, k.Holds })
	k.log = l
	must(t, k.remember())
	l.add(t, 300)
	l.sealed(t)
	l.settled(t)
	l.add(t, 301) // the settler has checked the segments once more
	l.settled(t)
	if first := l.Segments()[0].Header.First; first != 1 {
		t.Fatalf("segments before %d were removed before they were archived", first)
	}
	must(t, k.round(context.Background()))
	l.add(t, 302)
	until(t, "no segments are removed", func() bool { return l.Stats().Segments == 1 })
	must(t, k.round(context.Background()))
	if head := whole(t, b); head != 302 {
		t.Errorf("the archive ends at %d, want 302", head)
	}
}

// TestARestoreGoesOnAfterAPowerCut leaves zeros in a segment that an interrupted restore has
// downloaded: the next one downloads it again, and does not report the archive as damaged.
func TestARestoreGoesOnAfterAPowerCut(t *testing.T) {
	_, dir := archivedLog(t, 150)
	b := openBucket(t, dir)
	to := filepath.Join(t.TempDir(), "restored")
	_, err := Restore(context.Background(), b, RestoreConfig{Dir: to, step: func(name string) error {
		if name == "commit" {
			return errKilled
		}
		return nil
	}})
	if !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	path := filepath.Join(to, "incoming", "segments", segment.Name(1))
	fi, err := os.Stat(path)
	must(t, err)
	must(t, os.WriteFile(path, make([]byte, fi.Size()), 0o600))
	if res, _ := restored(t, b, RestoreConfig{Dir: to}); res.Head != 150 {
		t.Errorf("restored through %d, want 150", res.Head)
	}
}

// TestADamagedEpochIsNotRestored: a server would refuse the directory.
func TestADamagedEpochIsNotRestored(t *testing.T) {
	_, dir := archivedLog(t, 20)
	b := openBucket(t, dir)
	for text, good := range map[string]bool{"2 11\n": true, "hello\n": false, "2 1": false, "": false, "2 11\n2 12\n": false} {
		path := filepath.Join(dir, epochKey)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		_, found := check(t, b, 0)
		if named := len(found) == 1 && found[0].File == objectPath(b, epochKey); named == good {
			t.Errorf("EPOCH is %q: the check finds %+v", text, found)
		}
		if _, err := Restore(context.Background(), b, RestoreConfig{Dir: filepath.Join(t.TempDir(), "restored")}); good && err != nil || !good && !damaged(err) {
			t.Errorf("EPOCH is %q: the restore says %v", text, err)
		}
	}
}

// TestDamage damages each object of an archive in several ways; a short run does every third.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, filepath.Join(dir, "data"), func(c *engine.Config) { c.SegmentSize = 64 << 10 })
	dir = filepath.Join(dir, "bucket")
	l.add(t, 1)
	archiveOnce(t, l, openBucket(t, dir))
	body := strings.Repeat("[]\n", 1000)
	for range 70 {
		done := make(chan error, 1)
		l.Append([]byte(body), 1000, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
		must(t, <-done)
	}
	l.sealed(t)
	l.settled(t)
	b := openBucket(t, dir)
	k := archiveOnce(t, l, b)
	head := uint64(70_001)
	l.add(t, head+5) // another increment
	must(t, k.round(context.Background()))
	all, err := list(context.Background(), b)
	must(t, err)
	if len(all.index) != 2 || len(all.increments) < 2 || len(all.segments) < 3 {
		t.Fatalf("the archive has %d files of the index, %d increments and %d segments", len(all.index), len(all.increments), len(all.segments))
	}
	var keys []string
	for first := range all.segments {
		keys = append(keys, SegmentKey(first))
	}
	for first := range all.index {
		keys = append(keys, IndexKey(first))
	}
	for _, i := range all.increments {
		keys = append(keys, i.Key())
	}
	slices.Sort(keys)
	for n, key := range keys {
		path := filepath.Join(dir, filepath.FromSlash(key))
		before, err := os.ReadFile(path)
		must(t, err)
		type damage struct {
			what string
			do   func() error
		}
		damages := []damage{
			{"removed", func() error { return os.Remove(path) }},
			{"empty", func() error { return os.Truncate(path, 0) }},
			{"short", func() error { return os.Truncate(path, int64(len(before)-1)) }},
			{"long", func() error { return os.WriteFile(path, append(before[:len(before):len(before)], 'x'), 0o600) }},
		}
		for _, off := range []int{0, 20, 70, len(before) / 2, len(before) - 200, len(before) - 1} {
			flipped := func() error { flip(t, path, int64(max(off, 0))); return nil }
			damages = append(damages, damage{fmt.Sprintf("altered at %d of %d", off, len(before)), flipped})
		}
		for m, d := range damages {
			what := d.what
			if testing.Short() && (n+m)%3 != 0 {
				continue
			}
			if what == "removed" && (key == IndexKey(32769) || key == all.increments[len(all.increments)-1].Key()) {
				continue // as if the archive had never existed
			}
			must(t, d.do())
			a, err := Open(context.Background(), b)
			errs, named := int64(0), what == "removed"
			if err == nil {
				sum, cerr := a.Check(context.Background(), CheckOptions{OnFinding: func(f fsck.Finding) { named = named || f.File == objectPath(b, key) }})
				errs, err = sum.Errors, cerr
			}
			if !named {
				t.Errorf("%s %s: the check does not name it", key, what)
			}
			if err != nil || errs == 0 {
				t.Errorf("%s %s: the check finds %d errors, %v", key, what, errs, err)
			}
			to := filepath.Join(t.TempDir(), "restored")
			_, err = Restore(context.Background(), b, RestoreConfig{Dir: to})
			if key == IndexKey(1) && what == "removed" {
				must(t, err) // the server rebuilds it
			} else if !damaged(err) {
				t.Errorf("%s %s: it is restored: %v", key, what, err)
			} else if _, err := os.Stat(filepath.Join(to, "segments")); err == nil {
				t.Errorf("%s %s: there are segments", key, what)
			}
			must(t, os.WriteFile(path, before, 0o600))
		}
	}
	if _, found := check(t, b, 0); len(found) > 0 {
		t.Errorf("mended, it has %+v", found)
	}
}
