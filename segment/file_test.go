package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCaptureFile is the table of what a sealed segment's file may look like.
func TestCaptureFile(t *testing.T) {
	t.Parallel()
	footer := func(change func(f *Footer)) func(*built, []byte) []byte {
		return func(_ *built, b []byte) []byte {
			f, _, err := ParseFooter(b[len(b)-FooterSize:], int64(len(b)))
			if err != nil {
				panic(err)
			}
			change(&f)
			return f.appendTo(b[:len(b)-FooterSize])
		}
	}
	tests := []struct {
		name   string
		spoil  func(x *built, b []byte) []byte
		sealed bool
		whole  int // batches that a scan finds if it is not sealed
		is     error
		says   string
	}{
		{"whole", func(_ *built, b []byte) []byte { return b }, true, 3, nil, ""},
		{"footer magic gone", func(_ *built, b []byte) []byte { b[len(b)-64] ^= 1; return b }, false, 3, nil, ""},
		{"footer checksum wrong", func(_ *built, b []byte) []byte { b[len(b)-30] ^= 1; return b }, false, 3, nil, ""},
		{"footer half written", func(_ *built, b []byte) []byte { clear(b[len(b)-32:]); return b }, false, 3, nil, ""},
		{"footer cut", func(_ *built, b []byte) []byte { return b[:len(b)-1] }, false, 3, nil, ""},
		{"table cut", func(_ *built, b []byte) []byte { return b[:len(b)-FooterSize-1] }, false, 3, nil, ""},
		{"cut between two batches", func(x *built, b []byte) []byte { return b[:x.starts[2]] }, false, 2, nil, ""},
		{"cut in a batch", func(x *built, b []byte) []byte { return b[:x.starts[2]-1] }, false, 1, nil, ""},
		{"cut to less than a footer", func(x *built, b []byte) []byte { return b[:HeaderSize+FooterSize-1] }, false, 0, nil, ""},
		{"zeros behind", func(_ *built, b []byte) []byte { return append(b, make([]byte, 4096)...) }, false, 3, nil, ""},
		{"piece missing before the footer", func(x *built, b []byte) []byte {
			return append(b[:x.starts[1]], bytes.Clone(b[len(b)-FooterSize:])...)
		}, false, 0, ErrDamaged, "footer describes a file of"},
		{"another segment's footer", footer(func(f *Footer) { f.First-- }), false, 0, ErrDamaged, "footer has first index 99, the header 100"},
		{"empty file", func(*built, []byte) []byte { return nil }, false, 0, ErrDamaged, "header is 0 bytes"},
		{"header cut", func(_ *built, b []byte) []byte { return b[:63] }, false, 0, ErrDamaged, "header is 63 bytes"},
		{"header damaged", func(_ *built, b []byte) []byte { b[20] ^= 1; return b }, false, 0, ErrDamaged, "header checksum"},
		{"later version", func(_ *built, b []byte) []byte { b[8]++; resum(b[:HeaderSize]); return b }, false, 0, ErrVersion, "format is 2"},
		{"another index in the header", func(x *built, b []byte) []byte {
			h := x.header
			h.First = 7
			copy(b, h.appendTo(nil))
			return b
		}, false, 0, ErrDamaged, "header has first index 7, the name says 100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := build(t, true, 2, 1, 3)
			x.store(t, tt.spoil(x, bytes.Clone(x.bytes)))
			s, err := statOf(x.path)
			if tt.is != nil {
				if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), x.path) {
					t.Fatalf("error is %v, want %v with %q and the path", err, tt.is, tt.says)
				}
				if tt.is != ErrDamaged && errors.Is(err, ErrDamaged) {
					t.Errorf("%v is called damaged", err)
				}
				return
			}
			if err != nil || s.Sealed() != tt.sealed {
				t.Fatalf("%v, sealed %v, want %v", err, err == nil && s.Sealed(), tt.sealed)
			}
			if !tt.sealed {
				scan, err := scanOf(s)
				if err != nil {
					t.Fatal(err)
				}
				if len(scan.Rows) != tt.whole {
					t.Fatalf("%d batches are whole, want %d", len(scan.Rows), tt.whole)
				}
				if tt.whole == 0 {
					return
				}
				w, err := resume(s, scan.Torn)
				if err != nil {
					t.Fatal(err)
				}
				if err := w.Seal(); err != nil {
					t.Fatal(err)
				}
				if s, err = statOf(x.path); err != nil || !s.Sealed() {
					t.Fatalf("sealed again: %v", err)
				}
			}
			if s.Last() != x.firsts[tt.whole]-1 || int(s.End()) != x.starts[tt.whole] {
				t.Errorf("last is %d, end %d, want %d, %d", s.Last(), s.End(), x.firsts[tt.whole]-1, x.starts[tt.whole])
			}
			if tt.whole == 3 && !bytes.Equal(readFile(t, x.path), x.bytes) {
				t.Error("sealing again does not give the same bytes")
			}
		})
	}
}

func TestCaptureFileOfWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), Name(1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := statOf(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := statOf(filepath.Join(dir, "gone.seg")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestFooterSum: the footer's checksum of the last batch is the one that the next
// segment's header must have.
func TestFooterSum(t *testing.T) {
	t.Parallel()
	x := build(t, true, 2, 2)
	s, err := statOf(x.path)
	if err != nil {
		t.Fatal(err)
	}
	if want := binary.LittleEndian.Uint32(x.bytes[x.starts[1]+44:]); s.Sum() != want {
		t.Errorf("sum is %08x, want %08x", s.Sum(), want)
	}
}
