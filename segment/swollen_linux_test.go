package segment

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// swell makes a hole at the end of a file that it would take hours to read.
func swell(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 1<<42); err != nil {
		t.Skip("the file system has no such files:", err)
	}
}

// TestSwollen: a segment that has grown beyond the limit of a segment is damaged, its
// entries can still be read, and the size of the file slows down neither.
func TestSwollen(t *testing.T) {
	for name, first := range map[string]uint64{"sealed": 5, "open": 9} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			swell(t, s.seg(first))
			c := capturing(t, s.dirs)
			f, _ := c.Find(first)
			if err := c.Chain(); !f.Oversized() || !errors.Is(err, ErrDamaged) {
				t.Errorf("oversized: %v, the chain: %v", f.Oversized(), err)
			}
			for from := f.First; from <= f.Through; from++ {
				checkRead(t, s, f, from, Witnesses{t.Context(), NewRecords(s.dirs.WAL, 11), nil}, "")
			}
		})
	}
	t.Run("damaged", func(t *testing.T) {
		s := newStore(t)
		s.edit(t, s.seg(9), func(b []byte) []byte { b[len(b)-4] ^= 1; return b })
		swell(t, s.seg(9))
		f, _ := capturing(t, s.dirs).Find(9)
		checkRead(t, s, f, 9, Witnesses{t.Context(), NewRecords(s.dirs.WAL, 11), nil}, "11")
	})
}

// TestFooterBeyond: a footer whose table is where no row can point is damaged.
func TestFooterBeyond(t *testing.T) {
	f := Footer{Table: MaxSize + 1, First: 1, Last: 2, Batches: 1}
	if _, _, err := ParseFooter(f.appendTo(nil), MaxSize+1+RowSize+FooterSize); !errors.Is(err, ErrDamaged) {
		t.Errorf("batches beyond 4 GiB: %v", err)
	}
	f.Table = MaxSize
	if _, ok, err := ParseFooter(f.appendTo(nil), MaxSize+RowSize+FooterSize); !ok || err != nil {
		t.Errorf("batches up to 4 GiB: %v, %v", ok, err)
	}
}

// TestCopyAsideHole: a copy in lost+found has the bytes of the file, including holes, and
// holes do not slow it down.
func TestCopyAsideHole(t *testing.T) {
	data := t.TempDir()
	path := filepath.Join(data, "file")
	if err := os.WriteFile(path, []byte("start"), 0o600); err != nil {
		t.Fatal(err)
	}
	swell(t, path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("middle"), 1<<41); err != nil {
		t.Fatal(err)
	}
	now, err := CopyAside(data, path, 2, 1<<42-2, "test")
	if err != nil {
		t.Fatal(err)
	}
	g, err := os.Open(now)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if fi, err := g.Stat(); err != nil || fi.Size() != 1<<42-2 {
		t.Errorf("the copy: %v, %v", fi.Size(), err)
	}
	for off, want := range map[int64]string{0: "art\x00", 1<<41 - 3: "\x00middle\x00"} {
		b := make([]byte, len(want))
		if _, err := g.ReadAt(b, off); err != nil || !bytes.Equal(b, []byte(want)) {
			t.Errorf("at %d: %q, %v, want %q", off, b, err, want)
		}
	}
}
