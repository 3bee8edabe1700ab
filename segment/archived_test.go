package segment

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestArchivedFile(t *testing.T) {
	dir := t.TempDir()
	if a, err := ReadArchived(dir); err != nil || !reflect.DeepEqual(a, Archived{}) {
		t.Fatalf("without a file: %+v, %v", a, err)
	}
	want := Archived{URL: "file:///mnt/a", Instance: "0123"}
	for _, run := range []Run{{4, 10}, {11, 20}, {15, 30}, {40, 50}} {
		if err := WriteArchived(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadArchived(dir); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("read %+v, %v, want %+v", got, err, want)
		}
		want = want.Add(run[0], run[1])
	}
	if runs := []Run{{4, 30}, {40, 50}}; !reflect.DeepEqual(want.Removed, runs) || want.Through != 50 {
		t.Errorf("the runs are %v through %d, want %v", want.Removed, want.Through, runs)
	}
	for _, tt := range []struct {
		index uint64
		ok    bool
		last  uint64
	}{{1, false, 3}, {4, true, 30}, {30, true, 30}, {31, false, 39}, {45, true, 50}, {51, false, 60}} {
		if ok, last := want.Holds(tt.index, 60); ok != tt.ok || last != tt.last {
			t.Errorf("Holds(%d) is %v through %d, want %v through %d", tt.index, ok, last, tt.ok, tt.last)
		}
	}
	var loose []Run
	if err := want.Loose(2, 60, func(first, last uint64) error { loose = append(loose, Run{first, last}); return nil }); err != nil {
		t.Fatal(err)
	}
	if runs := []Run{{2, 3}, {31, 39}, {51, 60}}; !reflect.DeepEqual(loose, runs) {
		t.Errorf("in blobs are %v, want %v", loose, runs)
	}
}

// TestArchivedFileDamaged: a file with impossible content is refused, so nothing is read by
// it.
func TestArchivedFileDamaged(t *testing.T) {
	for _, text := range []string{
		"", "{", `{"through":0}`, `{"url":"file:///a","through":7}`,
		`{"url":"file:///a","through":7,"removed":[[5,7],[6,7]]}`,
		`{"url":"file:///a","through":7,"removed":[[0,7]]}`,
		`{"url":"file:///a","through":7,"removed":[[8,7]]}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ArchiveName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := ReadArchived(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: read %+v, %v, want ErrDamaged", text, a, err)
		}
	}
}
