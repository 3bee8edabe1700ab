package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// together is a segment with one separate batch and then several from one write.
type together struct {
	before []byte // the file before that write, with zeros where it goes
	after  []byte // and after that write
	starts []int  // where each batch begins, and where the last one ends
	bodies []string
	last   []uint64 // the last index of each batch
}

// buildTogether writes batches whose bodies have roughly these sizes; 0 is a batch of lost
// entries.
func buildTogether(t *testing.T, proved bool, sizes ...int) *together {
	t.Helper()
	w, err := Create(t.TempDir(), Header{Store: testStore, First: 100, Created: 1, Prev: 5}, noLimit)
	if err != nil {
		t.Fatal(err)
	}
	defer w.f.Close()
	mustCommit(t, w, `{"alone":1}`)
	if proved {
		if err := w.Prove(); err != nil {
			t.Fatal(err)
		}
	}
	x := &together{starts: []int{HeaderSize, int(w.End())}, bodies: []string{"{\"alone\":1}\n"}, last: []uint64{100}}
	var batches []byte
	var specs []BatchSpec
	x.before = readFile(t, w.Path)[:int(w.End())+BatchHeaderSize]
	for i, size := range sizes {
		body, count := "", 3
		if size > 0 {
			body, count = strings.Repeat(fmt.Sprintf("[%d]\n", i), 2)+`"`+strings.Repeat("x", size)+"\"\n", 3
		}
		batches = append(append(batches, make([]byte, BatchHeaderSize)...), body...)
		specs = append(specs, BatchSpec{Size: len(body), Count: count, Time: testTime.UnixMicro() + int64(i)})
		x.bodies, x.last = append(x.bodies, body), append(x.last, x.last[i]+uint64(count))
		x.starts = append(x.starts, x.starts[i+1]+BatchHeaderSize+len(body))
	}
	if err := w.CommitAll(batches, specs); err != nil {
		t.Fatal(err)
	}
	if int(w.End()) != x.starts[len(x.starts)-1] || w.Last() != x.last[len(x.last)-1] {
		t.Fatalf("the segment ends at %d with entry %d, want %d with %d", w.End(), w.Last(), x.starts, x.last)
	}
	x.after = readFile(t, w.Path)[:w.End()]
	x.before = append(x.before, make([]byte, len(x.after))...)[:max(len(x.before), len(x.after))]
	return x
}

// whole returns how many batches of b, from the first on, are intact.
func (x *together) whole(b []byte) int {
	n := 0
	for n < len(x.bodies) && x.starts[n+1] <= len(b) && bytes.Equal(b[:x.starts[n+1]], x.after[:x.starts[n+1]]) {
		n++
	}
	return n
}

// check scans b, what a crash left of the write, and compares the result with the intact
// batches.
func (x *together) check(t *testing.T, what string, b []byte) {
	t.Helper()
	n := 0
	scan, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), func(off int64, h BatchHeader, body []byte) error {
		if int(off) != x.starts[n] || string(body) != x.bodies[n] || h.Last() != x.last[n] {
			t.Errorf("%s: batch %d is %q at %d through %d", what, n, body, off, h.Last())
		}
		n++
		return nil
	})
	want := x.whole(b)
	if err = errors.Join(err, scan.Damage); err != nil || n != want || len(scan.Rows) != want || int(scan.End) != x.starts[want] {
		t.Fatalf("%s: %d batches, end %d, %v, want %d, no damage", what, n, scan.End, err, want)
	}
	torn := lastNonZero(b) + 1 - x.starts[want]
	if scan.Proved && torn == BatchHeaderSize {
		torn = 0
	}
	if torn = max(torn, 0); int(scan.Torn) != torn {
		t.Fatalf("%s: %d bytes are torn, want %d", what, scan.Torn, torn)
	}
}

var togetherSizes = [][]int{
	{1, 1},
	{1, 0, 1, 0, 0, 5},
	{0},
	{0, 0, 0},
	{100, 200, 300, 400},
	{600, 1, 1500, 1, 1, 700},
	{3000, 0, 3000},
	{439, 512, 464, 1}, // ends of batches at or near ends of sectors
	{426, 460, 460, 458, 457},
}

