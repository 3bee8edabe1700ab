package fsck

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// fixture is a good store and one named damage to it.
type fixture struct {
	name  string
	kind  Kind // what a check must find
	shape shape
	do    func(t testing.TB, dir string)

	refused bool // the server does not start with it

	// The result of repairs: the exit code of a plain one and, if errors are left, with
	// the loss accepted.
	repair, accept int
	// lost are the entries that are then lost; through is the head, if it differs from
	// that of the good store.
	lost    []uint64
	through uint64
}

// alterLast alters the byte at off from the beginning of the body of the last batch,
// which the index does not have. proved says that there is a proof after it.
func alterLast(proved bool, off int64) func(t testing.TB, dir string) {
	return func(t testing.TB, dir string) {
		path := segmentFiles(t, dir)[2]
		f, err := segment.CaptureFile(path)
		must(t, err)
		if proved {
			w, err := segment.Resume(f.Segment(), 0)
			must(t, err)
			must(t, w.Close())
		}
		at := int64(0)
		_, err = segment.Walk(bytes.NewReader(readStart(t, path)), f.First, f.HeaderSum, true, f.End, func(p segment.Piece) error {
			at = p.Offset
			return nil
		})
		must(t, err)
		flip(t, path, at+segment.BatchHeaderSize+off)
		must(t, os.Remove(walFile(dir)))
	}
}

