package segment

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testRecord is the record that tests write at index.
func testRecord(index uint64) Record {
	e := fmt.Appendf(nil, `{"n":%d}`, index)
	return Record{Hash: Sum(e), Time: testTime.UnixMicro() + int64(index), Size: uint32(len(e))}
}

func testRecords(from, through uint64) []Record {
	var recs []Record
	for i := from; i <= through; i++ {
		recs = append(recs, testRecord(i))
	}
	return recs
}

// newIndex makes an index of n records in its own directory.
func newIndex(t *testing.T, n uint64) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "wal")
	x := openIndex(t, dir, 0, 0, 0)
	if err := x.Append(testRecords(1, n)); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// openIndex opens an index and checks its state.
func openIndex(t *testing.T, dir string, need, last uint64, trimmed int64) *Index {
	t.Helper()
	x, n, err := OpenIndex(dir, need)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	if x.Last() != last || n != trimmed {
		t.Fatalf("opened with last %d, %d bytes trimmed, want %d and %d", x.Last(), n, last, trimmed)
	}
	return x
}

// checkRecords reads the records from..through and compares each.
func checkRecords(t *testing.T, dir string, from, through uint64) {
	t.Helper()
	r := newRecordReader(dir)
	defer r.Close()
	dst := make([]Record, 1000)
	for next := from; next <= through; {
		n, err := r.Read(next, dst[:min(1000, int(through-next+1))])
		if err != nil || n == 0 {
			t.Fatalf("read %d records from %d: %v", n, next, err)
		}
		for _, got := range dst[:n] {
			if want := testRecord(next); got != want {
				t.Fatalf("record %d is %+v, want %+v", next, got, want)
			}
			next++
		}
	}
	if _, err := r.Read(through+1, dst[:1]); !errors.Is(err, ErrNotFound) {
		t.Errorf("the record behind the last: %v, want ErrNotFound", err)
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	dir := newIndex(t, 0)
	last := uint64(0)
	for _, n := range []uint64{1, 1, 0, 500, 3} {
		x := openIndex(t, dir, last, last, 0)
		for range 2 {
			if err := x.Append(testRecords(last+1, last+n)); err != nil {
				t.Fatal(err)
			}
			if last += n; x.Last() != last {
				t.Fatalf("last is %d, want %d", x.Last(), last)
			}
		}
		if err := errors.Join(x.Close(), x.Close()); err != nil {
			t.Fatal(err)
		}
		checkRecords(t, dir, 1, last)
		if got, err := LastRecord(dir); err != nil || got != last {
			t.Errorf("LastRecord is %d, %v, want %d", got, err, last)
		}
	}
}

// TestIndexAcrossFiles crosses the boundary of a file in every way: in one
// append, record by record, ending exactly on it, and opening there.
func TestIndexAcrossFiles(t *testing.T) {
	t.Parallel()
	const full = RecordsPerFile
	dir := newIndex(t, full-2)
	last := uint64(full - 2)
	for _, step := range []struct {
		n     uint64
		files []string
	}{
		{1, []string{recordFile(1)}},
		{1, []string{recordFile(1), recordFile(full + 1)}},
		{1, []string{recordFile(1), recordFile(full + 1)}},
		{full - 2, []string{recordFile(1), recordFile(full + 1)}},
		{2, []string{recordFile(1), recordFile(full + 1), recordFile(2*full + 1)}},
		{2 * full, []string{recordFile(1), recordFile(full + 1), recordFile(2*full + 1), recordFile(3*full + 1), recordFile(4*full + 1)}},
	} {
		x := openIndex(t, dir, last, last, 0)
		if err := x.Append(testRecords(last+1, last+step.n)); err != nil {
			t.Fatal(err)
		}
		last += step.n
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir); !slices.Equal(got, step.files) {
			t.Fatalf("after record %d the files are %q, want %q", last, got, step.files)
		}
		checkRecords(t, dir, 1, last)
	}

	// A crash before the name of the next file was durable: it is recreated.
	dir = newIndex(t, full)
	if err := os.Remove(filepath.Join(dir, recordFile(full+1))); err != nil {
		t.Fatal(err)
	}
	x := openIndex(t, dir, full, full, 0)
	if err := x.Append(testRecords(full+1, full+3)); err != nil {
		t.Fatal(err)
	}
	checkRecords(t, dir, 1, full+3)
	files, strays, err := ListRecordFiles(dir)
	if err != nil || len(strays) > 0 || checkRecordFiles(files) != nil || files[0].Size != full*recordStride {
		t.Errorf("files are %+v, strays %q, %v", files, strays, err)
	}
}

