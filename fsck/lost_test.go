package fsck

import (
	"testing"

	"tcp-log-server/segment"
)

// TestLostWithBlob: an entry that its segment records as lost can be read where
// its record and blob are whole, wherever its blob lies. It counts as whole, and
// the digest is the log's.
func TestLostWithBlob(t *testing.T) {
	t.Parallel()
	dir := newStore(t, both)
	digest := runCheck(t, Options{Data: dir}).Digest
	through := footer(t, segmentFiles(t, dir)[0]).Last
	path := segmentFiles(t, dir)[0]
	f, err := segment.Stat(path)
	must(t, err)
	w, err := segment.NewRewriter(path, f.Header)
	must(t, err)
	must(t, w.Lose(through, 1))
	must(t, w.Seal(f.Sum(), true))
	must(t, w.Close())
	c := runCheck(t, Options{Data: dir})
	if c.Lost > 0 || c.Damaged > 0 || c.Errors > 0 || c.Digest != digest {
		t.Errorf("%d entries are lost and %d damaged, digest %s, want 0, 0, %s:\n%s", c.Lost, c.Damaged, c.Digest, digest, c)
	}
}
