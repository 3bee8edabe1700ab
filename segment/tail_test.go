package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// tailOf makes a segment with one durable batch that ends shift bytes before the end of a
// sector, then a last batch of the given size, and returns the file's bytes and where the
// last batch begins and ends.
func tailOf(t *testing.T, shift, size int, proved bool) (b []byte, from, to int) {
	t.Helper()
	w, err := Create(t.TempDir(), Header{Store: testStore, First: 100}, firstFill)
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w, `{"p":"`+strings.Repeat("p", 2*sectorSize-HeaderSize-BatchHeaderSize-9-shift)+`"}`)
	if got := int(w.End()); got != 2*sectorSize-shift {
		t.Fatalf("the first batch ends at %d, want %d", got, 2*sectorSize-shift)
	}
	if proved {
		if err := w.Prove(); err != nil {
			t.Fatal(err)
		}
	}
	before := readFile(t, w.Path)
	from = int(w.End())
	mustCommit(t, w, `{"q":"`+strings.Repeat("q", size-BatchHeaderSize-9)+`"}`)
	to = int(w.End())
	after := readFile(t, w.Path)
	if proved == (bytes.Equal(before[from:from+4], zeros[:4])) {
		t.Fatal("there is a proof where none is wanted, or none")
	}
	w.Close()
	const rest = 2 * sectorSize
	return append(before[:to+rest], after[:to+rest]...), from, to
}

// TestTornSectors leaves out any of the sectors of a last batch, wherever it is among
// them, and over zeros or over a proof: that is a write that was cut short, and only the
// batch before is recovered. All sectors are the batch.
func TestTornSectors(t *testing.T) {
	t.Parallel()
	step := 3
	if testing.Short() {
		step = 7
	}
	for _, proved := range []bool{false, true} {
		for shift := 0; shift < 64; shift += step {
			both, from, to := tailOf(t, shift, 3*sectorSize+100, proved)
			before, after := both[:len(both)/2], both[len(both)/2:]
			first := from / sectorSize
			n := (to-1)/sectorSize - first + 1
			for written := range 1 << n {
				b := bytes.Clone(before)
				missing := 0
				for i := range n {
					at := (first + i) * sectorSize
					if written>>i&1 == 1 {
						copy(b[at:at+sectorSize], after[at:])
					} else if !bytes.Equal(before[at:at+sectorSize], after[at:at+sectorSize]) {
						missing++
					}
				}
				scan, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil)
				want := 1
				if missing == 0 {
					want = 2
				}
				if err = errors.Join(err, scan.Damage); err != nil || len(scan.Rows) != want {
					t.Fatalf("proof %v, shift %d, sectors %b of %d: %d batches, %v, want %d", proved, shift, written, n, len(scan.Rows), err, want)
				}
				walked, err := Walk(bytes.NewReader(b), 100, 0, false, int64(len(b)), func(Piece) error { return nil })
				if err != nil || walked.Batches != want || walked.Torn != scan.Torn || walked.Torn > 0 && !walked.Unwritten {
					t.Fatalf("proof %v, shift %d, sectors %b of %d: Walk says %+v, %v, ScanBatches %+v", proved, shift, written, n, walked, err, scan)
				}
			}
		}
	}
}

// TestAlteredTail alters bytes of a last batch whose sectors are all there: that is
// damage, with or without a proof.
func TestAlteredTail(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for shift := 0; shift < 64; shift += 9 {
		both, from, to := tailOf(t, shift, 2*sectorSize, shift%2 == 0)
		whole := both[len(both)/2:]
		scan, err := ScanBatches(bytes.NewReader(whole), "x", int64(len(whole)), nil)
		if err != nil || len(scan.Rows) != 2 {
			t.Fatal(scan, err)
		}
		end := proof(scan.Last, scan.Sum, scan.End)
		for at := from; at < to; at += 1 + at/(from+BatchHeaderSize)*20 {
			b := bytes.Clone(whole)
			b[at] ^= 1 << rnd.IntN(8)
			if b[at] == 0 && at >= from+BatchHeaderSize-4 {
				continue // a write can leave a zero byte at the end
			}
			scan, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil)
			if err != nil || len(scan.Rows) != 1 || scan.Damage == nil {
				t.Fatalf("shift %d, byte %d: %d batches, %v, damage %v, want some", shift, at-from, len(scan.Rows), err, scan.Damage)
			}
			walked, err := Walk(bytes.NewReader(b), 100, 0, false, int64(len(b)), func(Piece) error { return nil })
			if err != nil || walked.Torn != scan.Torn || walked.Unwritten || walked.Claimed != 101 {
				t.Fatalf("shift %d, byte %d: Walk says %+v, %v", shift, at-from, walked, err)
			}
			// With the proof after it the scan itself says so, and Walk says which
			// entries.
			copy(b[to:], end[:])
			if _, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "was durable") {
				t.Fatalf("shift %d, byte %d, with a proof: %v", shift, at-from, err)
			}
			var bad []string
			walked, err = Walk(bytes.NewReader(b), 100, 0, false, int64(len(b)), func(p Piece) error {
				if p.Damage != nil {
					bad = append(bad, fmt.Sprintf("%d-%d at %d-%d", p.First, p.Last, p.Offset, p.End))
				}
				return nil
			})
			if want := fmt.Sprintf("101-101 at %d-%d", from, to); err != nil || len(bad) != 1 || bad[0] != want || walked.Last != 101 || walked.Torn != 0 || walked.Proved != int64(to) {
				t.Fatalf("shift %d, byte %d, with a proof: %v, %+v, %v, want %s", shift, at-from, bad, walked, err, want)
			}
			// And zeros are damage too.
			if at%97 == 0 {
				clear(b[from:to])
				if _, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil); !errors.Is(err, ErrDamaged) {
					t.Fatalf("shift %d: zeros before a proof: %v", shift, err)
				}
			}
		}
	}
}

