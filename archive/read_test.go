package archive

import (
	"context"
	"path/filepath"
	"testing"
)

// TestReadOfAlteredBytes alters a segment, one bit at a time: whether an entry is found through the
// table or from the beginning, it is unchanged or damaged.
func TestReadOfAlteredBytes(t *testing.T) {
	_, dir := archivedLog(t, 100)
	b := openBucket(t, dir)
	a, err := Open(context.Background(), b)
	must(t, err)
	first := a.parts[0]
	path, found := filepath.Join(dir, filepath.FromSlash(SegmentKey(1))), 0
	for off := int64(0); off < first.size; off += 5 {
		flip(t, path, off)
		for _, from := range []uint64{1, 2, first.last / 2} {
			next := from
			err := a.Read(context.Background(), from, first.last, func(index uint64, entry []byte, _ int64, err error) error {
				switch {
				case index != next:
					t.Fatalf("byte %d altered: entry %d comes as %d", off, next, index)
				case err != nil && !damaged(err):
					t.Fatalf("byte %d altered: entry %d: %v", off, index, err)
				case err == nil && string(entry) != entryText(index):
					t.Fatalf("byte %d altered: entry %d is served as %s", off, index, entry)
				case err != nil:
					found++
				}
				next++
				return nil
			})
			if err != nil || next != first.last+1 {
				t.Fatalf("byte %d altered: a read from %d ends at %d: %v", off, from, next-1, err)
			}
		}
		flip(t, path, off)
	}
	if found == 0 {
		t.Error("no entry was damaged")
	}
}
