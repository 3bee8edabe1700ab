package archive

import (
	"context"
	"path/filepath"
	"testing"
)

func TestAnArchiveFollowsALog(t *testing.T) {
	dir := t.TempDir()
	l, b := openLog(t, filepath.Join(dir, "data"), nil), openBucket(t, filepath.Join(dir, "bucket"))
	k := archiveOnce(t, l, b)
	for _, through := range []uint64{1, 2, 10, 200, 201, 300, 1000} {
		l.add(t, through)
		l.sealed(t)
		if s := k.Stats(); s.Entries == 0 || s.Bytes == 0 {
			t.Errorf("with entries through %d that are not archived it is %+v", through, s)
		}
		must(t, k.round(context.Background()))
		if s := k.Stats(); s.Through != through || s.Entries != 0 || s.Bytes != 0 || s.Seconds != 0 || s.Error != "" {
			t.Errorf("archived through %d it is %+v", through, s)
		}
		if head := whole(t, b); head != through {
			t.Errorf("the archive ends at %d, want %d", head, through)
		}
		k = archiveOnce(t, l, b) // as after a restart
	}
	sum, _ := check(t, b, 0)
	if got := digest(t, l.dir, 0); got != sum.Digest {
		t.Errorf("digest of the archive is %s, of the log %s", sum.Digest, got)
	}
	res, _ := restored(t, b, RestoreConfig{})
	if res.Head != 1000 || res.Digest != sum.Digest || res.Store.String() != l.Store() {
		t.Errorf("restored %+v, want 1000 entries with digest %s", res, sum.Digest)
	}
}
