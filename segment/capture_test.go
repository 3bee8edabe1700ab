package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// stored is a store that a test has written: two sealed segments of four entries
// and an open one of three, in batches of two and one, and their records.
type stored struct {
	dirs    Dirs
	entries []string
}

func newStore(t testing.TB) *stored {
	t.Helper()
	s := &stored{dirs: Dirs{Data: t.TempDir()}.WithDefaults()}
	if err := MakeDir(s.dirs.Segments()); err != nil {
		t.Fatal(err)
	}
	h := Header{Store: testStore, First: 1}
	var recs []Record
	for _, counts := range [][]int{{2, 2}, {2, 2}, {2, 1}} {
		w, err := Create(s.dirs.Segments(), h, firstFill)
		if err != nil {
			t.Fatal(err)
		}
		for _, count := range counts {
			var batch []string
			for range count {
				batch = append(batch, fmt.Sprintf(`{"n":%d}`, len(s.entries)+len(batch)+1))
			}
			b, n := frame(batch...)
			if err := w.Commit(b, n, testTime); err != nil {
				t.Fatal(err)
			}
			for _, e := range batch {
				rec := recordOf(e)
				rec.Time = testTime.UnixMicro()
				recs = append(recs, rec)
			}
			s.entries = append(s.entries, batch...)
		}
		if h.First, h.Prev = w.Last()+1, w.Sum(); h.First <= 9 {
			err = w.Seal()
		} else {
			err = errors.Join(w.Close(), os.Truncate(w.Path, w.End())) // as a crash leaves it
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	x, _, err := OpenIndex(s.dirs.WAL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(x.Append(recs), x.Close()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stored) seg(first uint64) string { return filepath.Join(s.dirs.Segments(), Name(first)) }

func (s *stored) edit(t testing.TB, path string, fn func(b []byte) []byte) {
	t.Helper()
	writeFile(t, path, fn(readFile(t, path)))
}

func capturing(t testing.TB, dirs Dirs) *Store {
	t.Helper()
	s, err := Capture(dirs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCapture(t *testing.T) {
	t.Parallel()
	for _, capture := range []func(Dirs) (*Store, error){Capture, CaptureLocked} {
		s := newStore(t)
		c, err := capture(Dirs{Data: s.dirs.Data})
		if err != nil {
			t.Fatal(err)
		}
		if c.Dirs != s.dirs || c.Records != 11 || c.IndexErr != nil || c.First() != 1 || c.Head() != 11 || c.Chain() != nil {
			t.Errorf("captured %+v, first %d, head %d, chain %v", c, c.First(), c.Head(), c.Chain())
		}
		var got []string
		for _, f := range c.Files {
			fi, err := os.Stat(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			if f.Size != fi.Size() || !f.Modified.Equal(fi.ModTime()) || f.Header.First != f.First || f.Through != f.Last || f.Sum != f.LastSum || f.Check() != nil || f.Empty() {
				t.Errorf("%+v", f)
			}
			got = append(got, fmt.Sprint(f.First, f.Last, f.Sealed))
			r, err := f.Segment().NewReader(f.Last)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := r.Next(); err != nil || b.Last() != f.Last || b.Offset+BatchHeaderSize+int64(b.Size) != f.End {
				t.Errorf("batch of %d: %+v, %v", f.Last, b, err)
			}
			r.Close()
		}
		if want := []string{"1 4 true", "5 8 true", "9 11 false"}; !slices.Equal(got, want) {
			t.Errorf("segments %v, want %v", got, want)
		}
	}
}

// TestCaptureDamage: how Capture and Chain report damage.
func TestCaptureDamage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, s *stored)
		files string // first, last and through of each
		chain string // in its error
	}{
		{"a segment is missing", func(t *testing.T, s *stored) { os.Remove(s.seg(5)) }, "1-4-4 9-11-11", "begins at index 9, want 5"},
		{"a segment is a directory", func(t *testing.T, s *stored) { os.Remove(s.seg(5)); os.Mkdir(s.seg(5), 0o700) }, "1-4-4 5-4-8 9-11-11", "not a regular file"},
		{"a segment is a link to nowhere", func(t *testing.T, s *stored) { os.Remove(s.seg(5)); os.Symlink("nowhere", s.seg(5)) }, "1-4-4 5-4-8 9-11-11", "no such file"},
		{"a segment is empty", func(t *testing.T, s *stored) { writeFile(t, s.seg(5), nil) }, "1-4-4 5-4-8 9-11-11", "header is 0 bytes"},
		{"a header is damaged", func(t *testing.T, s *stored) {
			s.edit(t, s.seg(5), func(b []byte) []byte { b[40] ^= 1; return b })
		}, "1-4-4 5-8-8 9-11-11", "header checksum"},
		{"another segment's header", func(t *testing.T, s *stored) {
			s.edit(t, s.seg(5), func(b []byte) []byte { return readFile(t, s.seg(1)) })
		}, "1-4-4 5-4-8 9-11-11", "header has first index 1, the name says 5"},
		{"a footer is damaged", func(t *testing.T, s *stored) {
			s.edit(t, s.seg(5), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		}, "1-4-4 5-8-8 9-11-11", ""},
		{"a byte too many before the footer", func(t *testing.T, s *stored) {
			s.edit(t, s.seg(5), func(b []byte) []byte { return append(append(b[:len(b)-64:len(b)-64], 'x'), b[len(b)-64:]...) })
		}, "1-4-4 5-8-8 9-11-11", "footer describes a file"},
		{"a sealed segment is cut short", func(t *testing.T, s *stored) {
			s.edit(t, s.seg(5), func(b []byte) []byte { return b[:HeaderSize+BatchHeaderSize+16] })
		}, "1-4-4 5-6-8 9-11-11", "begins at index 9, want 7"},
		{"the first batch of the open segment is damaged", func(t *testing.T, s *stored) {
			s.edit(t, s.seg(9), func(b []byte) []byte { b[HeaderSize+BatchHeaderSize+3] ^= 1; return b })
		}, "1-4-4 5-8-8 9-11-11", "no torn write"},
		{"the last batch of the open segment is damaged", func(t *testing.T, s *stored) {
			s.edit(t, s.seg(9), func(b []byte) []byte { b[len(b)-3] ^= 1; return b })
		}, "1-4-4 5-8-8 9-10-11", ""}, // a torn write, except that the index knows better
		{"another store's segment", func(t *testing.T, s *stored) {
			h := Header{Store: StoreID{7}, First: 12}
			if _, err := Create(s.dirs.Segments(), h, firstFill); err != nil {
				t.Fatal(err)
			}
		}, "1-4-4 5-8-8 9-11-11 12-11-11", "belongs to store 07"},
		{"another checksum", func(t *testing.T, s *stored) {
			h := Header{Store: testStore, First: 12}
			if _, err := Create(s.dirs.Segments(), h, firstFill); err != nil {
				t.Fatal(err)
			}
		}, "1-4-4 5-8-8 9-11-11 12-11-11", "follows checksum"},
		{"a whole batch of another place at the end", func(t *testing.T, s *stored) {
			s.edit(t, s.seg(9), func(b []byte) []byte {
				h := BatchHeader{Size: 30, First: 20, Count: 1}
				b = append(b, make([]byte, BatchHeaderSize)...)
				h.put(b[len(b)-BatchHeaderSize:])
				return append(b, "not thirty bytes"...)
			})
		}, "1-4-4 5-8-8 9-11-11", "batch body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			tt.spoil(t, s)
			c := capturing(t, s.dirs)
			var files []string
			for _, f := range c.Files {
				files = append(files, fmt.Sprintf("%d-%d-%d", f.First, f.Last, f.Through))
			}
			if got := strings.Join(files, " "); got != tt.files {
				t.Errorf("segments %s, want %s", got, tt.files)
			}
			if c.Head() != 11 || c.First() != 1 {
				t.Errorf("first %d, head %d; want 1, 11", c.First(), c.Head())
			}
			if err := c.Chain(); tt.chain == "" && err != nil || tt.chain != "" && (err == nil || !strings.Contains(err.Error(), tt.chain)) {
				t.Errorf("chain: %v, want %q", err, tt.chain)
			}
		})
	}
}

// TestCaptureResidue: an empty segment whose indices the one before holds is not part of
// the chain.
func TestCaptureResidue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, first := range []uint64{7, 10} {
		w, err := Create(s.dirs.Segments(), Header{Store: testStore, First: first}, firstFill)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	c := capturing(t, s.dirs)
	if len(c.Files) != 3 || len(c.Residues) != 2 || c.Residues[0].First != 7 || c.Residues[1].First != 10 || c.Head() != 11 || c.Chain() != nil || c.Files[2].Through != 11 {
		t.Errorf("captured %+v", c)
	}
}

// TestCaptureIndex: the last record is found in whatever is left of the index.
func TestCaptureIndex(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	record := filepath.Join(s.dirs.WAL, recordFile(1))
	s.edit(t, record, func(b []byte) []byte { return b[:len(b)-5] })
	if c := capturing(t, s.dirs); c.Records != 10 || c.IndexErr != nil {
		t.Errorf("cut short: records through %d, %v", c.Records, c.IndexErr)
	}
	writeFile(t, filepath.Join(s.dirs.WAL, recordFile(999)), []byte("x"))
	if c := capturing(t, s.dirs); c.Records != 10 || !errors.Is(c.IndexErr, ErrDamaged) {
		t.Errorf("with a file too many: records through %d, %v", c.Records, c.IndexErr)
	}
	none := s.dirs
	none.WAL = Memory
	if c := capturing(t, none); c.Records != 0 || c.IndexErr != nil || c.Head() != 11 {
		t.Errorf("without an index: records through %d, %v", c.Records, c.IndexErr)
	}
	os.RemoveAll(s.dirs.Segments())
	if c := capturing(t, s.dirs); c.Head() != 10 || c.First() != 11 || c.Chain() != nil {
		t.Errorf("without segments: first %d, head %d", c.First(), c.Head())
	}
}

func TestStoreFind(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	os.Remove(s.seg(5))
	c := capturing(t, s.dirs)
	for _, tt := range []struct {
		index, first, next uint64
	}{{1, 1, 0}, {4, 1, 0}, {5, 0, 9}, {8, 0, 9}, {9, 9, 0}, {11, 9, 0}, {12, 0, 0}} {
		f, next := c.Find(tt.index)
		if next != tt.next || (f != nil) != (tt.first > 0) || f != nil && f.First != tt.first {
			t.Errorf("%d: %+v, next %d; want %d, %d", tt.index, f, next, tt.first, tt.next)
		}
	}
}

// TestCaptureLive captures a store while a writer appends to it, seals and removes
// segments: it is always one chain that holds everything committed before.
func TestCaptureLive(t *testing.T) {
	t.Parallel()
	dirs := Dirs{Data: t.TempDir(), WAL: Memory}
	if err := MakeDir(dirs.Segments()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	last := uint64(0)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		h := Header{Store: testStore, First: 1}
		var paths []string
		for {
			w, err := Create(dirs.Segments(), h, firstFill)
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				b, n := frame(strings.Repeat("x", 3000), "[]")
				if err := w.Commit(b, n, time.Now()); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				last = w.Last()
				mu.Unlock()
			}
			h.First, h.Prev = w.Last()+1, w.Sum()
			if err := w.Seal(); err != nil {
				t.Error(err)
				return
			}
			if paths = append(paths, w.Path); len(paths) > 2 {
				os.Remove(paths[0])
				paths = paths[1:]
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	defer func() { close(stop); writer.Wait() }()
	for range 200 {
		mu.Lock()
		before := last
		mu.Unlock()
		c := capturing(t, dirs)
		if err := c.Chain(); err != nil || c.Head() < before {
			t.Fatalf("head %d, want at least %d: %v", c.Head(), before, err)
		}
	}
}
