package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"testing"
)

// mendSums gives every header in b that has its magic the right checksum, and batches the
// right checksum of their bodies and the right link to the previous batch, so that
// fuzzing reaches what they protect.
func mendSums(b []byte) {
	if len(b) < HeaderSize {
		return
	}
	resum(b[:HeaderSize])
	sum := binary.LittleEndian.Uint32(b[60:])
	for off := HeaderSize; off+BatchHeaderSize <= len(b) && [4]byte(b[off:]) == batchMagic; {
		h := b[off : off+BatchHeaderSize]
		size := int(binary.LittleEndian.Uint32(h[4:]))
		if size > len(b)-off-BatchHeaderSize {
			size = 0
		}
		binary.LittleEndian.PutUint32(h[20:], sum)
		binary.LittleEndian.PutUint32(h[40:], Checksum(b[off+BatchHeaderSize:][:size]))
		sum = Checksum(h[:44])
		binary.LittleEndian.PutUint32(h[44:], sum)
		off += BatchHeaderSize + size
	}
	if footer := b[len(b)-min(len(b), FooterSize):]; len(footer) == FooterSize && [8]byte(footer) == footerMagic {
		resum(footer)
	}
}

// FuzzScanBatches scans any bytes: what it accepts encodes to the same bytes, and it
// takes no more memory than their length justifies.
func FuzzScanBatches(f *testing.F) {
	for _, r := range recoveries() {
		x := build(f, false, 3, 1, 4)
		if b := r.spoil(x, bytes.Clone(x.bytes)); len(b) < 8192 {
			f.Add(b, false)
			f.Add(b, true)
		}
	}
	f.Add(build(f, true, 2, 2).bytes, false)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = bytes.Clone(b)
			mendSums(b)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		end := int64(HeaderSize)
		again := []byte(nil)
		scan, err := ScanBatches(bytes.NewReader(b), "fuzz.seg", int64(len(b)), func(off int64, bh BatchHeader, body []byte) error {
			if off != end {
				t.Fatalf("batch at %d, want %d", off, end)
			}
			again = append(again, make([]byte, BatchHeaderSize)...)
			bh.put(again[len(again)-BatchHeaderSize:])
			again = append(again, body...)
			end += BatchHeaderSize + int64(len(body))
			return nil
		})
		runtime.ReadMemStats(&after)
		// The window, copies of the bytes made here, rows, and the share of other
		// goroutines.
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(10*len(b)+1<<20); got > limit {
			t.Errorf("%d bytes were allocated for %d", got, len(b))
		}
		var d *DamageError
		if err != nil && !errors.As(err, &d) && !errors.Is(err, ErrVersion) {
			t.Fatalf("error is %v", err)
		}
		if scan.End == 0 {
			if err == nil {
				t.Fatal("no header and no error")
			}
			return
		}
		if scan.End != end || scan.End+scan.Torn > int64(len(b)) || scan.Torn < 0 || !bytes.Equal(again, b[HeaderSize:end]) {
			t.Fatalf("scan ends at %d, torn %d of %d, re-encoded to %d bytes", scan.End, scan.Torn, len(b), len(again))
		}
		rest := b[scan.End+scan.Torn:]
		if scan.Proved && scan.Torn == 0 {
			rest = rest[BatchHeaderSize:]
		}
		if err == nil && !allZero(rest) {
			t.Fatal("bytes behind the torn ones are neither zeros nor counted")
		}
		// Cut where Resume cuts, the same scan finds no damage and nothing torn.
		cut, err := ScanBatches(bytes.NewReader(b), "fuzz.seg", scan.End, nil)
		if err != nil || cut.Torn != 0 || cut.Last != scan.Last || cut.Sum != scan.Sum {
			t.Fatalf("cut at %d: %+v, %v, want %+v", scan.End, cut, err, scan)
		}
	})
}

