package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// recovery is a way to break a segment of three batches that is not sealed, and the
// expected result of a scan.
type recovery struct {
	name  string
	spoil func(x *built, b []byte) []byte
	whole int    // batches recovered
	torn  int    // bytes to cut off, -1: up to the last that is not zero; allAltered: the same, but not from a write that was cut short
	says  string // of damage; "" where there is none
}

const allAltered = -2

func flip(off func(x *built) int) func(*built, []byte) []byte {
	return func(x *built, b []byte) []byte { b[off(x)] ^= 0x10; return b }
}

func at(batch, off int) func(*built) int { return func(x *built) int { return x.starts[batch] + off } }

func recoveries() []recovery {
	zeros := func(n int) func(*built, []byte) []byte {
		return func(_ *built, b []byte) []byte { return append(b, make([]byte, n)...) }
	}
	return []recovery{
		{"whole", func(_ *built, b []byte) []byte { return b }, 3, 0, ""},
		{"no batch", func(_ *built, b []byte) []byte { return b[:HeaderSize] }, 0, 0, ""},
		{"one zero behind", zeros(1), 3, 0, ""},
		{"zeros behind, less than a header", zeros(47), 3, 0, ""},
		{"zeros behind", zeros(2 << 20), 3, 0, ""},
		{"garbage behind", func(_ *built, b []byte) []byte { return append(b, "garbage"...) }, 3, 7, ""},
		{"garbage behind, longer than a header", func(_ *built, b []byte) []byte { return append(b, strings.Repeat("x", 1000)...) }, 3, allAltered, ""},
		{"garbage and zeros behind", func(_ *built, b []byte) []byte { return append(append(b, "garbage"...), make([]byte, 9999)...) }, 3, 7, ""},
		{"zeros and garbage behind", func(_ *built, b []byte) []byte {
			return append(append(b, make([]byte, 1<<20)...), "garbage"...)
		}, 3, 1<<20 + 7, ""},
		{"the magic alone behind", func(_ *built, b []byte) []byte { return append(b, strings.Repeat("BTCH", 99)...) }, 3, allAltered, ""},
		{"an older batch again behind", func(x *built, b []byte) []byte { return append(b, b[x.starts[0]:x.starts[1]]...) }, 3, allAltered, ""},

		{"zeros in place of the last batch", func(x *built, b []byte) []byte { clear(b[x.starts[2]:]); return b }, 2, 0, ""},
		{"zeros in place of the last header", func(x *built, b []byte) []byte { clear(b[x.starts[2]:][:48]); return b }, 2, -1, ""},
		{"zeros in place of the last body", func(x *built, b []byte) []byte { clear(b[x.starts[2]+48:]); return b }, 2, -1, ""},
		{"zeros in place of the last byte", func(x *built, b []byte) []byte { b[len(b)-1] = 0; return b }, 2, -1, ""},
		{"flipped bit in the last header", flip(at(2, 9)), 2, allAltered, ""},
		{"flipped bit in the last body", flip(at(2, 50)), 2, allAltered, ""},
		{"last batch cut and zeros behind", func(x *built, b []byte) []byte { return append(b[:len(b)-5], make([]byte, 5000)...) }, 2, -1, ""},

		{"a proof of more entries", func(x *built, b []byte) []byte {
			p := proof(x.firsts[3]+6, binary.LittleEndian.Uint32(b[x.starts[2]+44:]), int64(len(b)))
			return append(b, p[:]...)
		}, 3, 0, "batch of 0 entries from index 115"},

		{"flipped bit in the first header", flip(at(0, 3)), 0, 0, "batch magic"},
		{"flipped bit in the first body", flip(at(0, 48)), 0, 0, "batch checksum"},
		{"flipped bit in the second header", flip(at(1, 30)), 1, 0, "batch header checksum"},
		{"flipped bit in the second body", flip(at(1, 60)), 1, 0, "batch checksum"},
		{"zeros in place of the second batch", func(x *built, b []byte) []byte { clear(b[x.starts[1]:x.starts[2]]); return b }, 1, 0, "zeros in place of a batch"},
		{"zeros in place of the second header", func(x *built, b []byte) []byte { clear(b[x.starts[1]:][:48]); return b }, 1, 0, "zeros in place of a batch"},
		{"second batch left out", func(x *built, b []byte) []byte {
			return append(b[:x.starts[1]], bytes.Clone(b[x.starts[2]:])...)
		}, 1, 0, "batch begins at index 104, want 103"},
		{"last batch of another chain", rewritten(2, func(h *BatchHeader) { h.Prev ^= 1 }), 2, 0, "follows checksum"},
		{"last batch with a synced offset beyond itself", rewritten(2, func(h *BatchHeader) { h.Synced = 1 << 20 }), 2, 0, "synced offset 1048576 beyond itself"},
		{"last batch longer than the file", rewritten(2, func(h *BatchHeader) { h.Size = MaxBody }), 2, -1, ""},
		{"second batch one byte short", func(x *built, b []byte) []byte {
			return append(b[:x.starts[2]-1], bytes.Clone(b[x.starts[2]:])...)
		}, 1, 0, "whole batch of index"},
		{"one batch twice", func(x *built, b []byte) []byte {
			return append(append(bytes.Clone(b[:x.starts[2]]), b[x.starts[1]:x.starts[2]]...), b[x.starts[2]:]...)
		}, 2, 0, "batch begins at index"},
		{"another chain's batch", rewritten(1, func(h *BatchHeader) { h.Prev ^= 1 }), 1, 0, "follows checksum"},
		{"synced offset beyond itself", rewritten(1, func(h *BatchHeader) { h.Synced = 1 << 20 }), 1, 0, "synced offset 1048576 beyond itself"},
		{"first index too large", rewritten(1, func(h *BatchHeader) { h.First++ }), 1, 0, "batch begins at index"},
		{"body longer than the file", rewritten(1, func(h *BatchHeader) { h.Size = MaxBody }), 1, 0, "cut short"},
	}
}

