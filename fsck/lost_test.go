package fsck

import (
	"fmt"
	"os"
	"testing"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

// TestLostWithBlob: an entry that its segment records as lost can be read if its record and
// blob are intact, wherever its blob is. It counts as intact, and the digest is the log's.
func TestLostWithBlob(t *testing.T) {
	t.Parallel()
	dir := newStore(t, both)
	digest := runCheck(t, Options{Data: dir}).Digest
	through := footer(t, segmentFiles(t, dir)[0]).Last
	path := segmentFiles(t, dir)[0]
	f, err := segment.CaptureFile(path)
	must(t, err)
	w, err := segment.NewRewriter(path, f.Header)
	must(t, err)
	must(t, w.Lose(through, 1))
	must(t, w.Seal(f.Sum, true))
	must(t, w.Close())
	c := runCheck(t, Options{Data: dir})
	if c.Lost > 0 || c.Damaged > 0 || c.Errors > 0 || c.Digest != digest {
		t.Errorf("%d entries are lost and %d damaged, digest %s, want 0, 0, %s:\n%s", c.Lost, c.Damaged, c.Digest, digest, c)
	}
}

// TestLostIsStoredAgain: an append with Once stores an entry if fsck has recorded the equal
// one as lost, even if the index still has its hash.
func TestLostIsStoredAgain(t *testing.T) {
	t.Parallel()
	dir := newStore(t, packed)
	l := openFor(t, packed.config(dir))
	must(t, l.AwaitOnce(t.Context())) // this makes tables
	must(t, l.Close())
	path := segmentFiles(t, dir)[0]
	through := footer(t, path).Last
	f, err := segment.CaptureFile(path)
	must(t, err)
	w, err := segment.NewRewriter(path, f.Header)
	must(t, err)
	must(t, w.Lose(through, 1))
	must(t, w.Seal(f.Sum, true))
	must(t, w.Close())
	l = openFor(t, packed.config(dir))
	defer l.Close()
	must(t, l.AwaitOnce(t.Context()))
	for _, test := range []struct{ entry, want uint64 }{{through + 1, through + 1}, {through, storeEntries + 1}, {through, storeEntries + 1}} {
		done := make(chan error, 1)
		l.Append([]byte(entryText(test.entry)+"\n"), 1, engine.Condition{Kind: appends.Once}, func(stored engine.Result, err error) {
			if err == nil && stored.Once[0].Index != test.want {
				err = fmt.Errorf("entry %d is at index %d, want %d", test.entry, stored.Once[0].Index, test.want)
			}
			done <- err
		})
		must(t, <-done)
	}
}

// TestBlobTorn: what a power cut leaves of blobs that were not synced is a hint, and the next
// start rewrites them, even if there is no room for more blobs.
func TestBlobTorn(t *testing.T) {
	for name, looseMax := range map[string]int{"room": -1, "no room": 0} {
		t.Run(name, func(t *testing.T) {
			dir := newStore(t, both)
			must(t, os.Truncate(walFile(dir), 40*49))
			must(t, os.Truncate(blobOf(dir, 41), 0))
			if c := runCheck(t, Options{Data: dir}); !c.has(BlobTorn) || c.Errors > 0 {
				t.Errorf("after the power cut:\n%s", c)
			}
			config := both.config(dir)
			config.LooseMax = looseMax
			l := openFor(t, config)
			await(t, "the log to settle", func() bool { return l.Stats().Settled == storeEntries })
			must(t, l.Close())
			if c := runCheck(t, Options{Data: dir}); c.has(BlobTorn) || c.Errors > 0 {
				t.Errorf("after the next start:\n%s", c)
			}
		})
	}
}
