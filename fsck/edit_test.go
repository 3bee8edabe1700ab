package fsck

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"tcp-log-server/segment"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	must(t, os.Remove(path))
}

// span is the indices from..through.
func span(from, through uint64) (s []uint64) {
	for ; from <= through; from++ {
		s = append(s, from)
	}
	return s
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	must(t, err)
	return fi.Size()
}

// edit replaces the bytes of a file.
func edit(t testing.TB, path string, fn func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, fn(b), 0o600))
}

// flip alters one bit of the byte at off.
func flip(t testing.TB, path string, off int64) {
	t.Helper()
	edit(t, path, func(b []byte) []byte { b[off] ^= 4; return b })
}

// find returns the offset of byte number at of the text, which the file contains.
func find(t testing.TB, path, text string, at int64) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	i := bytes.Index(b, []byte(text))
	if i < 0 {
		t.Fatalf("%s does not hold %s", path, text)
	}
	return int64(i) + at
}

// rewriteHeader alters the header of a segment, including its checksum.
func rewriteHeader(t testing.TB, path string, fn func([]byte)) {
	t.Helper()
	edit(t, path, func(b []byte) []byte {
		fn(b[:60])
		binary.LittleEndian.PutUint32(b[60:], segment.Checksum(b[:60]))
		return b
	})
}

// footer returns the footer of a sealed segment.
func footer(t testing.TB, path string) segment.Footer {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	f, ok, err := segment.ParseFooter(b[max(0, len(b)-segment.FooterSize):], int64(len(b)))
	if !ok || err != nil {
		t.Fatalf("%s has no footer: %v", path, err)
	}
	return f
}

// copySegment rewrites a segment with another header and more batches. A
// sealed one is sealed again.
func copySegment(t testing.TB, path string, head func(*segment.Header), more func(*segment.Rewriter)) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	h, err := segment.ParseHeader(b)
	must(t, err)
	end := int64(len(b))
	f, sealed, _ := segment.ParseFooter(b[len(b)-segment.FooterSize:], end)
	if sealed {
		end = int64(f.Table)
	}
	first := h.First
	head(&h)
	w, err := segment.NewRewriter(path, h)
	must(t, err)
	_, err = segment.Walk(bytes.NewReader(b), first, 0, false, end, func(p segment.Piece) error {
		return w.Add(uint32(p.Last-p.First+1), p.Time, p.Entries)
	})
	must(t, err)
	if more != nil {
		more(w)
	}
	if sealed {
		must(t, w.Seal(f.Sum, true))
	}
	must(t, w.Close())
}

func walFile(dir string) string { return filepath.Join(dir, "wal", "00000000000000000001") }

// editRecords rewrites the records of the index.
func editRecords(t testing.TB, dir string, fn func([]segment.Record)) {
	t.Helper()
	recs, err := segment.ReadRecords(filepath.Join(dir, "wal"), 1, storeEntries)
	must(t, err)
	fn(recs)
	must(t, segment.WriteRecords(walFile(dir), 1, recs))
}

// putBlob writes an old blob that belongs to no entry.
func putBlob(t testing.TB, dir, text string) {
	t.Helper()
	path := filepath.Join(dir, "blobs", segment.BlobPath(segment.Sum([]byte(text))))
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(text), 0o600))
	age(t, path)
}
