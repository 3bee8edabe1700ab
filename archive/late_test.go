package archive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/internal/bucket"
)

// takeOver restores b, and takes over the archive from its log.
func takeOver(t *testing.T, b bucket.Bucket) (*testLog, *Keeper) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	_, err := Restore(context.Background(), b, RestoreConfig{Dir: dir})
	must(t, err)
	l := openLog(t, dir, nil)
	k := newKeeper(l, b)
	k.TakeOver = true
	must(t, k.remember())
	must(t, k.round(context.Background()))
	return l, k
}

// TestALateUploadDoesNotCount: a server is replaced while it uploads an increment, which then
// reaches further than its successor's.
func TestALateUploadDoesNotCount(t *testing.T) {
	l, dir := archivedLog(t, 50)
	b := openBucket(t, dir)
	k := archiveOnce(t, l, b)
	second, newer := takeOver(t, b)
	l.add(t, 56)
	segs := k.files()
	must(t, k.putIncrements(context.Background(), segs[len(segs)-1])) // it has checked the owner before
	second.add(t, 52)
	must(t, newer.round(context.Background()))
	if res, _ := restored(t, b, RestoreConfig{}); res.Head != 52 || res.Digest != digest(t, second.dir, 52) {
		t.Errorf("restored %+v, want the entries of the newer server", res)
	}
	l.add(t, 57)
	archiveOnce(t, second, b) // and the next start finds its own log
	if err := k.round(context.Background()); !errors.Is(err, ErrInUse) {
		t.Errorf("the older server goes on: %v", err)
	}
	if head := whole(t, b); head != 52 {
		t.Errorf("the archive ends at %d, want 52", head)
	}
}

// TestALateSegmentDoesNotCount: a server is replaced while it uploads a segment that it has sealed.
// The keeper's own segment, uploaded with the answer lost, stays: it may be the only copy already.
func TestALateSegmentDoesNotCount(t *testing.T) {
	l, dir := archivedLog(t, 50)
	b := openBucket(t, dir)
	archiveOnce(t, l, b)
	second, newer := takeOver(t, b)
	last := second.Segments()[len(second.Segments())-1].Header.First
	put := func(l *testLog) {
		t.Helper()
		l.sealed(t)
		for _, s := range l.Segments() {
			if s.Header.First < last || !s.Sealed() {
				continue
			}
			content, err := os.ReadFile(s.Path)
			must(t, err)
			must(t, b.Put(context.Background(), SegmentKey(s.Header.First), bytes.NewReader(content), int64(len(content)), true))
		}
	}
	l.add(t, 90)
	put(l) // its keeper has checked the owner before
	second.add(t, 52)
	must(t, newer.round(context.Background()))
	if res, _ := restored(t, b, RestoreConfig{}); res.Head != 52 || res.Digest != digest(t, second.dir, 52) {
		t.Errorf("restored %+v, want the entries of the newer server", res)
	}

	second.add(t, 95)
	put(second)
	deleted := &deletions{Bucket: b}
	newer.Bucket = deleted
	must(t, newer.round(context.Background()))
	for _, key := range deleted.keys {
		if strings.HasPrefix(key, segmentsDir) {
			t.Errorf("%s is from here, and is deleted", key)
		}
	}
	if head := whole(t, b); head != 95 {
		t.Errorf("the archive ends at %d, want 95", head)
	}
}

// deletions records which objects are deleted.
type deletions struct {
	bucket.Bucket
	keys []string
}

func (d *deletions) Delete(ctx context.Context, key string) error {
	d.keys = append(d.keys, key)
	return d.Bucket.Delete(ctx, key)
}