// rewritten changes the header of a batch and corrects its checksum.
func rewritten(batch int, change func(h *BatchHeader)) func(*built, []byte) []byte {
	return func(x *built, b []byte) []byte {
		h, err := ParseBatchHeader(b[x.starts[batch]:])
		if err != nil {
			panic(err)
		}
		change(&h)
		h.put(b[x.starts[batch]:])
		return b
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	for _, tt := range recoveries() {
		t.Run(tt.name, func(t *testing.T) {
			x := build(t, false, 3, 1, 4)
			b := tt.spoil(x, bytes.Clone(x.bytes))
			x.store(t, b)
			checkScan(t, x, b, tt)
		})
	}
}

// checkScan scans the spoilt bytes b, from a reader and from the file, and then resumes
// the file if that is allowed.
func checkScan(t *testing.T, x *built, b []byte, tt recovery) {
	t.Helper()
	var bodies []string
	scan, err := ScanBatches(bytes.NewReader(b), "x.seg", int64(len(b)), func(off int64, h BatchHeader, body []byte) error {
		if int(off) != x.starts[len(bodies)] {
			t.Errorf("batch %d is at %d, want %d", len(bodies), off, x.starts[len(bodies)])
		}
		bodies = append(bodies, string(body))
		return nil
	})
	if got, want := strings.Join(bodies, "|"), strings.Join(x.bodies[:tt.whole], "|"); got != want {
		t.Fatalf("recovered %q, want %q (%v)", got, want, err)
	}
	if int(scan.End) != x.starts[tt.whole] || scan.Last != x.firsts[tt.whole]-1 || len(scan.Rows) != tt.whole || scan.Header != x.header {
		t.Errorf("scan is %+v, want %d batches through %d, end %d", scan, tt.whole, x.firsts[tt.whole]-1, x.starts[tt.whole])
	}
	s, err2 := statOf(x.path)
	if err2 != nil || s.Sealed() {
		t.Fatalf("captured: %v, sealed %v", err2, err2 == nil && s.Sealed())
	}
	again, err3 := scanOf(s)
	if d := scan.Damage; (again.Damage != nil) != (d != nil) {
		t.Errorf("a scan of the file finds %v, ScanBatches %v", again.Damage, d)
	}
	again.Damage = scan.Damage // except for the path
	if fmt.Sprint(again, err3 != nil) != fmt.Sprint(scan, err != nil) {
		t.Errorf("a scan of the file returns %+v, %v; ScanBatches %+v, %v", again, err3, scan, err)
	}
	if tt.says != "" {
		var d *DamageError
		if !errors.As(err, &d) || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.says) {
			t.Fatalf("error is %v, want damage with %q", err, tt.says)
		}
		if d.Path != "x.seg" || d.Offset != scan.End || d.First != scan.Last+1 {
			t.Errorf("damage is at %s %d index %d, want x.seg %d index %d", d.Path, d.Offset, d.First, scan.End, scan.Last+1)
		}
		return
	}
	if err != nil {
		t.Fatalf("error is %v, want none", err)
	}
	torn := tt.torn
	if torn < 0 {
		torn = lastNonZero(b) + 1 - x.starts[tt.whole]
	}
	if int(scan.Torn) != torn {
		t.Errorf("%d bytes are torn, want %d", scan.Torn, torn)
	}
	if got := scan.Damage != nil; got != (tt.torn == allAltered) {
		t.Fatalf("damage is %v, want some: %v", scan.Damage, !got)
	} else if got {
		checkDamage(t, scan.Damage, "x.seg", scan)
		return
	}
	checkResume(t, x, s, again, tt.whole)
}

// checkDamage checks that err says where the damage is.
func checkDamage(t *testing.T, err error, path string, scan Scan) {
	t.Helper()
	var d *DamageError
	if !errors.As(err, &d) || d.Path != path || d.Offset != scan.End || d.First != scan.Last+1 || !strings.Contains(err.Error(), "not an unfinished write") {
		t.Errorf("damage is %v, want it at %s %d index %d", err, path, scan.End, scan.Last+1)
	}
}

