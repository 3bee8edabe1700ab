package lookup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"tcp-log-server/segment"
)

// TestFindDuringMerge looks up hashes while tables are added, merged and dropped: a lookup
// finds everything that was in the tables before it began.
func TestFindDuringMerge(t *testing.T) {
	const n, tables = 15_000, 30
	h := makeHashes(n)
	dir := t.TempDir()
	s, _ := openSet(t, dir, h)
	var done atomic.Bool
	var lookups sync.WaitGroup
	for g := range 4 {
		lookups.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 4))
			for !done.Load() {
				through := s.Through()
				if through == 0 {
					continue
				}
				i := r.Uint64N(through)
				if got, err := findAll(s, h[i]); err != nil || !slices.Equal(got, []uint64{i + 1}) {
					t.Errorf("found %d, %v of index %d, in tables through %d", got, err, i+1, through)
					return
				}
				if got, err := findAll(s, numbered(n+int(i))); err != nil || got != nil {
					t.Errorf("found an absent hash at %d, %v", got, err)
					return
				}
			}
		})
	}
	var merges sync.WaitGroup
	next := make(chan struct{}, tables)
	merges.Go(func() {
		for range next {
			if err := s.Merge(context.Background()); err != nil {
				t.Errorf("merge: %v", err)
			}
		}
	})
	for last := uint64(n / tables); last <= n; last += n / tables {
		h.add(t, s, last)
		next <- struct{}{}
	}
	close(next)
	merges.Wait()
	done.Store(true)
	lookups.Wait()
	merge(t, s)
	wantSet(t, s, h, ranges(s))
	open := 0
	for _, table := range s.view.tables {
		open += table.views
	}
	if open != len(s.view.tables) {
		t.Errorf("while no lookup runs, %d views use %d tables", open, len(s.view.tables))
	}
}

// A table stays usable for a lookup that began before it was merged, dropped or closed.
func TestFindAcrossChanges(t *testing.T) {
	h := hashes{withPrefix(1, 0), withPrefix(2, 0), withPrefix(1, 1), withPrefix(1, 2), withPrefix(1, 3), withPrefix(1, 4)}
	changes := map[string]func(s *Set) error{
		"merge": func(s *Set) error { return s.Merge(context.Background()) },
		"drop":  func(s *Set) error { return s.Drop(s.view.tables[0]) },
		"close": func(s *Set) error { return s.Close() },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			s, err := func() (*Set, error) {
				s, _, err := OpenDir(t.TempDir(), h.log(), nil)
				return s, err
			}()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for _, last := range []uint64{2, 4, 6} {
				h.add(t, s, last)
			}
			old := s.view.tables
			var found []uint64
			err = s.Find(h[0], func(index uint64) (bool, error) {
				if found = append(found, index); index == 3 {
					return false, change(s)
				}
				return false, nil
			})
			if err != nil || !slices.Equal(found, []uint64{1, 3, 4, 5, 6}) {
				t.Errorf("found %d, %v, want all", found, err)
			}
			for _, table := range old {
				if _, err := table.f.Stat(); err == nil {
					t.Errorf("%s is still open after the lookup", table.Path)
				}
			}
		})
	}
}

// A merge that cannot write leaves everything as it was, and no file.
func TestMergeFails(t *testing.T) {
	h := makeHashes(20)
	dir := t.TempDir()
	s, _ := openSet(t, dir, h)
	h.add(t, s, 10)
	h.add(t, s, 20)
	tmp := filepath.Join(dir, mergeName)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Merge(context.Background()); err == nil {
		t.Error("merged into a directory")
	}
	if err := os.Remove(tmp); err != nil {
		t.Fatal(err)
	}
	wantSet(t, s, h, "1-10 11-20")
	merge(t, s)
	wantSet(t, s, h, "1-20")
}

// A merge writes the same bytes as Write does for the same rows.
func TestMergedBytes(t *testing.T) {
	h := makeHashes(5000).lose(1, 2000, 2001, 5000)
	dir := t.TempDir()
	s, _ := openSet(t, dir, h)
	for _, last := range []uint64{1, 2000, 5000} {
		h.add(t, s, last)
	}
	merge(t, s)
	got := readFile(t, filepath.Join(dir, Name(1, 5000)))
	if want := readFile(t, h.write(t, t.TempDir(), 1, 5000)); !slices.Equal(got, want) {
		t.Errorf("the merged table of %d bytes differs from the written one of %d", len(got), len(want))
	}
}

// If a hash is not available, no table says that the entry is lost, and none is removed.
func TestUnknownHash(t *testing.T) {
	h := makeHashes(100)
	failed := errors.New("failed")
	log := h.log()
	log.Hash = func(index uint64) (segment.Hash, bool, error) {
		if index == 50 {
			return segment.Hash{}, false, failed
		}
		return h.hash(index)
	}
	dir := t.TempDir()
	s, _ := openSet(t, dir, h)
	h.add(t, s, 30)
	if err := s.Fill(context.Background(), log); !errors.Is(err, failed) {
		t.Errorf("fill: %v, want the error of the log", err)
	}
	wantSet(t, s, h, "1-30")
	h.add(t, s, 50)
	s.Close()
	if _, _, err := OpenDir(dir, log, nil); !errors.Is(err, failed) {
		t.Errorf("open: %v, want the error of the log", err)
	}
	if err := Check(filepath.Join(dir, Name(31, 50)), log); !errors.Is(err, failed) {
		t.Errorf("check: %v, want the error of the log", err)
	}
	s, _ = openSet(t, dir, h)
	wantSet(t, s, h, "1-30 31-50")
}

func TestFill(t *testing.T) {
	for _, n := range []int{0, 1, TableRows, TableRows + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := makeHashes(n)
			s, _ := openSet(t, t.TempDir(), h)
			for range 2 {
				if err := s.Fill(context.Background(), h.log()); err != nil {
					t.Fatal(err)
				}
			}
			if s.Through() != uint64(n) {
				t.Errorf("filled through index %d, want %d", s.Through(), n)
			}
			wantSet(t, s, h, ranges(s))
		})
	}
}
