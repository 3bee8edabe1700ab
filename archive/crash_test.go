package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/internal/bucket/buckettest"
	"tcp-log-server/segment"
)

// TestACrashAtAnyCallLeavesAWholeArchive cuts a keeper off at each of its calls that change the
// bucket, before and after the call takes effect. The archive is then a prefix of the log that
// reaches at least as far as the keeper has reported, and another keeper continues it.
func TestACrashAtAnyCallLeavesAWholeArchive(t *testing.T) {
	for _, done := range []bool{false, true} {
		for at := 1; ; at++ {
			crashed := false
			t.Run(fmt.Sprintf("call %d, done %v", at, done), func(t *testing.T) { crashed = crashAt(t, at, done) })
			if !crashed || t.Failed() {
				if at < 15 {
					t.Errorf("only %d calls were cut off", at-1)
				}
				break
			}
		}
	}
}

func crashAt(t *testing.T, at int, done bool) (crashed bool) {
	dir := t.TempDir()
	l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
	f := &fragile{Bucket: b, at: at, done: done, dead: true}
	k := newKeeper(l, f)
	must(t, k.remember())
	for _, through := range []uint64{0, 1, 20, 40, 60, 61, 90, 120, 160} {
		l.add(t, through)
		l.sealed(t)
		if err := k.round(context.Background()); err != nil {
			crashed = true
			break
		}
	}
	// A failed delete does not fail the round.
	crashed = crashed || f.calls >= at
	through := k.Stats().Through
	if a, err := Open(context.Background(), b); err == nil {
		if head := whole(t, b); head < through {
			t.Errorf("the archive has entries through %d, and it was said to have %d", head, through)
		}
		if a.Head() > 0 {
			if res, _ := restored(t, b, RestoreConfig{}); res.Head < through {
				t.Errorf("restored through %d, want %d", res.Head, through)
			}
		}
	} else if through > 0 {
		t.Errorf("with entries through %d archived: %v", through, err)
	}
	l.add(t, 200)
	l.sealed(t)
	next := archiveOnce(t, l, b)
	if head := whole(t, b); head != 200 || next.Stats().Through != 200 {
		t.Errorf("after a restart the archive ends at %d, want 200", head)
	}
	list, err := list(context.Background(), b)
	must(t, err)
	for _, i := range list.increments {
		if _, ok := list.segments[i.First]; ok {
			t.Errorf("%s is still there", i.Key())
		}
	}
	return crashed
}

// TestAKeeperGoesOnAfterAFailure makes each call fail once.
func TestAKeeperGoesOnAfterAFailure(t *testing.T) {
	for at := 1; ; at++ {
		dir := t.TempDir()
		l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
		f := &fragile{Bucket: b, at: at, done: at%2 == 0}
		k := newKeeper(l, f)
		must(t, k.remember())
		for through := uint64(10); through <= 100; through += 30 {
			l.add(t, through)
			l.sealed(t)
			before := f.calls
			if err := k.note(k.round(context.Background())); err != nil {
				if s := k.Stats(); s.Error == "" || s.Since.IsZero() || s.Through >= through || s.Entries == 0 || s.Seconds <= 0 {
					t.Errorf("after call %d has failed it is %+v", at, s)
				}
				must(t, k.note(k.round(context.Background())))
			}
			if s := k.Stats(); s.Error != "" || s.Through != through {
				t.Errorf("call %d failed, of those from %d on, and it is %+v", at, before, s)
			}
		}
		if head := whole(t, b); head != 100 {
			t.Errorf("the archive ends at %d, want 100", head)
		}
		if f.calls < at {
			return
		}
	}
}

// TestOnlyWhatTheBucketLacksGoesUp starts a keeper repeatedly.
func TestOnlyWhatTheBucketLacksGoesUp(t *testing.T) {
	dir := t.TempDir()
	l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
	l.add(t, 200)
	l.sealed(t)
	archiveOnce(t, l, b)
	if up := archiveOnce(t, l, b).Stats().Uploaded; up != 0 {
		t.Errorf("after a restart %d bytes went up again", up)
	}
	// A lost object in the middle is uploaded again.
	second := l.Segments()[1].Header.First
	must(t, b.Delete(context.Background(), SegmentKey(second)))
	archiveOnce(t, l, b)
	if head := whole(t, b); head != 200 {
		t.Errorf("the archive ends at %d, want 200", head)
	}
}