// resume resumes the segment, and cuts off its torn bytes if there are any.
func resume(s *Segment, torn int64) (*Writer, error) {
	w, err := Resume(s, torn)
	if err == nil && torn > 0 {
		err = w.Cut()
	}
	return w, err
}

// checkResume resumes the segment, appends one batch, and reads all of it.
func checkResume(t *testing.T, x *built, s *Segment, scan Scan, whole int) {
	t.Helper()
	w, err := resume(s, scan.Torn)
	if err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, x.path); scan.Torn > 0 && len(got) != x.starts[whole] {
		t.Errorf("the file has %d bytes after Resume, want %d", len(got), x.starts[whole])
	}
	b, n := frame(`{"new":1}`)
	if err := w.Commit(b, n, testTime); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := append(append([]byte(nil), x.bytes[:x.starts[whole]]...), b...)
	end := proof(w.Last(), w.Sum(), w.End())
	want = append(want, end[:]...)
	if got := readFile(t, x.path); !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes after Close, want %d: the whole batches, the new one and its proof", len(got), len(want))
	}
	again, err := ScanBatches(bytes.NewReader(want), "x", int64(len(want)), nil)
	if err != nil || again.Torn != 0 || again.Last != x.firsts[whole] || !again.Proved {
		t.Errorf("scan after Resume: %+v, %v, want last %d, proved", again, err, x.firsts[whole])
	}
}

// TestTornEverywhere cuts the last batch at every byte, with and without zeros
// in place of what is missing, and cuts a batch before it likewise.
func TestTornEverywhere(t *testing.T) {
	t.Parallel()
	x := build(t, false, 2, 2)
	for cut := x.starts[1]; cut <= x.starts[2]; cut++ {
		for _, fill := range []int{0, x.starts[2] - cut, 4096} {
			if head := cut - x.starts[1] - BatchHeaderSize; fill > 0 && -4 < head && head < 0 {
				continue // within the checksum, and so within a sector: no disk does that
			}
			b := append(bytes.Clone(x.bytes[:cut]), make([]byte, fill)...)
			scan, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil)
			whole := 1
			if cut == x.starts[2] {
				whole = 2
			}
			if err = errors.Join(err, scan.Damage); err != nil || len(scan.Rows) != whole {
				t.Fatalf("cut at %d, %d zeros: %d batches, %v, want %d", cut, fill, len(scan.Rows), err, whole)
			}
			if want := int64(lastNonZero(b) + 1 - x.starts[whole]); scan.Torn != want {
				t.Fatalf("cut at %d, %d zeros: %d bytes are torn, want %d", cut, fill, scan.Torn, want)
			}
		}
	}
	for cut := range HeaderSize {
		_, err := ScanBatches(bytes.NewReader(x.bytes[:cut]), "x", int64(cut), nil)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("header cut at %d: %v", cut, err)
		}
	}
}

// TestFlippedBits flips every bit of a segment. That is damage, also in the last batch;
// and nothing else is ever recovered.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	x := build(t, false, 1, 1)
	for bit := range 8 * len(x.bytes) {
		b := bytes.Clone(x.bytes)
		b[bit/8] ^= 1 << (bit % 8)
		scan, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil)
		switch {
		case bit/8 < x.starts[1]:
			if len(scan.Rows) != 0 || !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d of byte %d: %d batches, %v, want damage", bit%8, bit/8, len(scan.Rows), err)
			}
		case len(scan.Rows) != 1 || err != nil || scan.Torn == 0 || scan.Damage == nil:
			t.Fatalf("bit %d of byte %d: %d batches, torn %d, %v, want a damaged batch", bit%8, bit/8, len(scan.Rows), scan.Torn, err)
		}
	}
}

// TestWitnessFarBehind puts damage and the batch that proves it on either side of the
// scan's read window, at every alignment.
func TestWitnessFarBehind(t *testing.T) {
	t.Parallel()
	x := build(t, false, 1, 1, 1)
	for shift := -2 * BatchHeaderSize; shift <= BatchHeaderSize; shift++ {
		gap := readAhead + shift
		b := append(bytes.Clone(x.bytes[:x.starts[1]]), bytes.Repeat([]byte{'B'}, gap)...)
		b = append(b, x.bytes[x.starts[2]:]...)
		scan, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("offset %d:", x.starts[1]+gap)) {
			t.Fatalf("gap of %d: %+v, %v, want damage that names offset %d", gap, scan, err, x.starts[1]+gap)
		}
	}
}

func TestScanStopsAtError(t *testing.T) {
	t.Parallel()
	x := build(t, false, 1, 1, 1)
	stop := errors.New("stop")
	n := 0
	_, err := ScanBatches(bytes.NewReader(x.bytes), "x", int64(len(x.bytes)), func(int64, BatchHeader, []byte) error {
		n++
		return stop
	})
	if err != stop || n != 1 {
		t.Errorf("error is %v after %d calls, want the function's after 1", err, n)
	}
}
