package fsck

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

// lastBatch is the first entry of the last batch of newOpen's store, and
// batchBefore that of the one before it.
const (
	lastBatch   = 43
	batchBefore = 39
)

// newOpen makes a store with all its entries in one open segment, without blobs,
// the last of them in one batch. It returns its configuration.
func newOpen(t testing.TB, dir string) engine.Config {
	t.Helper()
	c := packed.config(dir)
	c.SegmentSize = 1 << 20
	l := openFor(t, c)
	appendEntries(t, l, 1, lastBatch-1)
	var body []byte
	for _, index := range span(lastBatch, storeEntries) {
		body = append(append(body, entryText(index)...), '\n')
	}
	done := make(chan error, 1)
	l.Append(body, storeEntries+1-lastBatch, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	must(t, <-done)
	await(t, "the index", func() bool { return l.Stats().Settled == storeEntries })
	must(t, l.Close())
	unprove(t, c.Data)
	return c
}

// over overwrites n bytes of the segment with c, from the place of the entry at index, or
// from before bytes before it.
func over(t testing.TB, path string, index uint64, before int64, c byte, n int) {
	t.Helper()
	at := find(t, path, entryText(index), -before)
	edit(t, path, func(b []byte) []byte {
		copy(b[at:], strings.Repeat(string([]byte{c}), n))
		return b
	})
}

// TestSalvage damages the last batches of the open segment: entries that the index proves
// count as readable, and repairs keep them.
func TestSalvage(t *testing.T) {
	t.Parallel()
	text := func(from, through uint64) (n int) { // bytes including newlines
		for _, index := range span(from, through) {
			n += len(entryText(index)) + 1
		}
		return n
	}
	for _, c := range []struct {
		name    string
		do      func(t *testing.T, path string)
		lost    []uint64
		givenUp uint64
	}{
		{"zeros in the middle", func(t *testing.T, path string) { over(t, path, 47, 0, 0, text(47, 48)) }, []uint64{47, 48}, 0},
		{"other bytes in the middle", func(t *testing.T, path string) { over(t, path, 47, 0, 0xff, text(47, 48)) }, []uint64{47, 48}, 0},
		{"a newline lost", func(t *testing.T, path string) { over(t, path, 47, 1, ' ', 1) }, nil, 0},
		{"zeros for the header", func(t *testing.T, path string) { over(t, path, lastBatch, 48, 0, 48) }, nil, 0},
		{"other bytes for the header", func(t *testing.T, path string) { over(t, path, lastBatch, 48, 0xff, 48) }, nil, 0},
		{"zeros through the first entry", func(t *testing.T, path string) { over(t, path, lastBatch, 48, 0, 60) }, []uint64{lastBatch}, 0},
		{"other bytes across two batches", func(t *testing.T, path string) { over(t, path, lastBatch, 60, 0xff, 70) }, []uint64{42, 43}, 0},
		{"zeros across two batches", func(t *testing.T, path string) { over(t, path, lastBatch, 60, 0, 70) }, []uint64{42, 43}, 0},
		{"zeros at the end", func(t *testing.T, path string) { over(t, path, 58, 0, 0, text(58, 60)) }, nil, 3},
		{"zeros in the middle and at the end", func(t *testing.T, path string) {
			over(t, path, 47, 0, 0, text(47, 47))
			over(t, path, 58, 0, 0, text(58, 60))
		}, []uint64{47}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dir, copied := top+"/data", top+"/copy"
			config := newOpen(t, dir)
			copyTree(t, dir, copied)
			digest := runCheck(t, Options{Data: dir}).Digest
			c.do(t, segmentFiles(t, dir)[0])
			head := storeEntries - c.givenUp
			was := runCheck(t, Options{Data: dir})
			if was.Damaged != uint64(len(c.lost)) || was.Entries != head {
				t.Errorf("%d of %d entries are damaged, want %d of %d\n%s", was.Damaged, was.Entries, len(c.lost), head, was)
			}
			if n := len(c.lost); n > 0 && !strings.Contains(was.String(), fmt.Sprintf("%d cannot be read", n)) {
				t.Errorf("findings do not count %d entries:\n%s", n, was)
			}
			from := top + "/from"
			copyTree(t, dir, from)
			want := ExitCorrected
			if len(c.lost) > 0 {
				want = ExitErrors
			}
			// With LooseMax at 1 no entries are moved into blobs.
			res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, LooseMax: 1})
			if code != want || res.Outcome.GivenUp != c.givenUp {
				t.Errorf("repaired with %d, want %d; %d given up, want %d\n%s", code, want, res.Outcome.GivenUp, c.givenUp, said)
			}
			if len(c.lost) > 0 {
				res, code, said = runRepair(t, RepairOptions{Options: Options{Data: dir}, LooseMax: 1, AcceptLoss: true})
				if code != ExitCorrected || res.After.Lost != uint64(len(c.lost)) || res.Outcome.GivenUp > 0 {
					t.Errorf("repaired with %d, %d lost, want %d, %v\n%s", code, res.After.Lost, ExitCorrected, c.lost, said)
				}
			}
			checkServed(t, config, head, c.lost)
			_, code, said = runRepair(t, RepairOptions{Options: Options{Data: from}, LooseMax: 1, From: copied})
			if is := runCheck(t, Options{Data: from}); code != ExitCorrected || is.Digest != digest {
				t.Errorf("repaired from a copy with %d, digest %s, want %s\n%s", code, is.Digest, digest, said)
			}
		})
	}
}