// TestTornTogether cuts a write of several batches at every byte, and leaves out any of its
// sectors: the batches before the first incomplete one are intact, and no others. A short run
// cuts at every fifth byte, another one for each write.
func TestTornTogether(t *testing.T) {
	t.Parallel()
	step := 1
	if testing.Short() {
		step = 5
	}
	for n, sizes := range togetherSizes {
		for _, proved := range []bool{false, true} {
			t.Run(fmt.Sprint(sizes, proved), func(t *testing.T) {
				t.Parallel()
				x := buildTogether(t, proved, sizes...)
				begin, end := x.starts[1], len(x.after)
				x.check(t, "whole", x.after)
				x.check(t, "whole and zeros", append(bytes.Clone(x.after), make([]byte, 5000)...))
				for cut := begin + n%step; cut <= end; cut += step {
					x.check(t, fmt.Sprint("cut at ", cut), x.after[:cut])
					// No disk leaves a part of a header in place of a part of a proof.
					if !x.inChecksum(cut) && !(proved && cut < begin+BatchHeaderSize) {
						b := append(bytes.Clone(x.after[:cut]), x.before[cut:end]...)
						x.check(t, fmt.Sprint("zeros from ", cut), b)
						x.check(t, fmt.Sprint("zeros from ", cut, " to far behind"), append(b, make([]byte, 4096)...))
					}
				}
				first, last := begin/sectorSize, (end-1)/sectorSize
				leave := func(what string, written func(sector int) bool) {
					b := bytes.Clone(x.before[:end])
					for s := first; s <= last; s++ {
						if from, to := max(s*sectorSize, begin), min((s+1)*sectorSize, end); written(s) {
							copy(b[from:to], x.after[from:to])
						}
					}
					x.check(t, what, b)
					x.check(t, what+" and zeros behind", append(b, make([]byte, 999)...))
				}
				for i := first; i <= last+1; i++ {
					leave(fmt.Sprint("sectors before ", i), func(s int) bool { return s < i })
					leave(fmt.Sprint("sectors from ", i), func(s int) bool { return s >= i })
					leave(fmt.Sprint("sectors without ", i), func(s int) bool { return s != i })
					leave(fmt.Sprint("only sector ", i), func(s int) bool { return s == i })
				}
				rnd := rand.New(rand.NewPCG(1, 2))
				for range 300 {
					bits := rnd.Uint64()
					leave(fmt.Sprintf("sectors %b", bits), func(s int) bool { return bits>>(s-first)&1 == 1 })
				}
			})
		}
	}
}

// inChecksum reports whether cut is within the checksum of a header, and so within a sector or
// at worst with only a part of it in another: no disk cuts there and leaves zeros.
func (x *together) inChecksum(cut int) bool {
	for _, start := range x.starts[1:] {
		if head := cut - start - BatchHeaderSize; -4 < head && head < 0 {
			return true
		}
	}
	return false
}

// TestDamageTogether: bytes altered in a write of several batches are damage, and so is a
// missing part that a later write, or a proof, says was durable.
func TestDamageTogether(t *testing.T) {
	t.Parallel()
	x := buildTogether(t, false, 100, 0, 700, 20)
	end := len(x.after)
	damaged := func(what string, b []byte, want int) {
		t.Helper()
		scan, err := ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil)
		if err == nil {
			err = scan.Damage
		}
		if !errors.Is(err, ErrDamaged) || len(scan.Rows) != want {
			t.Fatalf("%s: %d batches, %v, want damage after %d", what, len(scan.Rows), err, want)
		}
	}
	for bit := 8 * x.starts[1]; bit < 8*end; bit++ {
		b := bytes.Clone(x.after)
		b[bit/8] ^= 1 << (bit % 8)
		damaged(fmt.Sprintf("bit %d of byte %d", bit%8, bit/8), b, x.whole(b))
	}
	h, err := ParseBatchHeader(x.after[x.starts[4]:])
	if err != nil {
		t.Fatal(err)
	}
	p := proof(h.Last(), h.Sum, int64(end))
	later := make([]byte, BatchHeaderSize+5)
	copy(later[BatchHeaderSize:], "null\n")
	(&BatchHeader{Size: 5, First: h.Last() + 1, Count: 1, Prev: h.Sum, Synced: uint64(end), Body: Checksum([]byte("null\n"))}).put(later)
	for name, behind := range map[string][]byte{"a proof": p[:], "a later batch": later} {
		for s := x.starts[1]; s < end; s += 100 {
			b := append(bytes.Clone(x.after), behind...)
			clear(b[s:min(s+100, end)])
			damaged(fmt.Sprint("zeros from ", s, ", then ", name), b, x.whole(b[:end]))
		}
	}
}

