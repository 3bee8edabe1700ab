package segment

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
)

// sick is a file with one unreadable byte. As on a disk, a read ends before that byte,
// and the next one fails.
type sick struct {
	b   string
	bad int64
}

func (s sick) ReadAt(p []byte, off int64) (int, error) {
	n, err := strings.NewReader(s.b).ReadAt(p, off)
	if s.bad >= off && s.bad < off+int64(n) {
		return int(s.bad - off), syscall.EIO
	}
	return n, err
}

// TestReaderPastUnreadable makes one byte of one batch unreadable and reads from every
// index: that batch is damaged, and the others are served, even those that one read would
// have fetched along with it.
func TestReaderPastUnreadable(t *testing.T) {
	t.Parallel()
	x := build(t, true, 2, 1, 3, 1, 2)
	s := x.open(t)
	for bad := range 5 {
		for _, off := range []int{x.starts[bad], x.starts[bad] + BatchHeaderSize, x.starts[bad+1] - 1} {
			for from := range 5 {
				t.Run(fmt.Sprintf("byte %d of batch %d from %d", off-x.starts[bad], bad, from), func(t *testing.T) {
					whole, err := s.NewReader(x.firsts[from])
					if err != nil {
						t.Fatal(err)
					}
					defer whole.Close()
					r := &Reader{seg: s, f: whole.f, w: window{r: sick{string(x.bytes), int64(off)}}, from: x.firsts[from]}
					if err := r.seek(x.firsts[from]); err != nil {
						t.Fatal(err)
					}
					for at := from; at < 5; at++ {
						b, err := r.Next()
						var d *DamageError
						switch {
						case at != bad && (err != nil || string(b.Entries) != x.bodies[at]):
							t.Fatalf("batch %d: %q, %v, want %q", at, b.Entries, err, x.bodies[at])
						case at == bad && (!errors.As(err, &d) || !errors.Is(err, syscall.EIO) || d.First != x.firsts[at] || d.Last != x.firsts[at+1]-1):
							t.Fatalf("batch %d: error is %v, want an unreadable batch of %d to %d", at, err, x.firsts[at], x.firsts[at+1]-1)
						}
					}
					if _, err := r.Next(); err != io.EOF {
						t.Errorf("at the end: error is %v, want io.EOF", err)
					}
				})
			}
		}
	}
}

// TestScanUnreadable: recovery does not mistake unreadable bytes for an end.
func TestScanUnreadable(t *testing.T) {
	t.Parallel()
	x := build(t, false, 2, 1, 3)
	for off := range len(x.bytes) {
		if _, err := ScanBatches(sick{string(x.bytes), int64(off)}, "x", int64(len(x.bytes)), nil); !errors.Is(err, syscall.EIO) {
			t.Errorf("byte %d unreadable: error is %v, want EIO", off, err)
		}
	}
}

// TestWindowUnreadable: a read for one batch also fetches the bytes after it, and does
// not fail if they are unreadable.
func TestWindowUnreadable(t *testing.T) {
	t.Parallel()
	w := window{r: sick{strings.Repeat("x", 100), 50}, size: 100}
	for _, tt := range []struct {
		off int64
		n   int
		ok  bool
	}{{0, 10, true}, {0, 50, true}, {40, 11, false}, {45, 5, true}, {50, 1, false}, {51, 49, true}} {
		b, err := w.at(tt.off, tt.n)
		if tt.ok && (err != nil || len(b) != tt.n) || !tt.ok && !errors.Is(err, syscall.EIO) {
			t.Errorf("%d bytes at %d: got %d, %v, want them: %v", tt.n, tt.off, len(b), err, tt.ok)
		}
	}
}
