package segment

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAppendAfterFailure: after a failed Append the index is closed; Reopen keeps the whole
// records that the failed call has left.
func TestAppendAfterFailure(t *testing.T) {
	t.Parallel()
	for _, landed := range []uint64{0, 1, 5, 7} {
		dir := newIndex(t, 10)
		x := openIndex(t, dir, 0, 10, 0)
		x.log.Close()
		if err := x.Append(testRecords(11, 17)); err == nil || !x.Closed() || x.Last() != 10 {
			t.Fatalf("error is %v, closed %v, last %d, want one, true and 10", err, x.Closed(), x.Last())
		}
		// What a failing write can do: some records are written, and one in part.
		path := filepath.Join(dir, recordFile(1))
		b := readFile(t, path)
		for i := range landed {
			b = testRecord(11+i).appendTo(append(b, RecordSize), 11+i)
		}
		writeFile(t, path, append(b, RecordSize, 1, 2, 3))
		if err := x.Append(testRecords(11, 17)); err == nil {
			t.Fatal("a closed index takes records")
		}
		if trimmed, err := x.Reopen(10); err != nil || trimmed != 4 || x.Last() != 10+landed {
			t.Fatalf("reopened with last %d, %d bytes trimmed, %v, want %d and 4", x.Last(), trimmed, err, 10+landed)
		}
		if err := errors.Join(x.Append(testRecords(x.Last()+1, 30)), x.Close()); err != nil {
			t.Fatal(err)
		}
		checkRecords(t, dir, 1, 30)
	}
}

// TestFilesChangedBeneath: no record is written to a file that is not in its place; Reopen
// continues from what exists, or refuses if that is not enough.
func TestFilesChangedBeneath(t *testing.T) {
	t.Parallel()
	const full = RecordsPerFile
	for _, tt := range []struct {
		name   string
		last   uint64 // existing records
		change func(dir string) error
		left   uint64 // and after the change
		says   string
	}{
		{"empty file removed", 0, func(dir string) error { return os.Remove(filepath.Join(dir, recordFile(1))) }, 0, "no such file"},
		{"empty file after a full one removed", full, func(dir string) error { return os.Remove(filepath.Join(dir, recordFile(full+1))) }, full, "no such file"},
		{"last file removed", full + 3, func(dir string) error { return os.Remove(filepath.Join(dir, recordFile(full+1))) }, full, "no such file"},
		{"last file replaced by a copy", 10, func(dir string) error {
			path := filepath.Join(dir, recordFile(1))
			b, err := os.ReadFile(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path+".new", nil, filePerm), os.WriteFile(path, b, filePerm), os.Remove(path+".new"))
		}, 10, "another file"},
		{"last file cut", 10, func(dir string) error { return os.Truncate(filepath.Join(dir, recordFile(1)), 3*recordStride) }, 3, "has 147 bytes, want 490"},
		{"directory removed", 10, os.RemoveAll, 0, "no such file"},
		{"directory emptied", full + 3, func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, recordFile(1))), os.Remove(filepath.Join(dir, recordFile(full+1))))
		}, 0, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := newIndex(t, tt.last)
			x := openIndex(t, dir, 0, tt.last, 0)
			if err := x.Check(); err != nil {
				t.Fatal(err)
			}
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			if err := x.Append(testRecords(tt.last+1, tt.last+1)); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("append: %v, want an error with %q", err, tt.says)
			}
			if _, err := x.Reopen(tt.left + 1); !errors.Is(err, ErrDamaged) || !x.Closed() {
				t.Errorf("reopened where record %d is needed: %v", tt.left+1, err)
			}
			if _, err := x.Reopen(tt.left); err != nil || x.Last() != tt.left {
				t.Fatalf("reopened with last %d, %v, want %d", x.Last(), err, tt.left)
			}
			if err := x.Append(testRecords(tt.left+1, tt.last+1)); err != nil {
				t.Fatal(err)
			}
			checkRecords(t, dir, 1, tt.last+1)
		})
	}

	// A file before the last is not recreated here.
	dir := newIndex(t, full+3)
	x := openIndex(t, dir, 0, full+3, 0)
	if err := os.Remove(filepath.Join(dir, recordFile(1))); err != nil {
		t.Fatal(err)
	}
	if err := x.Append(testRecords(full+4, full+4)); !errors.Is(err, ErrDamaged) {
		t.Errorf("append without the first file: %v, want damage", err)
	}
	if _, err := x.Reopen(0); !errors.Is(err, ErrDamaged) {
		t.Errorf("reopened without the first file: %v, want damage", err)
	}
}