// TestAheadBehindHole: the end of the segments is gone, and so is the blob of one of its
// entries. With the loss accepted, or another copy that has them, those after it stay. A
// copy of a running log looks the same, so a plain repair cuts.
func TestAheadBehindHole(t *testing.T) {
	t.Parallel()
	wreck := func(from string) string {
		dir := t.TempDir() + "/data"
		copyTree(t, from, dir)
		must(t, os.Truncate(segmentFiles(t, dir)[2], segment.HeaderSize))
		remove(t, blobOf(dir, 57))
		return dir
	}
	good := newStore(t, both)
	dir := wreck(good)
	if res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}}); code != ExitCorrected || res.Outcome.GivenUp != 4 {
		t.Errorf("repaired with %d, %d given up\n%s", code, res.Outcome.GivenUp, said)
	}
	dir = wreck(good)
	for _, accept := range []bool{false, true} {
		want := map[bool]int{false: ExitErrors, true: ExitCorrected}[accept]
		res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, From: wreck(good), AcceptLoss: accept})
		if code != want || res.Outcome.GivenUp != 0 {
			t.Errorf("repaired with %d, %d given up\n%s", code, res.Outcome.GivenUp, said)
		}
	}
	checkServed(t, both.config(dir), storeEntries, []uint64{57})
	dir = wreck(good)
	if res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true}); code != ExitCorrected || res.Outcome.GivenUp != 0 {
		t.Errorf("repaired with %d, %d given up\n%s", code, res.Outcome.GivenUp, said)
	}
	checkServed(t, both.config(dir), storeEntries, []uint64{57})
}