// TestAlteredProof: an altered proof is not a batch, and nothing is lost with it.
func TestAlteredProof(t *testing.T) {
	t.Parallel()
	w, _ := newFaulty(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := readFile(t, w.Path)
	for bit := range 8 * BatchHeaderSize {
		b := bytes.Clone(whole)
		b[int(w.End())+bit/8] ^= 1 << (bit % 8)
		scan, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil)
		if err = errors.Join(err, scan.Damage); err != nil || scan.Last != 100 || scan.Proved {
			t.Fatalf("bit %d: %+v, %v", bit, scan, err)
		}
	}
}

// TestProve: the proof moves nothing, the next batch takes its place, Close leaves one,
// Seal none, and a failing disk is reported as for a batch.
func TestProve(t *testing.T) {
	t.Parallel()
	w, f := newFaulty(t)
	end := w.End()
	scan := func(path string) Scan {
		t.Helper()
		s, err := statOf(path)
		if err != nil {
			t.Fatal(err)
		}
		scan, err := scanOf(s)
		if err != nil || scan.Torn != 0 {
			t.Fatalf("scan is %+v, %v", scan, err)
		}
		return scan
	}
	for range 2 {
		if err := w.Prove(); err != nil || w.End() != end || !scan(w.Path).Proved {
			t.Fatalf("%v, end %d, want %d, proved", err, w.End(), end)
		}
	}
	mustCommit(t, w, "{}")
	if got := scan(w.Path); got.Proved || got.Last != 101 {
		t.Errorf("after the next batch the scan is %+v", got)
	}
	f.write = 10
	if err := w.Prove(); !errors.Is(err, ErrNotWritten) {
		t.Errorf("a failed write: %v", err)
	}
	f.write = -1
	if got := scan(w.Path); got.Proved || got.Last != 101 {
		t.Errorf("after a failed write the scan is %+v", got)
	}
	mustCommit(t, w, "{}")
	if err := w.Prove(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil || !scan(w.Path).Proved {
		t.Errorf("close: %v, proved %v", err, scan(w.Path).Proved)
	}
	s, err := statOf(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	found, err := scanOf(s)
	if err != nil {
		t.Fatal(err)
	}
	if w, err = resume(s, found.Torn); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w, "[]")
	if err := w.Prove(); err != nil {
		t.Error(err)
	}
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	if s, err := statOf(w.Path); err != nil || !s.Sealed() || s.Last() != 103 {
		t.Errorf("the sealed segment: %v", err)
	}

	w, f = newFaulty(t)
	f.sync = errDisk
	refused(t, w, f, w.Prove())

	empty, err := Create(t.TempDir(), Header{Store: testStore, First: 100}, firstFill)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(empty.Prove(), empty.Close()); err != nil || len(readFile(t, empty.Path)) != HeaderSize {
		t.Errorf("an empty segment has a proof, or %v", err)
	}
}

// TestTornStaysUntilCut: a resumed segment with torn bytes changes nothing, and accepts
// nothing, until they are cut off.
func TestTornStaysUntilCut(t *testing.T) {
	t.Parallel()
	x := build(t, false, 2, 3)
	torn := append(bytes.Clone(x.bytes), "torn"...)
	x.store(t, torn)
	open := func() *Writer {
		s, err := statOf(x.path)
		if err != nil {
			t.Fatal(err)
		}
		w, err := Resume(s, 4)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := open()
	b, n := frame("[]")
	for _, err := range []error{w.Commit(b, n, testTime), w.Prove()} {
		if !errors.Is(err, ErrNotWritten) {
			t.Errorf("error is %v, want ErrNotWritten", err)
		}
	}
	if err := w.Close(); err != nil || !bytes.Equal(readFile(t, x.path), torn) {
		t.Errorf("closed with %v; the file has %d bytes, want the %d that it had", err, len(readFile(t, x.path)), len(torn))
	}
	w = open()
	if err := w.Cut(); err != nil || !bytes.Equal(readFile(t, x.path), x.bytes) {
		t.Errorf("cut with %v; the file has %d bytes, want %d", err, len(readFile(t, x.path)), len(x.bytes))
	}
	mustCommit(t, w, "[]")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
