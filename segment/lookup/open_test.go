package lookup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/segment"
)

// TestOpenDir opens directories with what a crash, another log or a fault has left.
func TestOpenDir(t *testing.T) {
	h := makeHashes(100).lose(60)
	h[77] = h[5]
	garbage := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, name), []byte("half written")) }
	}
	table := func(of hashes, first, last uint64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { of.write(t, dir, first, last) }
	}
	damage := func(first, last uint64, off int64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, Name(first, last))
			b := readFile(t, path)
			b[off] ^= 1
			writeFile(t, path, b)
		}
	}
	all := []func(t *testing.T, dir string){table(h, 1, 60), table(h, 61, 80), table(h, 81, 90)}
	other := slices.Clone(h)
	other[79] = numbered(5000)
	cases := []struct {
		name    string
		changes []func(t *testing.T, dir string)
		want    string
		dropped int
		why     error // of the first that is dropped
	}{
		{"whole", nil, "1-60 61-80 81-90", 0, nil},
		{"an interrupted Add and Merge", steps(garbage(addName), garbage(mergeName)), "1-60 61-80 81-90", 2, ErrLeftover},
		{"a merge that has not removed its tables", steps(table(h, 61, 90)), "1-60 61-90", 2, ErrLeftover},
		{"a merge that has removed one of its tables", steps(table(h, 61, 90), remove(61, 80)), "1-60 61-90", 1, ErrLeftover},
		{"a merge that has removed the other", steps(table(h, 61, 90), remove(81, 90)), "1-60 61-90", 1, ErrLeftover},
		{"a merge of the first two", steps(table(h, 1, 80)), "1-80 81-90", 2, ErrLeftover},
		{"a damaged merge with its tables", steps(table(h, 61, 90), damage(61, 90, 9)), "1-60 61-80 81-90", 1, segment.ErrDamaged},
		{"no first", steps(remove(1, 60)), "", 2, ErrStale},
		{"no middle", steps(remove(61, 80)), "1-60", 1, ErrStale},
		{"no last", steps(remove(81, 90)), "1-60 61-80", 0, nil},
		{"a damaged header", steps(damage(61, 80, 50)), "1-60", 2, segment.ErrDamaged},
		{"a damaged fence", steps(damage(61, 80, 2*PageSize)), "1-60", 2, segment.ErrDamaged},
		{"a damaged filter", steps(damage(61, 80, 3*PageSize)), "1-60", 2, segment.ErrDamaged},
		{"damage that nothing has read yet", steps(damage(61, 80, PageSize+4000)), "1-60 61-80 81-90", 0, nil},
		{"another version", steps(func(t *testing.T, dir string) {
			path := filepath.Join(dir, Name(61, 80))
			b := readFile(t, path)
			b[8]++
			mend(b)
			writeFile(t, path, b)
		}), "1-60", 2, segment.ErrVersion},
		{"another store", steps(func(t *testing.T, dir string) {
			rows, hash := h.rows(61, 80)
			SortRows(rows)
			if _, err := Write(dir, Header{First: 61, Last: 80, Hash: hash}, rows); err != nil {
				t.Fatal(err)
			}
		}), "1-60", 2, ErrStale},
		{"another history", steps(table(other, 61, 80)), "1-60", 2, ErrStale},
		{"beyond the head", steps(table(append(slices.Clone(h), h...), 91, 101)), "1-60 61-80 81-90", 1, ErrStale},
		{"two tables exchanged", steps(func(t *testing.T, dir string) {
			a, b := filepath.Join(dir, Name(61, 80)), filepath.Join(dir, Name(81, 90))
			x, y := readFile(t, a), readFile(t, b)
			writeFile(t, a, y)
			writeFile(t, b, x)
		}), "1-60", 2, segment.ErrDamaged},
		{"overlapping tables", steps(table(h, 70, 95)), "1-60 61-80 81-90", 1, ErrStale},
		{"an empty file", steps(func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, Name(81, 90)), nil) }), "1-60 61-80", 1, segment.ErrDamaged},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, change := range append(slices.Clone(all), c.changes...) {
				change(t, dir)
			}
			s, dropped := openSet(t, dir, h)
			if len(dropped) != c.dropped || c.dropped > 0 && !errors.Is(dropped[0].Err, c.why) {
				t.Errorf("dropped %v, want %d because of %v", dropped, c.dropped, c.why)
			}
			for _, d := range dropped {
				if !strings.Contains(fmt.Sprint(d.Err), filepath.Base(d.Path)) {
					t.Errorf("error %q does not name %s", d.Err, d.Path)
				}
			}
			if c.name == "damage that nothing has read yet" {
				return // see TestDrop
			}
			wantSet(t, s, h, c.want)
			// Anything that was dropped can be rebuilt.
			if err := s.Fill(context.Background(), h.log()); err != nil {
				t.Fatal(err)
			}
			if s.Through() != 100 {
				t.Errorf("filled through index %d, want 100", s.Through())
			}
			wantSet(t, s, h, ranges(s))
		})
	}
}

func steps(changes ...func(t *testing.T, dir string)) []func(t *testing.T, dir string) {
	return changes
}

func remove(first, last uint64) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, Name(first, last))); err != nil {
			t.Fatal(err)
		}
	}
}

// Files that do not belong to it are left alone.
func TestOpenDirStrangers(t *testing.T) {
	dir := t.TempDir()
	h := makeHashes(10)
	writeFile(t, filepath.Join(dir, "notes.txt"), []byte("x"))
	if err := os.Mkdir(filepath.Join(dir, Name(1, 5)), 0o700); err != nil {
		t.Fatal(err)
	}
	s, dropped := openSet(t, dir, h)
	if len(dropped) > 0 || s.Through() != 0 || len(files(t, dir)) != 2 {
		t.Errorf("dropped %v, and %q are left", dropped, files(t, dir))
	}
}

func TestOpenDirErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	if _, _, err := OpenDir(file, makeHashes(1).log(), nil); err == nil {
		t.Error("a file was opened as a directory")
	}
}
