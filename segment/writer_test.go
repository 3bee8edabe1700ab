package segment

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var errDisk = errors.New("the disk said no")

// faulty is a file whose next calls fail as its fields say.
type faulty struct {
	file
	write    int      // bytes that a failing write gets onto the disk; -1: writes succeed
	past     int64    // writes before it succeed
	fill     bool     // only writes of zeros fail
	truncate error    // of every Truncate
	sync     error    // of every Datasync
	zeros    int      // writes of zeros so far
	begun    [2]int64 // where writing was begun, and where that ends
}

// noLimit is the limit of a segment that has none.
const noLimit = math.MaxInt64

func (f *faulty) WriteAt(b []byte, off int64) (int, error) {
	if allZero(b) {
		f.zeros++
	}
	if f.write < 0 || f.fill && !allZero(b) || off < f.past {
		return f.file.WriteAt(b, off)
	}
	n, err := f.file.WriteAt(b[:min(f.write, len(b))], off)
	if err == nil {
		err = errDisk
	}
	return n, err
}

func (f *faulty) Truncate(size int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.file.Truncate(size)
}

func (f *faulty) Datasync() error {
	if f.sync != nil {
		return f.sync
	}
	return f.file.Datasync()
}

func (f *faulty) BeginWriting(off, n int64) {
	f.file.BeginWriting(off, n)
	f.begun = [2]int64{off, off + n}
}

// newFaulty makes a segment with one durable batch of one entry, index 100.
func newFaulty(t *testing.T) (*Writer, *faulty) {
	t.Helper()
	w, err := Create(t.TempDir(), Header{Store: testStore, First: 100}, firstFill)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{file: w.f, write: -1}
	w.f = f
	mustCommit(t, w, `{"durable":1}`)
	return w, f
}

func mustCommit(t *testing.T, w *Writer, entries ...string) {
	t.Helper()
	b, n := frame(entries...)
	if err := w.Commit(b, n, testTime); err != nil {
		t.Fatal(err)
	}
}

// entriesOf reads everything that a segment shows to its readers.
func entriesOf(t *testing.T, s *Segment) string {
	t.Helper()
	if s.Last() < s.Header.First {
		return ""
	}
	r, err := s.NewReader(s.Header.First)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all strings.Builder
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.ReplaceAll(all.String(), "\n", " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b.Entries)
	}
}

func TestFailedWriteIsUndone(t *testing.T) {
	t.Parallel()
	for _, landed := range []int{0, 1, BatchHeaderSize, BatchHeaderSize + 5, 1 << 20} {
		w, f := newFaulty(t)
		end, last, sum := w.End(), w.Last(), w.Sum()
		for range 3 { // any number of times
			f.write = landed
			b, n := frame(`{"refused":1}`, `{"refused":2}`)
			err := w.Commit(b, n, testTime)
			if !errors.Is(err, ErrNotWritten) || !errors.Is(err, errDisk) || errors.Is(err, ErrSync) {
				t.Fatalf("%d bytes landed: error is %v, want ErrNotWritten and its cause", landed, err)
			}
			if w.End() != end || w.Last() != last || w.Sum() != sum || entriesOf(t, w.Segment) != `{"durable":1} ` {
				t.Fatalf("%d bytes landed: part of a refused batch is visible", landed)
			}
			if fi, err := os.Stat(w.Path); err != nil || fi.Size() != end {
				t.Fatalf("%d bytes landed: the file was not cut back: %v, %v", landed, fi.Size(), err)
			}
		}
		f.write = -1
		mustCommit(t, w, `{"after":1}`)
		if got, want := entriesOf(t, w.Segment), `{"durable":1} {"after":1} `; got != want {
			t.Errorf("%d bytes landed: entries are %q, want %q", landed, got, want)
		}
		if err := w.Seal(); err != nil {
			t.Error(err)
		}
		if s, err := statOf(w.Path); err != nil || !s.Sealed() || s.Last() != 101 {
			t.Errorf("%d bytes landed: the sealed segment: %v", landed, err)
		}
	}
}

