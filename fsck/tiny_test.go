package fsck

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

// tinyEntries is how many entries the tiny store has. Its files are so small that every bit of
// them can be altered in turn.
const tinyEntries = 6

// tinyEntry is its entry at index.
func tinyEntry(index uint64) string { return fmt.Sprintf("[%d]", index) }

// newTiny makes the tiny store: a sealed segment with the entries 1 to 3, an open
// one with the rest, records of all but the last, and blobs of the first four.
func newTiny(t testing.TB, dir string) {
	t.Helper()
	id := segment.StoreID{7}
	must(t, os.MkdirAll(segmentDir(dir), 0o700))
	body := func(from, through uint64) []byte {
		var b strings.Builder
		for ; from <= through; from++ {
			b.WriteString(tinyEntry(from) + "\n")
		}
		return []byte(b.String())
	}
	write := func(h segment.Header, batches ...uint64) *segment.Rewriter {
		w, err := segment.NewRewriter(filepath.Join(segmentDir(dir), segment.Name(h.First)), h)
		must(t, err)
		for _, last := range batches {
			must(t, w.Add(uint32(last-w.Last()), 1000, body(w.Last()+1, last)))
		}
		return w
	}
	sealed := write(segment.Header{Store: id, First: 1, Created: 1}, 2, 3)
	must(t, sealed.Seal(0, false))
	must(t, sealed.Close())
	must(t, write(segment.Header{Store: id, First: 4, Created: 2, Prev: sealed.Sum()}, 4, 5, 6).Close())

	must(t, segment.MakeDir(filepath.Join(dir, "wal")))
	must(t, segment.Mark(filepath.Join(dir, "wal"), id))
	blobs, err := segment.OpenBlobs(filepath.Join(dir, "blobs"))
	must(t, err)
	defer blobs.Close()
	must(t, segment.Mark(filepath.Join(dir, "blobs"), id))
	var recs []segment.Record
	for index := uint64(1); index < tinyEntries; index++ {
		text := []byte(tinyEntry(index))
		recs = append(recs, segment.Record{Hash: segment.Sum(text), Time: 1000, Size: uint32(len(text))})
		if index <= 4 {
			_, err := blobs.Put(t.Context(), segment.Sum(text), text)
			must(t, err)
		}
	}
	must(t, blobs.Sync(t.Context()))
	must(t, segment.WriteRecords(filepath.Join(dir, "wal", "00000000000000000001"), 1, recs))
}

// newTinyRemoved makes the tiny store without its first segment.
func newTinyRemoved(t testing.TB, dir string) {
	t.Helper()
	newTiny(t, dir)
	remove(t, segmentFiles(t, dir)[0])
}

// tinyConfig configures the tiny store so that it does not change for a while.
func tinyConfig(dir string) engine.Config {
	c := engine.NewConfig(dir)
	c.LooseMax = 4
	return c
}

// checkTiny checks a store, quickly and in full, and opens a copy of it. Whatever the server
// serves must be what was appended. It returns the result of the check, the served entries, and
// why the server refuses, if it does.
func checkTiny(t testing.TB, dir string, open bool) (checked, map[uint64]string, error) {
	t.Helper()
	c := runCheck(t, Options{Data: dir, Workers: 1})
	runCheck(t, Options{Data: dir, Workers: 1, Quick: true})
	if !open {
		return c, nil, nil
	}
	entries, errs, err := served(t, tinyConfig(dir))
	for index, text := range entries {
		if text != tinyEntry(index) {
			t.Errorf("the daemon serves %q at %d, want %q\n%s", text, index, tinyEntry(index), c)
		}
	}
	if err == nil && c.Damaged == 0 && len(errs) > 0 {
		t.Errorf("the daemon cannot serve %v, and the check found no damaged entry\n%s", errs, c)
	}
	return c, entries, err
}

// tinyStores are the stores whose bits are altered.
var tinyStores = map[string]func(testing.TB, string){"whole": newTiny, "removed": newTinyRemoved}