// TestWhatIsNotWholeIsNotUploaded damages a sealed segment.
func TestWhatIsNotWholeIsNotUploaded(t *testing.T) {
	dir := t.TempDir()
	l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
	l.add(t, 200)
	l.sealed(t)
	second := l.Segments()[1]
	flip(t, second.Path, 300)
	k := newKeeper(l, b)
	must(t, k.remember())
	if err := k.note(k.round(context.Background())); !damaged(err) || refuses(err) {
		t.Errorf("a damaged segment: %v", err)
	}
	if s := k.Stats(); s.Through != second.Header.First-1 || s.Error == "" {
		t.Errorf("with a damaged segment it is %+v", s)
	}
	if head := whole(t, b); head != second.Header.First-1 {
		t.Errorf("the archive ends at %d, want %d", head, second.Header.First-1)
	}
	flip(t, second.Path, 300)
	must(t, k.note(k.round(context.Background())))
	if head := whole(t, b); head != 200 {
		t.Errorf("mended, the archive ends at %d, want 200", head)
	}
}

// TestABatchThatFollowsAnotherIsNotUploaded replaces the last batch of the open segment with one
// that followed a different batch, as in an older copy of the file: its own checksums are right.
func TestABatchThatFollowsAnotherIsNotUploaded(t *testing.T) {
	dir := t.TempDir()
	l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
	k := newKeeper(l, b)
	must(t, k.remember())
	l.add(t, 10)
	must(t, k.round(context.Background()))
	l.add(t, 12)
	s := l.Segments()[0]
	f, err := os.OpenFile(s.Path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	var at int64
	var other []byte
	_, err = segment.ScanBatches(f, s.Path, s.End(), func(off int64, h segment.BatchHeader, body []byte) error {
		h.Prev++
		at, other = off, segment.AppendBatch(nil, &h, body)
		return nil
	})
	must(t, err)
	_, err = f.WriteAt(other, at)
	must(t, err)
	if err := k.round(context.Background()); !damaged(err) {
		t.Errorf("a batch that follows another: %v", err)
	}
	if head := whole(t, b); head != 10 {
		t.Errorf("the archive ends at %d, want 10", head)
	}
}

// TestAnObjectThatIsThereIsCompared: the object of a segment has appeared in the bucket since the
// start. If a byte differs, the keeper does not replace it, and does not count it as the segment.
func TestAnObjectThatIsThereIsCompared(t *testing.T) {
	for _, same := range []bool{true, false} {
		dir := t.TempDir()
		l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
		l.add(t, 100)
		l.sealed(t)
		k := newKeeper(l, b)
		must(t, k.remember())
		must(t, k.claim(context.Background()))
		content, err := os.ReadFile(l.Segments()[0].Path)
		must(t, err)
		if !same {
			content[len(content)-1] ^= 4
		}
		buckettest.Put(t, b, SegmentKey(1), content)
		err = k.round(context.Background())
		if same {
			must(t, err)
			if head := whole(t, b); head != 100 {
				t.Errorf("the archive ends at %d, want 100", head)
			}
			continue
		}
		if !errors.Is(err, ErrDiverged) || k.Stats().Through > 0 {
			t.Errorf("with another object in its place, a segment is archived: %v, %+v", err, k.Stats())
		}
		if got := buckettest.Get(t, b, SegmentKey(1)); !bytes.Equal(got, content) {
			t.Error("the other object was replaced")
		}
	}
}

// TestAnIncrementThatIsTooShortIsReplaced truncates one of several increments. The next start
// uploads its entries again, with those after it.
func TestAnIncrementThatIsTooShortIsReplaced(t *testing.T) {
	dir := t.TempDir()
	l, b := openLog(t, filepath.Join(dir, "data"), func(c *engine.Config) { c.SegmentSize = 1 << 20 }), openBucket(t, filepath.Join(dir, "bucket"))
	k := newKeeper(l, b)
	must(t, k.remember())
	for _, through := range []uint64{10, 20, 30} {
		l.add(t, through)
		must(t, k.round(context.Background()))
	}
	files, err := filepath.Glob(filepath.Join(dir, "bucket", "open", "*"))
	must(t, err)
	must(t, os.Truncate(files[1], 100))
	archiveOnce(t, l, b)
	if res, _ := restored(t, b, RestoreConfig{}); res.Head != 30 {
		t.Errorf("restored through %d, want 30", res.Head)
	}
}
