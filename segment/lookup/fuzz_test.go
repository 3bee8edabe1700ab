package lookup

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"tcp-log-server/segment"
)

// FuzzTable overwrites bytes of a table, and looks everything up. With summed the
// checksums are corrected, so that the table is read: it may then answer anything that a
// table can. Without summed, no answer is wrong.
func FuzzTable(f *testing.F) {
	f.Add(uint16(12), uint32(40), []byte{1}, uint32(0), false)
	f.Add(uint16(12), uint32(48), []byte{255, 255}, uint32(0), true)
	f.Add(uint16(700), uint32(PageSize+16), []byte{0, 0, 0}, uint32(20000), true)
	f.Add(uint16(700), uint32(4*PageSize), []byte{255}, uint32(4100), true)
	f.Fuzz(func(t *testing.T, n uint16, at uint32, patch []byte, size uint32, summed bool) {
		n = 10 + n%1000
		h, keys := smallLog(int(n))
		dir := t.TempDir()
		path := h.write(t, dir, 1, uint64(n))
		whole := readFile(t, path)
		b := slices.Clone(whole)
		if size > 0 && int(size) < len(b) {
			b = b[:size]
		}
		if int(at) < len(b) {
			copy(b[at:], patch)
		}
		if summed && len(b) >= PageSize {
			mend(b)
		}
		writeFile(t, path, b)
		if !summed {
			damaged := neverWrong(t, path, nil, h.byPrefix(1, uint64(n)), keys)
			if err := Check(path, h.log()); (err == nil) != slices.Equal(b, whole) || err == nil && damaged {
				t.Errorf("check: %v", err)
			}
			return
		}
		first := binary.LittleEndian.Uint64(whole[32:])
		if len(b) >= 48 {
			first = binary.LittleEndian.Uint64(b[32:])
		}
		for _, budget := range budgets() {
			table, err := Open(path, testStore, budget)
			if err != nil {
				if !errors.Is(err, segment.ErrDamaged) && !errors.Is(err, segment.ErrVersion) && !errors.Is(err, ErrStale) {
					t.Errorf("open: %v", err)
				}
				continue
			}
			for _, key := range keys {
				found, err := findAll(table, key)
				if err != nil && !errors.Is(err, segment.ErrDamaged) {
					t.Errorf("find: %v", err)
				}
				for _, index := range found {
					if index < first || index > table.Last {
						t.Errorf("found index %d in a table of %d to %d", index, table.First, table.Last)
					}
				}
			}
			table.Close()
		}
		if err := Check(path, h.log()); err == nil && !slices.Equal(b[16:88], whole[16:88]) {
			t.Errorf("check: a table with another header is whole")
		}
		s, _, err := OpenDir(filepath.Dir(path), h.log(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	})
}
