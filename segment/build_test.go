package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// built is a segment that a test has written, and what the test knows about it.
type built struct {
	path   string
	header Header
	bytes  []byte // the file without the zeros after its last batch
	starts []int  // where each batch begins, and where the last one ends
	firsts []uint64
	bodies []string
}

// frame encodes entries as Commit wants them.
func frame(entries ...string) ([]byte, int) {
	b := make([]byte, BatchHeaderSize)
	for _, e := range entries {
		b = append(append(b, e...), '\n')
	}
	return b, len(entries)
}

var testTime = time.UnixMicro(1750000000000000)

// build writes a segment of batches with the given numbers of entries.
func build(t testing.TB, seal bool, counts ...int) *built {
	t.Helper()
	h := Header{Store: testStore, First: 100, Created: 1, Prev: 5}
	w, err := Create(t.TempDir(), h, firstFill)
	if err != nil {
		t.Fatal(err)
	}
	x := &built{path: w.Path, header: h, starts: []int{HeaderSize}, firsts: []uint64{h.First}}
	for i, count := range counts {
		var entries []string
		for n := range count {
			entries = append(entries, fmt.Sprintf(`{"batch":%d,"n":%d}`, i, n))
		}
		b, _ := frame(entries...)
		if err := w.Commit(b, count, testTime.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
		x.starts = append(x.starts, int(w.End()))
		x.firsts = append(x.firsts, w.Last()+1)
		x.bodies = append(x.bodies, string(b[BatchHeaderSize:]))
	}
	if seal {
		err = w.Seal()
	} else {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	x.bytes = readFile(t, x.path)
	if !seal {
		// Most tests are about a log that was not closed.
		x.bytes = x.bytes[:w.End()]
		x.store(t, x.bytes)
	}
	return x
}

// store puts bytes in place of the segment's file.
func (x *built) store(t testing.TB, b []byte) { writeFile(t, x.path, b) }

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, filePerm); err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, filepath.Base(e.Name()))
	}
	return names
}

// statOf returns the segment in the file at path, as Capture finds it. An error is about
// its header or its footer.
func statOf(path string) (*Segment, error) {
	first, ok := ParseName(filepath.Base(path))
	if !ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		h, err := ParseHeader(b)
		if err != nil {
			return nil, err
		}
		first = h.First
	}
	f, err := captureFile(path, first, false)
	if err != nil {
		return nil, err
	}
	d, _ := errors.AsType[*DamageError](f.Damage)
	switch {
	case f.Err != nil, f.HeaderErr != nil, d != nil && d.Offset == f.Size-FooterSize:
		return nil, f.Check()
	}
	return f.Segment(), nil
}

// scanOf returns the result of a scan of the whole file.
func scanOf(s *Segment) (Scan, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return Scan{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return Scan{}, err
	}
	return ScanBatches(f, s.Path, fi.Size(), nil)
}