// TestLongWrite: a batch that is written in pieces is refused entirely if one of them fails, and is
// complete otherwise.
func TestLongWrite(t *testing.T) {
	t.Parallel()
	w, f := newFaulty(t)
	end := w.End()
	long := `["` + strings.Repeat("x", 7*writePiece/2) + `"]`
	f.write, f.past = 100, end+2*writePiece
	b, n := frame(long)
	if err := w.Commit(b, n, testTime); !errors.Is(err, ErrNotWritten) {
		t.Fatalf("error is %v, want ErrNotWritten", err)
	}
	if fi, err := os.Stat(w.Path); err != nil || fi.Size() != end {
		t.Fatalf("the file was not cut back: %v, %v", fi.Size(), err)
	}
	f.write = -1
	mustCommit(t, w, long)
	mustCommit(t, w, `{"after":1}`)
	if got, want := entriesOf(t, w.Segment), `{"durable":1} `+long+` {"after":1} `; got != want {
		t.Errorf("%d bytes of entries, want %d", len(got), len(want))
	}
	if want := [2]int64{end + 2*writePiece, end + 3*writePiece}; f.begun != want {
		t.Errorf("the piece before the last that goes to the disk is %d, want %d", f.begun, want)
	}
}

// refused checks that a writer is permanently broken: none of the batch is visible, nothing more is
// written, and the error stays ErrSync.
func refused(t *testing.T, w *Writer, f *faulty, first error) {
	t.Helper()
	if !errors.Is(first, ErrSync) || !errors.Is(first, errDisk) || errors.Is(first, ErrNotWritten) || !strings.Contains(first.Error(), w.Path) {
		t.Fatalf("error is %v, want ErrSync, its cause and the path", first)
	}
	*f = faulty{file: f.file, write: -1} // the disk works again
	before := readFile(t, w.Path)
	b, n := frame(`{"again":1}`)
	if err := w.Commit(b, n, testTime); !errors.Is(err, ErrSync) {
		t.Errorf("the next Commit: %v, want ErrSync", err)
	}
	if got := entriesOf(t, w.Segment); got != `{"durable":1} ` {
		t.Errorf("entries are %q, want the durable one alone", got)
	}
	if err := w.Seal(); !errors.Is(err, ErrSync) {
		t.Errorf("Seal: %v, want ErrSync", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(readFile(t, w.Path), before) {
		t.Error("the file was changed after a failed sync")
	}
}

func TestFailedSyncIsForGood(t *testing.T) {
	t.Parallel()
	w, f := newFaulty(t)
	f.sync = errDisk
	b, n := frame(`{"unknown":1}`)
	refused(t, w, f, w.Commit(b, n, testTime))
	// The next process finds the batch, or does not: here it is on the disk.
	s, err := statOf(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	if scan, err := scanOf(s); err != nil || scan.Last != 101 {
		t.Errorf("scan: %+v, %v, want last 101", scan, err)
	}
}

func TestFailedUndoIsForGood(t *testing.T) {
	t.Parallel()
	w, f := newFaulty(t)
	f.write, f.truncate = 20, errDisk
	b, n := frame(`{"unknown":1}`)
	refused(t, w, f, w.Commit(b, n, testTime))
}

func TestFailedFillIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, landed := range []int{0, fillTo} {
		w, f := newFaulty(t)
		f.write, f.fill = landed, true
		w.filled = w.End() // as if the batches had reached the end of it
		mustCommit(t, w, `{"full":1}`)
		w.Prepare(noLimit)
		if want := max(w.End(), 2*int64(landed)); w.filled != want { // what landed begins with the second page
			t.Errorf("%d zeros landed: filled to %d, want %d", landed, w.filled, want)
		}
		if w.Due(noLimit) {
			t.Errorf("%d zeros landed: more are due on a disk without room", landed)
		}
		if w.Prepare(noLimit); f.zeros != 1 {
			t.Errorf("%d zeros landed: %d writes of them, want no more until a batch has found room", landed, f.zeros)
		}
		f.write = -1
		mustCommit(t, w, `["`+strings.Repeat("x", 3*fillTo)+`"]`)
		if w.Prepare(noLimit); w.filled <= w.End()+fillAhead {
			t.Errorf("%d zeros landed: filled to %d, want it further ahead of %d", landed, w.filled, w.End())
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := statOf(w.Path)
		if err != nil {
			t.Fatal(err)
		}
		if scan, err := scanOf(s); err != nil || scan.Last != 102 || scan.Torn != 0 {
			t.Errorf("scan: %+v, %v, want last 102", scan, err)
		}
	}
}

// TestFailedSeal: whatever Seal leaves, a scan finds every batch, and readers continue as before.
func TestFailedSeal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  func(f *faulty)
	}{
		{"truncate", func(f *faulty) { f.truncate = errDisk }},
		{"nothing of the table written", func(f *faulty) { f.write = 0 }},
		{"half of the footer written", func(f *faulty) { f.write = RowSize + 30 }},
		{"footer written without its checksum", func(f *faulty) { f.write = RowSize + FooterSize - 4 }},
		{"sync", func(f *faulty) { f.sync = errDisk }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, f := newFaulty(t)
			tt.set(f)
			if err := w.Seal(); !errors.Is(err, errDisk) || w.Sealed() {
				t.Fatalf("Seal: %v, sealed %v", err, w.Sealed())
			}
			if got := entriesOf(t, w.Segment); got != `{"durable":1} ` {
				t.Errorf("entries are %q, want the durable one", got)
			}
			s, err := statOf(w.Path)
			if err != nil {
				t.Fatal(err)
			}
			if s.Sealed() {
				return // all of it was written before the sync failed
			}
			scan, err := scanOf(s)
			if err != nil || scan.Last != 100 {
				t.Fatalf("scan: %+v, %v, want last 100", scan, err)
			}
			again, err := Resume(s, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Seal(); err != nil {
				t.Fatal(err)
			}
			if s, err := statOf(w.Path); err != nil || !s.Sealed() || s.Last() != 100 {
				t.Errorf("sealed again: %v", err)
			}
		})
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, NextName), []byte("stray"))
	h := Header{Store: testStore, First: 7, Created: 1, Prev: 2}
	w, err := Create(dir, h, firstFill)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "00000000000000000007.seg" {
		t.Errorf("directory holds %q, want the segment alone", got)
	}
	b := readFile(t, w.Path)
	if got, err := ParseHeader(b); err != nil || got != h || !allZero(b[HeaderSize:]) || int64(len(b)) != firstFill {
		t.Errorf("file has %d bytes, header %+v, %v", len(b), got, err)
	}
	if fi, err := os.Stat(w.Path); err != nil || fi.Mode().Perm() != filePerm {
		t.Errorf("permissions are %v, want %v", fi.Mode(), os.FileMode(filePerm))
	}
	if _, err := Create(dir, h, firstFill); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second one: %v", err)
	}
	if got := readFile(t, w.Path); !bytes.Equal(got, b) || len(names(t, dir)) != 1 {
		t.Error("a refused Create changed the directory")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(readFile(t, w.Path)); got != HeaderSize {
		t.Errorf("closed, an empty segment has %d bytes, want %d", got, HeaderSize)
	}
	if _, err := Create(filepath.Join(dir, "none"), h, firstFill); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	w, err := Create(t.TempDir(), Header{Store: testStore, First: 1}, firstFill)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if !w.Room(1<<30, 1024) {
		t.Error("no room for the first batch")
	}
	mustCommit(t, w, `{}`)
	end := int(w.End())
	if !w.Room(1024-end, 1024) || w.Room(1024-end+1, 1024) {
		t.Error("room is not up to the limit exactly")
	}
}
