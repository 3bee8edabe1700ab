package segment

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestFileRead damages a segment and reads it with and without records and blobs.
func TestFileRead(t *testing.T) {
	t.Parallel()
	body := func(batch, n int) int { // offset of entry n of a batch of two
		return HeaderSize + batch*(BatchHeaderSize+16) + BatchHeaderSize + 8*n
	}
	for _, tt := range []struct {
		name    string
		first   uint64
		spoil   func(b []byte) []byte
		records string // the entries that cannot be read with records
		none    string // and without
	}{
		{"whole", 5, func(b []byte) []byte { return b }, "", ""},
		{"an entry", 5, func(b []byte) []byte { b[body(0, 0)+2] ^= 1; return b }, "5", "5 6"},
		{"a batch header", 5, func(b []byte) []byte { b[body(1, 0)-3] ^= 1; return b }, "", "7 8"},
		{"the file's header", 5, func(b []byte) []byte { b[40] ^= 1; return b }, "", ""},
		{"two batches swapped", 5, func(b []byte) []byte {
			size := BatchHeaderSize + 16
			return slices.Concat(b[:HeaderSize], b[HeaderSize+size:HeaderSize+2*size], b[HeaderSize:HeaderSize+size], b[HeaderSize+2*size:])
		}, "5 6", "5 6"},
		{"cut in the first batch", 5, func(b []byte) []byte { return b[:body(0, 1)+3] }, "6 7 8", "5 6 7 8"},
		{"zeros", 5, func(b []byte) []byte { clear(b[HeaderSize : body(1, 0)+2]); return b }, "5 6 7", "5 6 7 8"},
		{"the last batch of all", 9, func(b []byte) []byte { b[len(b)-4] ^= 1; return b }, "11", "11"},
		{"nothing left", 9, func(b []byte) []byte { return b[:HeaderSize] }, "9 10 11", "9 10 11"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.edit(t, s.seg(tt.first), tt.spoil)
			c := capturing(t, s.dirs)
			f, _ := c.Find(tt.first)
			for _, blobs := range []string{Memory, t.TempDir()} {
				unread := tt.records
				if blobs != Memory {
					unread = ""
					x, err := OpenBlobs(blobs)
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range s.entries {
						if _, err := x.Put(t.Context(), Sum([]byte(e)), []byte(e)); err != nil {
							t.Fatal(err)
						}
					}
					x.Close()
				}
				for from := f.First; from <= f.Through; from++ {
					checkRead(t, s, f, from, Witnesses{t.Context(), NewRecords(s.dirs.WAL, 11), BlobsIn(blobs)}, unread)
					checkRead(t, s, f, from, Witnesses{t.Context(), NewRecords(Memory, 0), BlobsIn(blobs)}, tt.none)
				}
			}
		})
	}
}

func checkRead(t *testing.T, s *stored, f *File, from uint64, w Witnesses, unread string) {
	t.Helper()
	defer w.Records.Close()
	at := from
	next, why, err := f.Read(from, f.Through, w, func(first uint64, count int, entries []byte, time int64, err error) error {
		if first != at {
			t.Errorf("from %d: run begins at %d, want %d", from, first, at)
		}
		at += uint64(count)
		lines := strings.SplitAfter(string(entries), "\n")
		for i := range uint64(count) {
			if want := slices.Contains(strings.Fields(unread), fmt.Sprint(first+i)); want != (err != nil) {
				t.Errorf("from %d: entry %d: %v", from, first+i, err)
			} else if err != nil && !errors.Is(err, ErrDamaged) {
				t.Errorf("from %d: entry %d: %v, want damage", from, first+i, err)
			} else if err == nil && (lines[i] != s.entries[first+i-1]+"\n" || time != testTime.UnixMicro()) {
				t.Errorf("from %d: entry %d is %q of %d", from, first+i, lines[i], time)
			}
		}
		return nil
	})
	if why != nil || err != nil || next != f.Through+1 || at != next {
		t.Errorf("from %d: next %d, %v, %v", from, next, why, err)
	}
}

// TestFileReadEnds: an error of the function ends the read, and a missing file is left to
// the caller.
func TestFileReadEnds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f, _ := capturing(t, s.dirs).Find(1)
	w := Witnesses{t.Context(), NewRecords(s.dirs.WAL, 11), nil}
	defer w.Records.Close()
	enough := errors.New("enough")
	if _, why, err := f.Read(2, 4, w, func(uint64, int, []byte, int64, error) error { return enough }); why != nil || err != enough {
		t.Errorf("%v, %v", why, err)
	}
	os.Remove(f.Path)
	if next, why, err := f.Read(2, 4, w, nil); next != 2 || !errors.Is(why, os.ErrNotExist) || err != nil {
		t.Errorf("next %d, %v, %v", next, why, err)
	}
}