// FuzzSealed reads any bytes as a segment that may be sealed: from every index that it
// claims to hold, readers come to an end, in order, without a panic.
func FuzzSealed(f *testing.F) {
	x := build(f, true, 2, 1, 3)
	f.Add(x.bytes, true)
	for off := x.starts[2]; off < len(x.bytes); off += 5 {
		b := bytes.Clone(x.bytes)
		b[off] ^= 0xff
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = bytes.Clone(b)
			mendSums(b)
		}
		path := filepath.Join(t.TempDir(), "fuzz.seg")
		writeFile(t, path, b)
		s, err := statOf(path)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Fatalf("error is %v", err)
			}
			return
		}
		if !s.Sealed() {
			if _, err := scanOf(s); err != nil {
				return
			}
		}
		first, last := s.Header.First, s.Last()
		for _, index := range []uint64{first, first + 1, first/2 + last/2, last} {
			if index >= first && index <= last {
				readOut(t, s, index, len(b))
			}
		}
	})
}

// readOut reads a segment from index to its end.
func readOut(t *testing.T, s *Segment, index uint64, size int) {
	r, err := s.NewReader(index)
	if errors.Is(err, ErrDamaged) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := uint64(0) // 0 until the first answer
	for range size/BatchHeaderSize + 2 {
		b, err := r.Next()
		from, through := b.First, b.Last()
		var d *DamageError
		switch {
		case err == io.EOF:
			return
		case errors.As(err, &d):
			from, through = d.First, d.Last
		case err != nil:
			t.Fatal(err)
		}
		if next == 0 && (from > index || through < index) || next != 0 && from != next || through < from {
			t.Fatalf("from %d: %d to %d, want %d (%v)", index, from, through, next, err)
		}
		next = through + 1
	}
	t.Fatalf("from %d: there is no end", index)
}

// FuzzRecords reads any bytes as a file of the index.
func FuzzRecords(f *testing.F) {
	var b []byte
	for i := range uint64(4) {
		b = testRecord(1+i).appendTo(append(b, RecordSize), 1+i)
	}
	f.Add(b, uint16(1), false)
	f.Add(b[:100], uint16(2), false)
	f.Add(append(b[:3*recordStride], make([]byte, 200)...), uint16(3), false)
	f.Add(b, uint16(4), true)
	f.Fuzz(func(t *testing.T, b []byte, from16 uint16, mend bool) {
		b = bytes.Clone(b[:min(len(b), RecordsPerFile*recordStride)])
		if mend {
			for i := 0; (i+1)*recordStride <= len(b); i++ {
				rec := b[i*recordStride+1:][:RecordSize]
				sum := Checksum(binary.LittleEndian.AppendUint64(bytes.Clone(rec[:44]), uint64(i)+1))
				binary.LittleEndian.PutUint32(rec[44:], sum)
			}
		}
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, recordFile(1)), b)
		from := max(uint64(from16), 1)
		dst := make([]Record, 8)
		r := newRecordReader(dir)
		defer r.Close()
		n, err := r.Read(from, dst)
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		if n == 0 && err == nil {
			t.Fatal("no record and no error")
		}
		for i, rec := range dst[:n] {
			index := from + uint64(i)
			off := int(index-1) * recordStride
			if !bytes.Equal(rec.appendTo([]byte{RecordSize}, index), b[off:off+recordStride]) {
				t.Fatalf("record %d does not encode to what was read", index)
			}
		}
		// The preflight keeps whole records only, and the next one is not whole.
		whole, why, err := wholeRecords(RecordFile{Path: filepath.Join(dir, recordFile(1)), First: 1, Size: int64(len(b))})
		if err != nil || !errors.Is(why, ErrDamaged) {
			t.Fatalf("%d records are whole, %v, %v", whole, why, err)
		}
		for i := range whole + 1 {
			_, err := parseRecord(b[min(i*recordStride, len(b)):], uint64(i)+1)
			if (err == nil) != (i < whole) {
				t.Fatalf("%d records are whole, and of the one behind %d: %v", whole, i, err)
			}
		}
	})
}