// TestOpenIndexTrims is the table of damage at the end of the last file.
func TestOpenIndexTrims(t *testing.T) {
	t.Parallel()
	flip := func(record, off int) func([]byte) []byte {
		return func(b []byte) []byte { b[record*recordStride+off] ^= 4; return b }
	}
	for _, tt := range []struct {
		name  string
		spoil func(b []byte) []byte // of ten records
		whole uint64
	}{
		{"whole", func(b []byte) []byte { return b }, 10},
		{"empty", func([]byte) []byte { return nil }, 0},
		{"one byte short", func(b []byte) []byte { return b[:len(b)-1] }, 9},
		{"one byte left of the last", func(b []byte) []byte { return b[:9*recordStride+1] }, 9},
		{"one byte more", func(b []byte) []byte { return append(b, RecordSize) }, 10},
		{"a zero behind", func(b []byte) []byte { return append(b, 0) }, 10},
		{"4096 zeros behind", func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, 10},
		{"garbage behind", func(b []byte) []byte { return append(b, bytes.Repeat([]byte("0garbage"), 100)...) }, 10},
		{"zeros in place of the last three", func(b []byte) []byte { clear(b[7*recordStride:]); return b }, 7},
		{"zeros in place of all", func(b []byte) []byte { clear(b); return b }, 0},
		{"the last record again", func(b []byte) []byte { return append(b, b[9*recordStride:]...) }, 10},
		{"flipped bit in the last hash", flip(9, 1), 9},
		{"flipped bit in the last size", flip(9, 41), 9},
		{"flipped bit in a length prefix", flip(9, 0), 9},
		{"flipped bit in the first", flip(0, 20), 0},
		{"flipped bit in the middle", flip(5, 48), 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := newIndex(t, 10)
			path := filepath.Join(dir, recordFile(1))
			b := tt.spoil(readFile(t, path))
			writeFile(t, path, b)

			// First with a need for one record more than there is: nothing changes.
			if x, _, err := OpenIndex(dir, tt.whole+1); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Errorf("with need %d: %v, %v, want damage", tt.whole+1, x, err)
			}
			if !bytes.Equal(readFile(t, path), b) || len(names(t, dir)) != 1 {
				t.Error("a refused index was changed")
			}
			x := openIndex(t, dir, tt.whole, tt.whole, int64(len(b))-int64(tt.whole)*recordStride)
			if err := x.Append(testRecords(tt.whole+1, 20)); err != nil {
				t.Fatal(err)
			}
			checkRecords(t, dir, 1, 20)
		})
	}
}

// TestLastRecord: records after a damaged one still count as settled once.
func TestLastRecord(t *testing.T) {
	t.Parallel()
	dir := newIndex(t, 10)
	path := filepath.Join(dir, recordFile(1))
	b := readFile(t, path)
	b[3*recordStride+8] ^= 1
	writeFile(t, path, append(b[:9*recordStride], make([]byte, 70)...))
	if got, err := LastRecord(dir); err != nil || got != 9 {
		t.Errorf("LastRecord is %d, %v, want 9", got, err)
	}
	if got, err := LastRecord(filepath.Join(dir, "none")); err != nil || got != 0 {
		t.Errorf("LastRecord of no index is %d, %v", got, err)
	}
}