// TestSalvageFromCopy restores from a copy that is damaged as well, in the same batch:
// whatever either has of it is restored.
func TestSalvageFromCopy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		wreck func(t *testing.T, dir, copied string)
		want  int
		lost  []uint64 // with the loss accepted
	}{
		{"last batch", func(t *testing.T, dir, copied string) {
			over(t, segmentFiles(t, dir)[0], 47, 0, 0xff, 10)
			over(t, segmentFiles(t, copied)[0], 51, 0, 0xff, 10)
		}, ExitCorrected, nil},
		{"the same entry", func(t *testing.T, dir, copied string) {
			over(t, segmentFiles(t, dir)[0], 47, 0, 0xff, 40)
			over(t, segmentFiles(t, copied)[0], 47, 0, 0xff, 10)
		}, ExitErrors, []uint64{47}},
		{"an earlier batch", func(t *testing.T, dir, copied string) {
			over(t, segmentFiles(t, dir)[0], 41, 0, 0xff, 10)
			over(t, segmentFiles(t, copied)[0], 42, 0, 0xff, 10)
		}, ExitCorrected, nil},
		{"without the copy's index", func(t *testing.T, dir, copied string) {
			over(t, segmentFiles(t, dir)[0], 47, 0, 0, 10)
			over(t, segmentFiles(t, copied)[0], 51, 0, 0, 10)
			remove(t, walFile(copied))
		}, ExitCorrected, nil},
		{"by the copy's index alone", func(t *testing.T, dir, copied string) {
			must(t, os.Truncate(segmentFiles(t, dir)[0], find(t, segmentFiles(t, dir)[0], entryText(41), 0)))
			remove(t, walFile(dir))
			over(t, segmentFiles(t, copied)[0], 43, 48, 0, 48)
		}, ExitClean, nil},
		{"the end is gone here, and some of it there", func(t *testing.T, dir, copied string) {
			must(t, os.Truncate(segmentFiles(t, dir)[0], find(t, segmentFiles(t, dir)[0], entryText(41), 0)))
			over(t, segmentFiles(t, copied)[0], 47, 0, 0, 10)
		}, ExitErrors, []uint64{47}},
		{"no whole batch there", func(t *testing.T, dir, copied string) {
			over(t, segmentFiles(t, dir)[0], 47, 0, 0xff, 10)
			edit(t, segmentFiles(t, copied)[0], func(b []byte) []byte {
				for i := segment.HeaderSize; i < len(b); i++ {
					if strings.HasPrefix(string(b[i:]), "BTCH") {
						b[i] = 'X'
					}
				}
				return b
			})
		}, ExitCorrected, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dir, copied := top+"/data", top+"/copy"
			config := newOpen(t, dir)
			copyTree(t, dir, copied)
			c.wreck(t, dir, copied)
			was := treeSum(t, copied)
			res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, LooseMax: 1, From: copied})
			if code != c.want || res.Outcome.GivenUp > 0 {
				t.Errorf("repaired with %d, want %d; %d given up\n%s", code, c.want, res.Outcome.GivenUp, said)
			}
			if len(c.lost) > 0 {
				if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, LooseMax: 1, From: copied, AcceptLoss: true}); code != ExitCorrected {
					t.Errorf("repaired with %d, want %d\n%s", code, ExitCorrected, said)
				}
			}
			checkServed(t, config, storeEntries, c.lost)
			if treeSum(t, copied) != was {
				t.Error("the copy has been changed")
			}
		})
	}
}

// TestReach: the bytes do not count as holding all entries up to one that was appended
// again later than they were written.
func TestReach(t *testing.T) {
	t.Parallel()
	text := func(index uint64) string {
		if index%100 == 2 {
			return `{"alive":true}`
		}
		return entryText(index)
	}
	record := func(index uint64) (segment.Record, bool) {
		entry := []byte(text(index))
		return segment.Record{Hash: segment.Sum(entry), Size: uint32(len(entry))}, index != 3
	}
	for _, c := range []struct{ through, want uint64 }{{0, 0}, {1, 1}, {2, 2}, {3, 2}, {4, 4}, {6, 6}} {
		body := make([]byte, segment.BatchHeaderSize)
		for index := uint64(1); index <= c.through; index++ {
			body = append(append(body, text(index)...), '\n')
		}
		body = append(body, make([]byte, 30)...)
		if got := segment.NewSalvager(strings.NewReader(string(body)), 0, int64(len(body))).Reach(1, 1000, record); got != c.want {
			t.Errorf("of bytes with %d entries, %d are reached, want %d", c.through, got, c.want)
		}
	}
}

// TestSalvageProved loses the header and the first entry of a last batch that a proof
// says was durable: a repair does not mistake it for one that was being copied.
func TestSalvageProved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/data"
	config := newOpen(t, dir)
	path := segmentFiles(t, dir)[0]
	f, err := segment.CaptureFile(path)
	must(t, err)
	w, err := segment.Resume(f.Segment(), 0)
	must(t, err)
	must(t, w.Close())
	over(t, path, lastBatch, 48, 0, 60)
	res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, LooseMax: 1})
	if code != ExitErrors || res.Outcome.GivenUp > 0 {
		t.Errorf("repaired with %d, want %d; %d given up\n%s", code, ExitErrors, res.Outcome.GivenUp, said)
	}
	_, code, said = runRepair(t, RepairOptions{Options: Options{Data: dir}, LooseMax: 1, AcceptLoss: true})
	if code != ExitCorrected {
		t.Errorf("repaired with %d, want %d\n%s", code, ExitCorrected, said)
	}
	checkServed(t, config, storeEntries, []uint64{lastBatch})
}
