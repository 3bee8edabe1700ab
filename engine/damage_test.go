package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/segment"
)

// TestDamagedBatch: an entry of a damaged batch in a sealed segment is served if the
// batch's bytes or a blob match its hash in the index. Only the others are errors.
func TestDamagedBatch(t *testing.T) {
	t.Parallel()
	whole := make(map[int]*storeFiles)
	for _, loose := range []int{0, -1, recoverBatch + 3} {
		whole[loose] = makeStore(t, loose)
	}
	const second = recoverBatch + 1 // index of the second batch's first entry
	body := func(entry int) int {   // offset of an entry of the second batch
		line := len(recoverContents()[0]) + 1
		return segment.HeaderSize + 2*segment.BatchHeaderSize + recoverBatch*line + entry*line
	}
	all := []int{0, 1, 2, 3, 4, 5}
	for _, tt := range []struct {
		name  string
		loose int
		spoil func(s *storeFiles)
		bad   []int // entries of the second batch that are errors
	}{
		{"packed, one entry flipped", 0, func(s *storeFiles) { s.flip(s.seg(0), body(2)+10) }, []int{2}},
		{"packed, two entries flipped", 0, func(s *storeFiles) { s.flip(s.seg(0), body(0)+10); s.flip(s.seg(0), body(5)+3) }, []int{0, 5}},
		{"packed, a newline flipped", 0, func(s *storeFiles) { s.flip(s.seg(0), body(3)-1) }, nil},
		{"packed, header flipped", 0, func(s *storeFiles) { s.flip(s.seg(0), body(0)-4) }, nil},
		{"packed, header's size flipped", 0, func(s *storeFiles) { s.flip(s.seg(0), body(0)-segment.BatchHeaderSize+7) }, nil},
		{"packed, zeros", 0, func(s *storeFiles) {
			s.edit(s.seg(0), func(b []byte) []byte { clear(b[body(1):body(3)]); return b })
		}, []int{1, 2}},
		{"packed, all zeros", 0, func(s *storeFiles) {
			s.edit(s.seg(0), func(b []byte) []byte { clear(b[body(0)-segment.BatchHeaderSize : body(6)]); return b })
		}, all},
		{"loose, one entry flipped", -1, func(s *storeFiles) { s.flip(s.seg(0), body(2)+10) }, nil},
		{"loose, all zeros", -1, func(s *storeFiles) {
			s.edit(s.seg(0), func(b []byte) []byte { clear(b[body(0)-segment.BatchHeaderSize : body(6)]); return b })
		}, nil},
		{"half of them loose, all zeros", second + 2, func(s *storeFiles) {
			s.edit(s.seg(0), func(b []byte) []byte { clear(b[body(0)-segment.BatchHeaderSize : body(6)]); return b })
		}, []int{3, 4, 5}},
		{"no index", 0, func(s *storeFiles) { s.config.WAL = Memory; s.flip(s.seg(0), body(2)+10) }, all},
		{"no index, header flipped", 0, func(s *storeFiles) { s.config.WAL = Memory; s.flip(s.seg(0), body(0)-4) }, all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := whole[tt.loose].copy(t)
			tt.spoil(s)
			l, err := Open(s.config)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			want := recoverContents()
			for from := 1; from <= 3*recoverBatch; from++ {
				for i, got := range readRange(t, l, uint64(from), 4*recoverBatch) {
					index := from + i
					if slices.Contains(tt.bad, index-second) {
						if !strings.HasPrefix(got, "error: ") || !strings.Contains(got, s.seg(0)) {
							t.Fatalf("from %d: entry %d is %.200q, want an error that names the file", from, index, got)
						}
					} else if got != want[index-1] {
						t.Fatalf("from %d: entry %d is %.200q, want %s", from, index, got, want[index-1])
					}
				}
			}
			mustAppend(t, l, "[]")
		})
	}
}

// TestDamageWithoutSegment: entries whose segment is gone and whose blob or
// record is damaged are errors, one by one.
func TestDamageWithoutSegment(t *testing.T) {
	t.Parallel()
	s := makeStore(t, -1)
	s.must(os.Remove(s.seg(0)))
	s.must(os.Remove(s.seg(1)))
	want := recoverContents()
	blob := func(index int) string {
		return filepath.Join(s.config.Data, "blobs", segment.BlobPath(segment.Sum([]byte(want[index-1]))))
	}
	s.must(os.Remove(blob(3)))
	s.flip(blob(7), 5)
	s.must(os.Truncate(blob(8), 0))
	s.flip(s.records(), 49*9+1) // of index 10: a start refuses it, since no segment has the entry
	l, err := Open(s.config)
	if err == nil {
		defer l.Close()
		t.Fatal("a record that only the index has is damaged, and the log was opened")
	}
	s.flip(s.records(), 49*9+1)
	if l, err = Open(s.config); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i, got := range readAll(t, l) {
		switch i + 1 {
		case 3, 7, 8:
			if !strings.HasPrefix(got, "error: ") || !strings.Contains(got, filepath.Base(blob(i+1))) {
				t.Errorf("entry %d is %.200q, want an error that names the blob", i+1, got)
			}
		default:
			if got != want[i] {
				t.Errorf("entry %d is %.200q, want %s", i+1, got, want[i])
			}
		}
	}
}
