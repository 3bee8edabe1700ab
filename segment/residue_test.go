package segment

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// failingNames is names whose changes fail as many times as the fields say.
type failingNames struct {
	osDirNames
	rename, remove, sync int
	renamed              bool // a failing rename takes effect all the same
}

func fails(n *int) bool {
	*n--
	return *n >= 0
}

func (f *failingNames) Rename(from, to string) error {
	if !fails(&f.rename) {
		return f.osDirNames.Rename(from, to)
	}
	if f.renamed {
		return errors.Join(errDisk, f.osDirNames.Rename(from, to))
	}
	return errDisk
}

func (f *failingNames) Remove(path string) error {
	if strings.HasSuffix(path, Suffix) && fails(&f.remove) {
		return errDisk
	}
	return f.osDirNames.Remove(path)
}

func (f *failingNames) Sync(d *openDir) error {
	if fails(&f.sync) {
		return errDisk
	}
	return f.osDirNames.Sync(d)
}

// TestFailedCreateLeavesNoName makes the naming of a new segment fail in each way. If the
// name may be left, Create says so, until it has been removed for good.
func TestFailedCreateLeavesNoName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		fault   failingNames
		residue int // how often removing it must be retried
	}{
		{"rename", failingNames{rename: 1}, 0},
		{"rename that is done", failingNames{rename: 1, renamed: true}, 0},
		{"rename that is done, and remove", failingNames{rename: 1, renamed: true, remove: 1}, 1},
		{"sync", failingNames{sync: 1}, 0},
		{"sync and remove", failingNames{sync: 1, remove: 1}, 1},
		{"sync and three removes", failingNames{sync: 1, remove: 3}, 3},
		{"sync and the sync of the removal", failingNames{sync: 2}, 1},
		{"sync, remove, and the sync of the removal", failingNames{sync: 2, remove: 1}, 2},
		{"rename and the sync after it", failingNames{rename: 1, sync: 1}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			h := Header{Store: testStore, First: 100}
			_, err := create(&tt.fault, dir, h, firstFill)
			if !errors.Is(err, errDisk) {
				t.Fatalf("error is %v, want the disk's", err)
			}
			var left *ResidueError
			if errors.As(err, &left) != (tt.residue > 0) {
				t.Fatalf("error is %v: a residue is wanted %v", err, tt.residue > 0)
			}
			for n := 1; n <= tt.residue; n++ {
				if err := left.Remove(); (err == nil) != (n == tt.residue) {
					t.Fatalf("removal %d of %d: %v", n, tt.residue, err)
				}
			}
			if got := names(t, dir); len(got) != 0 {
				t.Errorf("left is %v, want nothing", got)
			}
			w, err := create(&tt.fault, dir, h, firstFill)
			if err != nil {
				t.Fatalf("the next try: %v", err)
			}
			w.Close()
		})
	}
}

// TestResidueOfAnother: a file that has taken the name meanwhile is not removed.
func TestResidueOfAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := create(&failingNames{sync: 1, remove: 1}, dir, Header{Store: testStore, First: 100}, firstFill)
	var left *ResidueError
	if !errors.As(err, &left) {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	writeFile(t, other, []byte("other"))
	if err := os.Rename(other, left.Path); err != nil {
		t.Fatal(err)
	}
	if err := left.Remove(); err == nil {
		t.Error("another file was removed")
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left is %v, want the other file", got)
	}
}
