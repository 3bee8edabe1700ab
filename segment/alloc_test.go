package segment

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// allocated returns how many bytes fn allocates. Others may allocate at the same time, so
// if it exceeds limit the least of a few runs counts.
func allocated(limit uint64, fn func()) uint64 {
	least := ^uint64(0)
	for n := 0; n < 3 && least > limit; n++ {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fn()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// corpus returns the []byte arguments of the inputs that fuzzing has kept for the target.
func corpus(t *testing.T, target string) (inputs [][]byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no corpus of %s: %v", target, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			text, ok := strings.CutPrefix(strings.TrimSpace(line), "[]byte(")
			if !ok {
				continue
			}
			s, err := strconv.Unquote(strings.TrimSuffix(text, ")"))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			inputs = append(inputs, []byte(s))
		}
	}
	return inputs
}

// mutations returns inputs as they are, and each with fields that claim more than there
// is: any four bytes may be a size, a count or an offset.
func mutations(inputs [][]byte) (out [][]byte) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, b := range inputs {
		out = append(out, b)
		for range 20 {
			m := bytes.Clone(b)
			for range 1 + random.IntN(4) {
				if len(m) < 8 {
					break
				}
				at := random.IntN(len(m) - 4)
				if random.IntN(2) == 0 {
					at = min(at/4*4, len(m)-4) // where fields are
				}
				binary.LittleEndian.PutUint32(m[at:], []uint32{1<<32 - 1, 1 << 31, 1<<30 - 1, 1 << 24, random.Uint32(), 0}[random.IntN(6)])
			}
			out = append(out, m)
		}
	}
	return out
}

// TestAllocation: no decoder takes more memory than its input justifies, whatever the
// input claims.
func TestAllocation(t *testing.T) {
	const times, plus = 8, 128 << 10
	check := func(t *testing.T, b []byte, fn func()) {
		t.Helper()
		limit := uint64(times*len(b) + plus)
		if got := allocated(limit, fn); got > limit {
			t.Fatalf("%d bytes are allocated for an input of %d, want %d at most: %x", got, len(b), limit, b[:min(len(b), 200)])
		}
	}
	x := build(t, true, 2, 1, 3)
	segments := append(append(corpus(t, "FuzzScanBatches"), corpus(t, "FuzzSealed")...), x.bytes)
	t.Run("scan and walk", func(t *testing.T) {
		for _, b := range mutations(segments) {
			for _, mend := range []bool{false, true} {
				if mend {
					mendSums(b)
				}
				check(t, b, func() { ScanBatches(bytes.NewReader(b), "x.seg", int64(len(b)), nil) })
				check(t, b, func() {
					Walk(bytes.NewReader(b), 1, 0, false, int64(len(b)), func(Piece) error { return nil })
				})
			}
		}
	})
	t.Run("sealed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.seg")
		for _, b := range mutations(segments) {
			mendSums(b)
			writeFile(t, path, b)
			check(t, b, func() {
				s, err := statOf(path)
				if err != nil || !s.Sealed() {
					return
				}
				r, err := s.NewReader(s.Header.First)
				if err != nil {
					return
				}
				defer r.Close()
				for range len(b)/BatchHeaderSize + 2 {
					if _, err := r.Next(); err != nil {
						break
					}
				}
			})
		}
	})
	t.Run("records", func(t *testing.T) {
		dir := t.TempDir()
		dst := make([]Record, 8)
		for _, b := range mutations(corpus(t, "FuzzRecords")) {
			writeFile(t, filepath.Join(dir, recordFile(1)), b)
			check(t, b, func() {
				r := newRecordReader(dir)
				defer r.Close()
				r.Read(1, dst)
				wholeRecords(RecordFile{Path: filepath.Join(dir, recordFile(1)), First: 1, Size: int64(len(b))})
				LastRecord(dir)
			})
		}
	})
	t.Run("blobs", func(t *testing.T) {
		dir := t.TempDir()
		entry := []byte(`{"a":1}`)
		rec := Record{Hash: Sum(entry)}
		path := filepath.Join(dir, BlobPath(rec.Hash))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, entry)
		for _, size := range []uint32{0, 1, 6, 7, 8, 1 << 20, 1 << 28, 1<<32 - 1} {
			rec.Size = size
			check(t, entry, func() { ReadBlob(t.Context(), BlobsIn(dir), rec) })
		}
	})
}