// TestEveryBit alters each bit of each file in turn: the check finds every one, and the server
// never serves other bytes than were appended. Every byte of every file matters, except for the
// texts in LOCK and in marks.
func TestEveryBit(t *testing.T) {
	for name, build := range tinyStores {
		good := filepath.Join(t.TempDir(), "good")
		build(t, good)
		usual := shapeOf(runCheck(t, Options{Data: good}))
		for _, file := range names(t, good) {
			if name == "removed" && strings.HasPrefix(file, "segments") {
				continue
			}
			if base := filepath.Base(file); base == "LOCK" || base == "README" {
				continue
			}
			t.Run(name+"/"+file, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "data")
				copyTree(t, good, dir)
				path := filepath.Join(dir, file)
				whole, err := os.ReadFile(path)
				must(t, err)
				step := every(41)
				for bit := 0; bit < 8*len(whole); bit += step {
					b := append([]byte(nil), whole...)
					b[bit/8] ^= 1 << (bit % 8)
					must(t, os.WriteFile(path, b, 0o600))
					// The server writes, so it occasionally gets a copy.
					if bit%(5*step) == 0 {
						mine := filepath.Join(t.TempDir(), "copy")
						copyTree(t, dir, mine)
						checkTiny(t, mine, true)
						os.RemoveAll(mine)
					}
					c := runCheck(t, Options{Data: dir, Workers: 1})
					if shapeOf(c) == usual {
						t.Errorf("bit %d of byte %d: nothing is found", bit%8, bit/8)
					}
				}
			})
		}
	}
}

// shapeOf describes the findings of a check, without names.
func shapeOf(c checked) string {
	var s []string
	for _, f := range c.findings {
		s = append(s, fmt.Sprint(f.Kind, f.Offset, f.First, f.Last))
	}
	return strings.Join(s, ";")
}

// TestEveryCut cuts the last file of each kind at every byte. The server recovers every intact
// batch, unless the index has entries beyond: then, and only then, it refuses, and the check has
// errors.
func TestEveryCut(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	newTiny(t, good)
	for _, file := range names(t, good) {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			whole, err := os.ReadFile(filepath.Join(good, file))
			must(t, err)
			for size := range len(whole) {
				// Fields end at multiples of 4, the larger parts at those of 8. The texts of the
				// files that mark a directory do not matter.
				if size%every(8) > 0 && size%every(13) > 0 || filepath.Base(file) == "README" && size%every(32) > 0 {
					continue
				}
				dir := filepath.Join(t.TempDir(), "data")
				copyTree(t, good, dir)
				must(t, os.Truncate(filepath.Join(dir, file), int64(size)))
				c, entries, err := checkTiny(t, dir, true)
				blob := strings.HasPrefix(file, "blobs")
				if refused := err != nil; !blob && file != firstSegment && refused != (c.Errors > 0) {
					t.Errorf("cut at %d: refused: %v; found\n%s", size, err, c)
				}
				if err == nil && uint64(len(entries)) < min(c.Entries, tinyEntries-1) && c.Damaged == 0 {
					t.Errorf("cut at %d: the daemon serves %d entries of %d\n%s", size, len(entries), c.Entries, c)
				}
				os.RemoveAll(dir)
			}
		})
	}
}

// firstSegment is the sealed segment of the tiny store.
const firstSegment = "segments/00000000000000000001.seg"

// TestThrough computes the digest of a longer log as of the end of a shorter one.
func TestThrough(t *testing.T) {
	long, short := newStore(t, both), filepath.Join(t.TempDir(), "short")
	buildStore(t, packed.config(short), 41, func(engine.Stats) bool { return true })
	want := runCheck(t, Options{Data: short}).Digest
	for _, quick := range []bool{false, true} {
		if got := runCheck(t, Options{Data: long, Through: 41, Quick: quick}); got.Digest != want || got.Through != 41 {
			t.Errorf("digest through 41 is %s, want %s", got.Digest, want)
		}
	}
	if got := runCheck(t, Options{Data: long}).Digest; got == want {
		t.Error("a longer log has the same digest")
	}
	if _, err := Check(context.Background(), Options{Data: short, Through: 42}); err == nil || !strings.Contains(err.Error(), "42") {
		t.Errorf("digest beyond the head: %v", err)
	}
}
