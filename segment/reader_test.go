package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// open returns the segment of x, ready to be read.
func (x *built) open(t *testing.T) *Segment {
	t.Helper()
	s, err := statOf(x.path)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Sealed() {
		if _, err := scanOf(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestReaderFromEveryIndex(t *testing.T) {
	t.Parallel()
	for _, seal := range []bool{false, true} {
		x := build(t, seal, 1, 3, 1, 1, 7, 2)
		s := x.open(t)
		for index := s.Header.First; index <= s.Last(); index++ {
			r, err := s.NewReader(index)
			if err != nil {
				t.Fatal(err)
			}
			at := 0
			for x.firsts[at+1] <= index {
				at++
			}
			for ; at < len(x.bodies); at++ {
				b, err := r.Next()
				if err != nil || b.First != x.firsts[at] || int(b.Offset) != x.starts[at] || string(b.Entries) != x.bodies[at] {
					t.Fatalf("sealed %v, from %d: batch of %d at %d, %v, want %d at %d", seal, index, b.First, b.Offset, err, x.firsts[at], x.starts[at])
				}
			}
			for range 2 {
				if _, err := r.Next(); err != io.EOF {
					t.Fatalf("sealed %v, from %d: error is %v, want io.EOF", seal, index, err)
				}
			}
			r.Close()
		}
	}
}

// TestReaderPastDamage breaks one batch of five and reads from every index: the others
// are served, and the damage names the broken one's indices.
func TestReaderPastDamage(t *testing.T) {
	t.Parallel()
	spoils := map[string]func(b []byte){
		"header": func(b []byte) { b[10] ^= 1 },
		"size":   func(b []byte) { b[6] ^= 1 },
		"body":   func(b []byte) { b[50] ^= 1 },
		"zeros":  func(b []byte) { clear(b) },
		"other":  func(b []byte) { h, _ := ParseBatchHeader(b); h.First += 1000; h.put(b) },
	}
	for name, spoil := range spoils {
		for bad := range 5 {
			x := build(t, true, 2, 1, 3, 1, 2)
			b := bytes.Clone(x.bytes)
			spoil(b[x.starts[bad]:x.starts[bad+1]])
			x.store(t, b)
			s := x.open(t)
			for from := range 5 {
				t.Run(fmt.Sprintf("%s of batch %d from %d", name, bad, from), func(t *testing.T) {
					readPast(t, x, s, from, bad)
				})
			}
		}
	}
}

func readPast(t *testing.T, x *built, s *Segment, from, bad int) {
	r, err := s.NewReader(x.firsts[from+1] - 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for at := from; at < len(x.bodies); at++ {
		b, err := r.Next()
		if at != bad {
			if err != nil || string(b.Entries) != x.bodies[at] {
				t.Fatalf("batch %d: %q, %v", at, b.Entries, err)
			}
			continue
		}
		var d *DamageError
		if !errors.As(err, &d) || d.First != x.firsts[at] || d.Last != x.firsts[at+1]-1 || int(d.Offset) != x.starts[at] || d.Path != x.path {
			t.Fatalf("batch %d: error is %+v, want damage of %d to %d at %d", at, err, x.firsts[at], x.firsts[at+1]-1, x.starts[at])
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// TestReaderWithDamagedTable flips every bit of a table, and puts garbage in its place:
// the batches are intact, so every entry is still served.
func TestReaderWithDamagedTable(t *testing.T) {
	t.Parallel()
	x := build(t, true, 2, 1, 3, 1, 2)
	table := x.starts[5]
	spoils := []func(b []byte){
		func(b []byte) { clear(b) },
		func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, len(b))) },
		func(b []byte) { copy(b, b[RowSize:]) },
		func(b []byte) { copy(b[RowSize:], bytes.Clone(b)) },
	}
	for bit := range 8 * 5 * RowSize {
		spoils = append(spoils, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) })
	}
	for i, spoil := range spoils {
		b := bytes.Clone(x.bytes)
		spoil(b[table : table+5*RowSize])
		x.store(t, b)
		for index := x.header.First; index < x.firsts[5]; index++ {
			s := x.open(t)
			r, err := s.NewReader(index)
			if err != nil {
				t.Fatalf("spoilt %d, from %d: %v", i, index, err)
			}
			next, first := uint64(0), uint64(0)
			for {
				b, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("spoilt %d, from %d: %v", i, index, err)
				}
				if first == 0 {
					first, next = b.First, b.First
				}
				if b.First != next {
					t.Fatalf("spoilt %d, from %d: batch of %d, want %d", i, index, b.First, next)
				}
				next = b.Last() + 1
			}
			if first > index || next != x.firsts[5] {
				t.Fatalf("spoilt %d, from %d: read %d to %d, want through %d", i, index, first, next-1, x.firsts[5]-1)
			}
			r.Close()
		}
	}
}

// TestReaderWithDamagedTableAndBatch: entries before the damage are served, those after
// it are reported as damaged, and no entry is served in place of another.
func TestReaderWithDamagedTableAndBatch(t *testing.T) {
	t.Parallel()
	x := build(t, true, 2, 1, 3, 1, 2)
	b := bytes.Clone(x.bytes)
	b[x.starts[2]+60] ^= 1
	clear(b[x.starts[5]:][:5*RowSize])
	x.store(t, b)
	s := x.open(t)
	for index := x.header.First; index <= s.Last(); index++ {
		r, err := s.NewReader(index)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Next()
		var d *DamageError
		switch {
		case index < x.firsts[2]:
			if err != nil || got.First > index || got.Last() < index {
				t.Errorf("index %d: batch of %d, %v", index, got.First, err)
			}
		case !errors.As(err, &d) || d.First > index || d.Last < index:
			t.Errorf("index %d: error is %v, want damage that covers it", index, err)
		}
		r.Close()
	}
}

// TestLostBatch: a batch that fsck has written in place of permanently lost entries keeps
// their indices.
func TestLostBatch(t *testing.T) {
	t.Parallel()
	x := build(t, false, 2, 3, 1)
	b := bytes.Clone(x.bytes[:x.starts[1]])
	sum := binary.LittleEndian.Uint32(b[x.starts[0]+44:])
	for _, h := range []BatchHeader{
		{First: 102, Count: 3, Synced: uint64(len(b)), Time: 1},
		{First: 105, Count: 1, Synced: uint64(len(b)), Time: 2, Size: 3, Body: Checksum([]byte("[]\n"))},
	} {
		h.Prev = sum
		b = append(b, make([]byte, BatchHeaderSize)...)
		h.put(b[len(b)-BatchHeaderSize:])
		sum = h.Sum
	}
	b = append(b, "[]\n"...)
	x.store(t, b)
	s := x.open(t)
	if s.Last() != 105 {
		t.Fatalf("last is %d, want 105", s.Last())
	}
	for _, index := range []uint64{102, 104} {
		r, err := s.NewReader(index)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Next()
		if err != nil || !got.Lost() || got.First != 102 || got.Last() != 104 || len(got.Entries) != 0 {
			t.Errorf("lost batch: %+v, %v", got, err)
		}
		if got, err = r.Next(); err != nil || string(got.Entries) != "[]\n" || got.First != 105 {
			t.Errorf("behind it: %+v, %v", got, err)
		}
		r.Close()
	}
}

// unsynced is a file that is never synced.
type unsynced struct{ file }

func (unsynced) Datasync() error { return nil }

// TestReaderFollowsWriter reads on one goroutine what another one commits, and seals,
// without ever seeing damage or an end too late.
func TestReaderFollowsWriter(t *testing.T) {
	t.Parallel()
	w, err := Create(t.TempDir(), Header{Store: testStore, First: 1}, firstFill)
	if err != nil {
		t.Fatal(err)
	}
	w.f = unsynced{w.f} // the race is about memory
	const n = 20000
	mustCommit(t, w, `{"n":1}`)
	done := make(chan error, 1)
	go func() {
		for i := 2; i <= n; i++ {
			b, c := frame(fmt.Sprintf(`{"n":%d}`, i))
			if err := w.Commit(b, c, testTime); err != nil {
				done <- err
				return
			}
		}
		done <- w.Seal()
	}()
	r, err := w.NewReader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for next := uint64(1); next <= n; {
		b, err := r.Next()
		if err == io.EOF {
			continue
		}
		if err != nil || string(b.Entries) != fmt.Sprintf("{\"n\":%d}\n", next) {
			t.Fatalf("batch of index %d: %q, %v", next, b.Entries, err)
		}
		next++
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestLargeBatches crosses the reader's window in every way.
func TestLargeBatches(t *testing.T) {
	t.Parallel()
	w, err := Create(t.TempDir(), Header{Store: testStore, First: 1}, firstFill)
	if err != nil {
		t.Fatal(err)
	}
	sizes := []int{1, readAhead - BatchHeaderSize - HeaderSize - 3, readAhead, 3 * readAhead, 1, readAhead - 1, 17, readAhead + 1}
	for _, size := range sizes {
		mustCommit(t, w, `"`+strings.Repeat("x", size)+`"`)
	}
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	for from := range sizes {
		r, err := w.NewReader(uint64(from + 1))
		if err != nil {
			t.Fatal(err)
		}
		for i, size := range sizes[from:] {
			b, err := r.Next()
			if err != nil || len(b.Entries) != size+3 {
				t.Fatalf("from %d, batch %d: %d bytes, %v, want %d", from, from+i, len(b.Entries), err, size+3)
			}
		}
		r.Close()
	}
}

func TestReaderOfRemovedSegment(t *testing.T) {
	t.Parallel()
	x := build(t, true, 1)
	s := x.open(t)
	r, err := s.NewReader(100)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Remove(x.path); err != nil {
		t.Fatal(err)
	}
	if b, err := r.Next(); err != nil || string(b.Entries) != x.bodies[0] {
		t.Errorf("a reader that was open: %q, %v", b.Entries, err)
	}
	if _, err := s.NewReader(100); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a new reader: %v", err)
	}
}

// TestReadEndShrinking reads the end of a segment while its file loses its preallocated
// space, as it does when it is sealed.
func TestReadEndShrinking(t *testing.T) {
	t.Parallel()
	x := build(t, false, 1, 3)
	end := int64(len(readFile(t, x.path)))
	f, err := os.Open(x.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [FooterSize]byte
	rounds := 5_000
	if testing.Short() {
		rounds = 1_000
	}
	for range rounds {
		if err := os.Truncate(x.path, end+fillLong); err != nil {
			t.Fatal(err)
		}
		cut := make(chan error, 1)
		go func() { cut <- os.Truncate(x.path, end) }()
		for done := false; !done; {
			if size, err := readEnd(f, b[:]); err != nil || size < end {
				t.Fatalf("the file has %d bytes, %v, want %d at least", size, err, end)
			}
			select {
			case err := <-cut:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
			}
		}
	}
}