// TestResumeTogether: after a crash in the middle of a write of several batches the segment
// continues after the intact ones, and the rest of the others is gone.
func TestResumeTogether(t *testing.T) {
	t.Parallel()
	x := buildTogether(t, false, 600, 600, 600)
	b := bytes.Clone(x.after)
	clear(b[2*sectorSize : 3*sectorSize]) // of the second; the third is intact
	path := filepath.Join(t.TempDir(), Name(100))
	writeFile(t, path, b)
	f, err := CaptureFile(path)
	if err != nil || f.Check() != nil || f.Walked.Batches != 2 || !f.Walked.Unwritten {
		t.Fatalf("captured %+v, %v", f, err)
	}
	w, err := resume(f.Segment(), f.Walked.Torn)
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, w, `{"new":1}`)
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	if got, want := entriesOf(t, w.Segment), x.bodies[0]+x.bodies[1]+"{\"new\":1}\n"; strings.Join(strings.Fields(got), "\n")+"\n" != want {
		t.Errorf("the segment holds %q, want %q", got, want)
	}
}

// TestFailedTogether: a write of several batches that fails leaves none of them.
func TestFailedTogether(t *testing.T) {
	t.Parallel()
	w, f := newFaulty(t)
	batches, _ := frame(`[1]`)
	specs := []BatchSpec{{Size: 4, Count: 1}, {Count: 2}, {Size: 4, Count: 1}}
	batches = append(append(batches, make([]byte, BatchHeaderSize)...), batches...)
	for _, landed := range []int{0, 60, 120, 1 << 20} {
		f.write = landed
		if err := w.CommitAll(batches, specs); !errors.Is(err, ErrNotWritten) || w.Last() != 100 {
			t.Fatalf("%d bytes landed: %v, last %d", landed, err, w.Last())
		}
	}
	f.write = -1
	if err := w.CommitAll(batches, specs); err != nil || w.Last() != 104 {
		t.Fatalf("after it: %v, last %d, want 104", err, w.Last())
	}
	f.sync = errDisk
	if err := w.CommitAll(batches, specs); !errors.Is(err, ErrSync) || w.Last() != 104 {
		t.Fatalf("a failed sync: %v, last %d", err, w.Last())
	}
	if err := w.CommitAll(batches, specs); !errors.Is(err, ErrSync) {
		t.Fatalf("after a failed sync: %v", err)
	}
	w.f.Close()
	if fi, err := os.Stat(w.Path); err != nil || fi.Size() == 0 {
		t.Fatal(err)
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	w, err := Create(t.TempDir(), Header{Store: testStore, First: 1}, noLimit)
	if err != nil {
		t.Fatal(err)
	}
	defer w.f.Close()
	huge := BatchSpec{Count: 1<<32 - 1}
	small := BatchSpec{Size: 4, Count: 1} // 52 bytes
	fit := func(want int, limit int64, specs ...BatchSpec) {
		t.Helper()
		if got := w.Fit(specs, limit); got != want {
			t.Errorf("%d of %v fit below %d, want %d", got, specs, limit, want)
		}
	}
	fit(1, 10, small)
	fit(1, 10, small, small)
	fit(2, 64+2*52, small, small, small)
	fit(2, 1<<20, huge, small, small)
	fit(3, 1<<20, small, small, small)
	mustCommit(t, w, `[1]`)
	fit(0, 64+2*52-1, small)
	fit(1, 64+2*52, small)
	fit(1, 1<<20, huge)
	fit(1, 1<<20, small, huge, small)
}
