package fsck

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// errorsOf returns the findings of a check that are errors.
func errorsOf(c checked) (errs []Finding) {
	for _, f := range c.findings {
		if f.Severity == Error {
			errs = append(errs, f)
		}
	}
	return errs
}

// TestMissingDirectories: if a whole directory of blobs is missing there is one finding,
// which names every affected entry.
func TestMissingDirectories(t *testing.T) {
	dir := newStore(t, removed)
	shard := filepath.Dir(blobOf(dir, 4))
	must(t, os.RemoveAll(shard))
	var want []string
	var concerned repair.Ranges
	for index := uint64(1); index < 55; index++ {
		if filepath.Dir(blobOf(dir, index)) == shard {
			want = append(want, fmt.Sprint(index))
			concerned.Add(index, index)
		}
	}
	c := runCheck(t, Options{Data: dir})
	errs := errorsOf(c)
	if len(errs) != 1 || errs[0].Kind != BlobMissing || errs[0].File != shard || !strings.HasSuffix(errs[0].Message, fmt.Sprintf("%d of them: %s", len(want), concerned)) || c.Damaged != uint64(len(want)) {
		t.Errorf("one directory is missing, with the entries %v: %s", want, c)
	}

	must(t, os.RemoveAll(filepath.Join(dir, "blobs")))
	c = runCheck(t, Options{Data: dir})
	errs = errorsOf(c)
	if len(errs) != 1 || errs[0].Kind != BlobMissing || errs[0].File != filepath.Join(dir, "blobs") || errs[0].First != 1 || errs[0].Last != 54 || c.Damaged != 54 {
		t.Errorf("all are missing: %s", c)
	}
}

// TestForeignDirectories: the content of another store's directory is ignored, and not
// examined entry by entry.
func TestForeignDirectories(t *testing.T) {
	for _, s := range []shape{both, removed, packed} {
		for _, part := range []string{"wal", "blobs"} {
			dir := newStore(t, s)
			other := filepath.Join(dir, "..", "other")
			copyTree(t, filepath.Join(newStore(t, packed), part), other)
			marks, _ := filepath.Glob(filepath.Join(other, "store-*"))
			must(t, os.Rename(marks[0], filepath.Join(other, "store-"+segment.StoreID{1}.String())))
			o := Options{Data: dir, WAL: other}
			if part == "blobs" {
				o = Options{Data: dir, Blobs: other}
			}
			c := runCheck(t, o)
			errs := errorsOf(c)
			if len(errs) != 1 || errs[0].Kind != Foreign {
				t.Errorf("%s, %s of another store: %s", s, part, c)
			}
			// Entries in segments can be verified without an index, others cannot.
			if want := uint64(0); s == removed {
				want = 54
				if c.Damaged != want || c.Digest != "" {
					t.Errorf("%s, %s of another store: %d entries are damaged, want %d", s, part, c.Damaged, want)
				}
			} else if c.Damaged != want || c.Digest == "" {
				t.Errorf("%s, %s of another store: %d entries are damaged, want %d", s, part, c.Damaged, want)
			}
		}
	}
}

// TestAbsentBlobs rewrites blobs that have been removed, but not more than there is room
// for; and none if a segment has entries that never had any.
func TestAbsentBlobs(t *testing.T) {
	dir := newStore(t, both)
	remove(t, blobOf(dir, 4))
	remove(t, blobOf(dir, 31))
	before := runCheck(t, Options{Data: dir})
	if !before.has(BlobAbsent) || before.Errors > 0 {
		t.Fatalf("found\n%s", before)
	}
	if res, _, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, LooseMax: int(before.Blobs) + 1}); res.After.Blobs != before.Blobs+1 {
		t.Errorf("with room for one blob, there are %d, and were %d\n%s", res.After.Blobs, before.Blobs, said)
	}
	if res, _, said := runRepair(t, RepairOptions{Options: Options{Data: dir}}); res.After.Blobs != before.Blobs+2 {
		t.Errorf("with room for all blobs, there are %d, and were %d\n%s", res.After.Blobs, before.Blobs, said)
	}
	if c := runCheck(t, Options{Data: dir}); c.has(BlobAbsent) {
		t.Errorf("after the repair: %s", c)
	}

	c := both.config(filepath.Join(t.TempDir(), "data"))
	c.LooseMax = 20
	l := openFor(t, c)
	appendEntries(t, l, 1, storeEntries)
	await(t, "the store to settle", func() bool { return l.Stats().Settled == storeEntries })
	must(t, l.Close())
	if found := runCheck(t, Options{Data: c.Data}); found.has(BlobAbsent) {
		t.Errorf("with LOOSE_MAX=20: %s", found)
	}
}

// TestNoOrphans: if the end of the log is not known, blobs that belong to no entry may be
// those of missing entries: they stay where they are.
func TestNoOrphans(t *testing.T) {
	for _, damage := range []func(dir string){
		func(dir string) { must(t, os.RemoveAll(segmentDir(dir))) },
		func(dir string) { must(t, os.Truncate(segmentFiles(t, dir)[2], 0)) },
	} {
		dir := newStore(t, both)
		damage(dir)
		must(t, os.RemoveAll(filepath.Join(dir, "wal")))
		if c := runCheck(t, Options{Data: dir}); c.has(BlobOrphan) || c.Errors == 0 {
			t.Errorf("found\n%s", c)
		}
		blobs := len(names(t, filepath.Join(dir, "blobs")))
		_, _, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, Prune: true})
		if n := len(names(t, filepath.Join(dir, "blobs"))); n != blobs {
			t.Errorf("there were %d blobs, and are %d\n%s", blobs, n, said)
		}
	}
}

// TestMarkReplaced: something other than a directory with a mark's name keeps the server
// from starting; a repair puts the mark in its place.
func TestMarkReplaced(t *testing.T) {
	for _, part := range []string{"wal", "blobs"} {
		dir := newStore(t, both)
		marks, _ := filepath.Glob(filepath.Join(dir, part, "store-*"))
		must(t, os.RemoveAll(marks[0]))
		must(t, os.WriteFile(marks[0], nil, 0o600))
		if _, _, err := served(t, both.config(dir)); err == nil {
			t.Errorf("%s: the daemon starts", part)
		}
		if c := runCheck(t, Options{Data: dir}); !c.has(WrongType) {
			t.Errorf("%s: found only\n%s", part, c)
		}
		if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}}); code != ExitCorrected {
			t.Errorf("%s: exit code %d\n%s", part, code, said)
		}
		checkServed(t, both.config(dir), storeEntries, nil)
	}
}