// TestOpenIndexRefuses is the table of indexes that OpenIndex must not change.
func TestOpenIndexRefuses(t *testing.T) {
	t.Parallel()
	const full = RecordsPerFile
	whole := newIndex(t, 2*full+5)
	cut := func(name string, size int64) func(dir string) error {
		return func(dir string) error { return os.Truncate(filepath.Join(dir, name), size) }
	}
	touch := func(name string) func(dir string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), nil, filePerm) }
	}
	for _, tt := range []struct {
		name  string
		spoil func(dir string) error
		says  string
	}{
		{"first file missing", func(dir string) error { return os.Remove(filepath.Join(dir, recordFile(1))) }, "begins at 32769, want 1"},
		{"middle file missing", func(dir string) error { return os.Remove(filepath.Join(dir, recordFile(full+1))) }, "begins at 65537, want 32769"},
		{"middle file short", cut(recordFile(full+1), full*recordStride-1), "has 1605631 bytes, want 1605632"},
		{"middle file empty", cut(recordFile(full+1), 0), "has 0 bytes, want 1605632"},
		{"middle file swollen", cut(recordFile(full+1), full*recordStride+1), "has 1605633 bytes, want 1605632"},
		{"last file swollen", cut(recordFile(2*full+1), full*recordStride+1), "has 1605633 bytes, want 1605632"},
		{"last file missing but needed", func(dir string) error { return os.Remove(filepath.Join(dir, recordFile(2*full+1))) }, "indices 65537 to 65541"},
		{"last record missing but needed", cut(recordFile(2*full+1), 4*recordStride), "index 65541"},
		{"last record torn but needed", cut(recordFile(2*full+1), 5*recordStride-1), "index 65541"},
		{"all files missing but needed", os.RemoveAll, "the index is missing"},
		{"a file of another's", touch("00000000000000000007"), "begins at 7, want 32769"},
		{"a sign to tidwall/wal to delete the files before", touch(recordFile(2*full+1) + ".START"), "not its own"},
		{"a sign to tidwall/wal to delete the files behind", touch(recordFile(1) + ".END"), "not its own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "wal")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(dir); err != nil {
				t.Fatal(err)
			}
			before := tree(t, filepath.Dir(dir))
			_, _, err := OpenIndex(dir, 2*full+5)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want damage with %q", err, tt.says)
			}
			if after := tree(t, filepath.Dir(dir)); after != before {
				t.Errorf("a refused index was changed from\n%sto\n%s", before, after)
			}
		})
	}
}

// tree lists the content of a directory, with a hash of every file.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprint(&b, strings.TrimPrefix(path, dir), " ", fi.Mode())
		if fi.Mode().IsRegular() {
			fmt.Fprint(&b, " ", Sum(readFile(t, path)))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadRecords(t *testing.T) {
	t.Parallel()
	dir := newIndex(t, RecordsPerFile+10)
	r := newRecordReader(dir)
	defer r.Close()
	dst := make([]Record, 20)
	for _, tt := range []struct {
		from uint64
		want int
	}{{1, 20}, {RecordsPerFile - 5, 6}, {RecordsPerFile + 1, 10}, {RecordsPerFile + 10, 1}, {7, 20}} {
		n, err := r.Read(tt.from, dst)
		if err != nil || n != tt.want {
			t.Fatalf("from %d: %d records, %v, want %d", tt.from, n, err, tt.want)
		}
		for i, got := range dst[:n] {
			if got != testRecord(tt.from+uint64(i)) {
				t.Fatalf("from %d: record %d is another's", tt.from, i)
			}
		}
	}
	for _, from := range []uint64{RecordsPerFile + 11, 2*RecordsPerFile + 1, 1 << 60} {
		if n, err := r.Read(from, dst); n != 0 || !errors.Is(err, ErrNotFound) {
			t.Errorf("from %d: %d, %v, want ErrNotFound", from, n, err)
		}
	}

	path := filepath.Join(dir, recordFile(1))
	b := readFile(t, path)
	b[5*recordStride+30] ^= 1
	writeFile(t, path, b)
	n, err := r.Read(1, dst)
	var d *DamageError
	if n != 5 || !errors.As(err, &d) || d.First != 6 || d.Last != 6 || d.Offset != 5*recordStride || d.Path != path {
		t.Errorf("past a damaged record: %d, %+v, want 5 and damage of 6", n, err)
	}
	if n, err := r.Read(7, dst); n != 20 || err != nil {
		t.Errorf("behind it: %d, %v", n, err)
	}
}

func TestListRecordFiles(t *testing.T) {
	t.Parallel()
	dir := newIndex(t, 3)
	if err := Mark(dir, testStore); err != nil {
		t.Fatal(err)
	}
	for _, stray := range []string{"notes.txt", "1", "0000000000000000000x", "00000000000000000000", "store-1", "store-" + testStore.String()[:30] + "0g"} {
		writeFile(t, filepath.Join(dir, stray), nil)
	}
	files, strays, err := ListRecordFiles(dir)
	if err != nil || len(files) != 1 || files[0] != (RecordFile{filepath.Join(dir, recordFile(1)), 1, 3 * recordStride}) {
		t.Errorf("files are %+v, %v", files, err)
	}
	if len(strays) != 6 {
		t.Errorf("strays are %q, want all six", strays)
	}
	if files, strays, err := ListRecordFiles(filepath.Join(dir, "none")); err != nil || len(files)+len(strays) != 0 {
		t.Errorf("no directory: %v, %v, %v", files, strays, err)
	}
}
