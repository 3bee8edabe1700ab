package segment

import (
	"errors"
	"path/filepath"
	"testing"
)

// TestRecords reads records forwards, backwards and in jumps, past damage.
func TestRecords(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.edit(t, filepath.Join(s.dirs.WAL, recordFile(1)), func(b []byte) []byte { b[recordStride*4+9] ^= 1; return b })
	r := NewRecords(s.dirs.WAL, 8)
	defer r.Close()
	for _, index := range []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6, 5, 4, 1, 5, 8, 2} {
		rec, err := r.At(index)
		switch {
		case index == 5:
			var d *DamageError
			if !errors.As(err, &d) || d.First != 5 {
				t.Errorf("record 5: %v, want damage", err)
			}
		case index == 9:
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("record 9: %v, want ErrNotFound", err)
			}
		case err != nil || rec.Hash != Sum([]byte(s.entries[index-1])):
			t.Errorf("record %d: %+v, %v", index, rec, err)
		}
	}
	if r.Extend(11); r.Through() != 11 {
		t.Errorf("records go through %d, want 11", r.Through())
	}
	if rec, err := r.At(11); err != nil || rec.Hash != Sum([]byte(s.entries[10])) {
		t.Errorf("record 11: %+v, %v", rec, err)
	}
	for _, dir := range []string{Memory, t.TempDir()} {
		r := NewRecords(dir, 5)
		if _, err := r.At(3); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", dir, err)
		}
		r.Close()
	}
}