// fixtures have at least one damage for each kind of finding.
var fixtures = []fixture{
	{name: "a segment is a link to itself", kind: Unreadable, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		path := segmentFiles(t, dir)[1]
		remove(t, path)
		must(t, os.Symlink(path, path))
	}},
	{name: "a segment is a directory", kind: WrongType, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		path := segmentFiles(t, dir)[1]
		remove(t, path)
		must(t, os.Mkdir(path, 0o700))
	}},
	{name: "a blob is a directory", kind: WrongType, shape: both, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		remove(t, blobOf(dir, 3))
		must(t, os.Mkdir(blobOf(dir, 3), 0o700))
	}},
	{name: "a blob is a pipe", kind: WrongType, shape: removed, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{3}, do: func(t testing.TB, dir string) {
		remove(t, blobOf(dir, 3))
		makePipe(t, blobOf(dir, 3))
	}},
	{name: "the index is a link that leads nowhere", kind: WrongType, shape: removed, refused: true, repair: ExitErrors, accept: ExitErrors, do: func(t testing.TB, dir string) {
		must(t, os.RemoveAll(filepath.Join(dir, "wal")))
		must(t, os.Symlink("/no/such/disk", filepath.Join(dir, "wal")))
	}},
	{name: "the blobs are another log's", kind: Foreign, shape: both, refused: true, repair: ExitErrors, accept: ExitErrors, do: func(t testing.TB, dir string) {
		marks, _ := filepath.Glob(filepath.Join(dir, "blobs", "store-*"))
		must(t, os.Rename(marks[0], filepath.Join(dir, "blobs", "store-"+segment.StoreID{1}.String())))
	}},
	{name: "a segment is another log's", kind: Foreign, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		rewriteHeader(t, segmentFiles(t, dir)[1], func(h []byte) { h[16]++ })
	}},
	{name: "a segment is of a later format", kind: Version, shape: packed, refused: true, repair: ExitErrors, accept: ExitErrors, do: func(t testing.TB, dir string) {
		rewriteHeader(t, segmentFiles(t, dir)[1], func(h []byte) { h[8]++ })
	}},
	{name: "a header is altered", kind: SegmentHeader, shape: packed, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		flip(t, segmentFiles(t, dir)[1], 40)
	}},
	{name: "two segments are swapped", kind: SegmentHeader, shape: packed, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		s := segmentFiles(t, dir)
		must(t, os.Rename(s[0], s[0]+"x"))
		must(t, os.Rename(s[1], s[0]))
		must(t, os.Rename(s[0]+"x", s[1]))
	}},
	{name: "the last segment has swollen", kind: SegmentSize, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(segmentFiles(t, dir)[2], 1<<40))
	}},
	{name: "a sealed segment has swollen", kind: SegmentSize, shape: packed, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(segmentFiles(t, dir)[1], 1<<40))
	}},
	{name: "a segment is missing and its blobs are there", kind: Leftover, shape: both, do: func(t testing.TB, dir string) {
		remove(t, segmentFiles(t, dir)[1])
	}},
	{name: "empty segments overlap", kind: Residue, shape: packed, do: putResidues},
	{name: "a header is altered before an empty segment that overlaps", kind: SegmentHeader, shape: packed, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		putResidues(t, dir)
		flip(t, filepath.Join(segmentDir(dir), segment.Name(27)), 40)
	}},
	{name: "a segment is missing", kind: SegmentGap, shape: packed, refused: true, repair: ExitErrors, accept: ExitCorrected, lost: span(27, 54), do: func(t testing.TB, dir string) {
		remove(t, segmentFiles(t, dir)[1])
	}},
	{name: "all segments are missing", kind: SegmentGap, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		must(t, os.RemoveAll(segmentDir(dir)))
	}},
	{name: "a segment holds an entry of the next", kind: SegmentOverlap, shape: both, refused: true, repair: ExitErrors, accept: ExitErrors, do: func(t testing.TB, dir string) {
		s := segmentFiles(t, dir)
		copySegment(t, s[0], func(h *segment.Header) {}, func(w *segment.Rewriter) {
			must(t, w.Add(1, 1, []byte(entryText(w.Last()+1)+"\n")))
		})
	}},
	{name: "a segment follows another checksum", kind: SegmentChain, shape: packed, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		copySegment(t, segmentFiles(t, dir)[1], func(h *segment.Header) { h.Prev++ }, nil)
	}},
	{name: "a table is altered", kind: SegmentTable, shape: packed, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		path := segmentFiles(t, dir)[0]
		flip(t, path, size(t, path)-segment.FooterSize-4)
	}},
	{name: "a footer is altered", kind: SegmentTable, shape: packed, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		path := segmentFiles(t, dir)[0]
		flip(t, path, size(t, path)-segment.FooterSize+20)
	}},
	{name: "an entry in a sealed segment is altered", kind: BatchDamaged, shape: packed, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{31}, do: func(t testing.TB, dir string) {
		flip(t, segmentFiles(t, dir)[1], find(t, segmentFiles(t, dir)[1], entryText(31), 2))
	}},
	{name: "an entry in a sealed segment is altered and has a blob", kind: BatchDamaged, shape: both, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		flip(t, segmentFiles(t, dir)[1], find(t, segmentFiles(t, dir)[1], entryText(31), 1))
	}},
	{name: "a batch header is altered", kind: BatchDamaged, shape: packed, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		flip(t, segmentFiles(t, dir)[1], segment.HeaderSize+9)
	}},
	{name: "an entry in the open segment is altered", kind: BatchDamaged, shape: packed, refused: true, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{55}, do: func(t testing.TB, dir string) {
		flip(t, segmentFiles(t, dir)[2], find(t, segmentFiles(t, dir)[2], entryText(55), 1))
	}},
	{name: "the last entry is altered", kind: BatchDamaged, shape: packed, refused: true, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{59, 60}, do: func(t testing.TB, dir string) {
		// Both are the same entry: one flip each.
		at := find(t, segmentFiles(t, dir)[2], entryText(59), 1)
		flip(t, segmentFiles(t, dir)[2], at)
		flip(t, segmentFiles(t, dir)[2], find(t, segmentFiles(t, dir)[2], entryText(59), 1))
	}},
	{name: "the last batch is altered and the index lags", kind: BatchDamaged, shape: packed, refused: true, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{59, 60}, do: alterLast(false, 1)},
	{name: "the last batch is altered before a proof and the index lags", kind: BatchDamaged, shape: packed, refused: true, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{59, 60}, do: alterLast(true, 1)},
	{name: "the header of the last batch is altered and the index lags", kind: BatchDamaged, shape: packed, refused: true, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{59, 60}, do: alterLast(false, -3)},
	{name: "pages of the open segment are zeros", kind: BatchDamaged, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		edit(t, segmentFiles(t, dir)[2], func(b []byte) []byte { clear(b[segment.HeaderSize : segment.HeaderSize+60]); return b })
	}},
	{name: "a file of the index is out of place", kind: IndexFile, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		wal := filepath.Join(dir, "wal")
		b, err := os.ReadFile(filepath.Join(wal, "00000000000000000001"))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(wal, "00000000000000065537"), b, 0o600))
	}},
	{name: "an order to delete the index", kind: IndexFile, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		must(t, os.WriteFile(filepath.Join(dir, "wal", "00000000000000000009.START"), nil, 0o600))
	}},
	{name: "a file of the index has grown", kind: IndexFile, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(walFile(dir), 32768*49+1))
	}},
	{name: "the index ends before the first segment", kind: IndexShort, shape: removed, refused: true, repair: ExitErrors, accept: ExitCorrected, lost: span(41, 54), do: func(t testing.TB, dir string) {
		must(t, os.Truncate(walFile(dir), 40*49))
	}},
	{name: "the last entries are cut off and in blobs", kind: IndexAhead, shape: both, refused: true, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(segmentFiles(t, dir)[2], segment.HeaderSize))
	}},
	{name: "the last entries are cut off", kind: IndexAhead, shape: packed, refused: true, repair: ExitCorrected, through: 54, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(segmentFiles(t, dir)[2], segment.HeaderSize+30))
	}},
	{name: "a record of a loose entry is altered", kind: RecordDamaged, shape: removed, refused: true, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{3}, do: func(t testing.TB, dir string) {
		flip(t, walFile(dir), 2*49+5)
	}},
	{name: "a record of a packed entry is altered", kind: RecordDamaged, shape: packed, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		flip(t, walFile(dir), 2*49+5)
	}},
	{name: "a record is another entry's", kind: RecordMismatch, shape: packed, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		editRecords(t, dir, func(recs []segment.Record) { recs[2].Hash = recs[7].Hash })
	}},
	{name: "a blob of a loose entry is missing", kind: BlobMissing, shape: removed, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{4, 5}, do: func(t testing.TB, dir string) {
		remove(t, blobOf(dir, 4))
	}},
	{name: "a blob of a loose entry is altered", kind: BlobDamaged, shape: removed, repair: ExitErrors, accept: ExitCorrected, lost: []uint64{3}, do: func(t testing.TB, dir string) {
		flip(t, blobOf(dir, 3), 2)
	}},
	{name: "a blob is altered and its segment is there", kind: BlobDamaged, shape: both, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		flip(t, blobOf(dir, 3), 2)
	}},
	{name: "two blobs are swapped", kind: BlobDamaged, shape: removed, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		a, b := blobOf(dir, 3), blobOf(dir, 6)
		must(t, os.Rename(a, a+"x"))
		must(t, os.Rename(b, a))
		must(t, os.Rename(a+"x", b))
	}},
	{name: "a blob is empty", kind: BlobDamaged, shape: both, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(blobOf(dir, 3), 0))
	}},
	{name: "a blob is not canonical", kind: NotCanonical, shape: both, repair: ExitErrors, accept: ExitErrors, do: func(t testing.TB, dir string) {
		putBlob(t, dir, `{"b":1,"a":2}`)
	}},
	{name: "a file that is not the log's", kind: StrayFile, shape: both, do: func(t testing.TB, dir string) {
		for _, path := range []string{"core", "segments/next.tmp", "blobs/blob.tmp", "wal/notes"} {
			must(t, os.WriteFile(filepath.Join(dir, path), []byte("x"), 0o600))
			age(t, filepath.Join(dir, path))
		}
	}},
	{name: "a mark is missing", kind: NoMark, shape: both, do: func(t testing.TB, dir string) {
		marks, _ := filepath.Glob(filepath.Join(dir, "wal", "store-*"))
		must(t, os.RemoveAll(marks[0]))
	}},
	{name: "a write was cut short", kind: TornTail, shape: both, do: func(t testing.TB, dir string) {
		path := segmentFiles(t, dir)[2]
		edit(t, path, func(b []byte) []byte { return append(b, b[segment.HeaderSize:segment.HeaderSize+50]...)[:len(b)+40] })
	}},
	{name: "a segment is not sealed", kind: Unsealed, shape: both, do: func(t testing.TB, dir string) {
		path := segmentFiles(t, dir)[0]
		f := footer(t, path)
		must(t, os.Truncate(path, int64(f.Table)))
	}},
	{name: "segments are settled", kind: Settled, shape: both, do: func(testing.TB, string) {}},
	{name: "the index lags", kind: IndexLag, shape: both, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(walFile(dir), 40*49))
	}},
	{name: "the index is missing", kind: IndexLag, shape: packed, do: func(t testing.TB, dir string) {
		must(t, os.RemoveAll(filepath.Join(dir, "wal")))
	}},
	{name: "a record was cut short", kind: IndexTorn, shape: both, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(walFile(dir), 40*49+11))
	}},
	{name: "the power failed before blobs were synced", kind: BlobTorn, shape: both, do: func(t testing.TB, dir string) {
		must(t, os.Truncate(walFile(dir), 40*49))
		must(t, os.Truncate(blobOf(dir, 41), 0))
		must(t, os.WriteFile(blobOf(dir, 60), make([]byte, size(t, blobOf(dir, 60))), 0o600))
	}},
	{name: "a blob is missing and its segment is there", kind: BlobAbsent, shape: both, do: func(t testing.TB, dir string) {
		remove(t, blobOf(dir, 4))
		remove(t, blobOf(dir, 31))
	}},
	{name: "a blob that no entry has", kind: BlobOrphan, shape: both, do: func(t testing.TB, dir string) {
		putBlob(t, dir, `{"orphan":true}`)
	}},
	{name: "an entry is recorded as lost", kind: EntryLost, shape: packed, lost: []uint64{61, 62}, through: 62, do: func(t testing.TB, dir string) {
		copySegment(t, segmentFiles(t, dir)[2], func(h *segment.Header) {}, func(w *segment.Rewriter) { must(t, w.Lose(62, 1)) })
	}},
	{name: "a lookup table is altered", kind: LookupDamaged, shape: both, do: func(t testing.TB, dir string) {
		flip(t, putTables(t, dir, storeEntries)[0], lookup.PageSize+20)
	}},
	{name: "a lookup table lacks an entry", kind: LookupStale, shape: packed, repair: ExitCorrected, do: func(t testing.TB, dir string) {
		putTables(t, dir)
		writeTable(t, dir, 1, storeEntries, 7)
	}},
}

// putResidues adds empty segments whose indices other segments hold.
func putResidues(t testing.TB, dir string) {
	b, err := os.ReadFile(segmentFiles(t, dir)[0])
	must(t, err)
	h, err := segment.ParseHeader(b)
	must(t, err)
	for _, first := range []uint64{30, 57} {
		w, err := segment.Create(segmentDir(dir), segment.Header{Store: h.Store, First: first, Prev: 1}, 1<<20)
		must(t, err)
		must(t, w.Close())
		old := time.Now().Add(-time.Hour)
		must(t, os.Chtimes(w.Path, old, old))
	}
}
