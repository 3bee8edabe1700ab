package lookup

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/segment"
)

func openSet(t testing.TB, dir string, h hashes) (*Set, []Dropped) {
	t.Helper()
	s, dropped, err := OpenDir(dir, h.log(), NewBudget(testBudget))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dropped
}

// add adds the table of the indices through last.
func (h hashes) add(t testing.TB, s *Set, last uint64) {
	t.Helper()
	first := s.Through() + 1
	rows, hash := h.rows(first, last)
	if err := s.Add(first, last, hash, rows); err != nil {
		t.Fatal(err)
	}
}

func merge(t testing.TB, s *Set) {
	t.Helper()
	if err := s.Merge(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// ranges returns the indices of the tables, as in "1-10 11-20".
func ranges(s *Set) string {
	var b strings.Builder
	for _, h := range s.Tables() {
		fmt.Fprintf(&b, " %d-%d", h.First, h.Last)
	}
	return strings.TrimSpace(b.String())
}

// files returns the names in dir.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// wantSet fails the test unless the Set has these tables, the directory has only their
// files, and lookups are right.
func wantSet(t testing.TB, s *Set, h hashes, want string) {
	t.Helper()
	if got := ranges(s); got != want {
		t.Fatalf("tables are of indices %q, want %q", got, want)
	}
	var names []string
	for _, of := range s.Tables() {
		names = append(names, Name(of.First, of.Last))
		if err := Check(filepath.Join(s.dir, Name(of.First, of.Last)), h.log()); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(t, s.dir); !slices.Equal(got, names) {
		t.Fatalf("the directory has %q, want %q", got, names)
	}
	indices := h.byPrefix(1, s.Through())
	for i := 0; i < len(h); i += 1 + len(h)/100 {
		want := indices[Prefix(h[i])]
		if got, err := findAll(s, h[i]); err != nil || !slices.Equal(got, want) {
			t.Fatalf("hash %s: found %d, %v, want %d", h[i], got, err, want)
		}
	}
	if got, err := findAll(s, numbered(1e9)); err != nil || got != nil {
		t.Fatalf("found an absent hash at %d, %v", got, err)
	}
}

func TestSet(t *testing.T) {
	h := makeHashes(1000).lose(10, 500)
	h[700], h[999] = h[3], h[3]
	dir := filepath.Join(t.TempDir(), "lookup")
	s, _ := openSet(t, dir, h)
	wantSet(t, s, h, "")
	if names := files(t, filepath.Dir(dir)); len(names) > 0 {
		t.Errorf("an empty set has made %q", names)
	}
	merge(t, s)
	h.add(t, s, 10) // its last is lost
	wantSet(t, s, h, "1-10")
	h.add(t, s, 11)
	h.add(t, s, 12)
	merge(t, s)
	wantSet(t, s, h, "1-10 11-12")
	h.add(t, s, 500)
	wantSet(t, s, h, "1-10 11-12 13-500")
	merge(t, s)
	wantSet(t, s, h, "1-500")
	h.add(t, s, 750)
	merge(t, s)
	wantSet(t, s, h, "1-500 501-750")
	h.add(t, s, 1000)
	merge(t, s)
	wantSet(t, s, h, "1-1000")
	if got, err := findAll(s, h[3]); err != nil || !slices.Equal(got, []uint64{4, 701, 1000}) {
		t.Errorf("found %d, %v, want all three, the first first", got, err)
	}
	if err := s.Add(1000, 1001, segment.Hash{}, nil); err == nil {
		t.Error("a table that overlaps was added")
	}
	if err := s.Add(1002, 1003, segment.Hash{}, nil); err == nil {
		t.Error("a table after a gap was added")
	}
	s.Close()
	s, dropped := openSet(t, dir, h)
	if len(dropped) > 0 {
		t.Errorf("dropped %v", dropped)
	}
	wantSet(t, s, h, "1-1000")
	s.Close()
	if _, err := findAll(s, h[3]); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v, want os.ErrClosed", err)
	}
	if err := s.Close(); err != nil || s.Through() != 0 || s.Tables() != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// The number of tables grows with the logarithm of the log, whatever the sizes of the
// tables that are added, and when several are added before they are merged.
func TestNumberOfTables(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		var tables []*Table
		through, smallest, written := uint64(0), uint64(1000), uint64(0)
		for range 500 {
			for range 1 + r.IntN(3) {
				n := uint64(100)
				if seed%2 == 0 {
					n = 1 + r.Uint64N(1000)
				}
				tables = append(tables, &Table{Header: Header{First: through + 1, Last: through + n}})
				through += n
				smallest = min(smallest, n)
			}
			for i := pair(tables); i >= 0; i = pair(tables) {
				merged := &Table{Header: Header{First: tables[i].First, Last: tables[i+1].Last}}
				written += merged.Span()
				tables = slices.Replace(tables, i, i+2, merged)
			}
			if n, limit := len(tables), bits.Len64(through/smallest); n > limit {
				t.Fatalf("seed %d: %d tables through index %d, want at most %d", seed, n, through, limit)
			}
		}
		// Nor is an entry written much more often than that.
		if limit := 2 * uint64(bits.Len64(through/smallest)); written > limit*through {
			t.Errorf("seed %d: merges wrote %d rows for %d entries, want at most %d times as many", seed, written, through, limit)
		}
	}
}

// Tables that together would cover more indices than a table can are not merged, while
// those after them still are.
func TestMergeLimit(t *testing.T) {
	s, _ := openSet(t, t.TempDir(), nil)
	at := uint64(0)
	for _, n := range []uint64{1 << 31, 1<<31 + 1, 7, 6} {
		if err := s.Add(at+1, at+n, segment.Hash{}, []Row{{Prefix: 8, Delta: uint32(n - 1)}}); err != nil {
			t.Fatal(err)
		}
		at += n
	}
	merge(t, s)
	const all = 1 << 32
	if got, want := ranges(s), fmt.Sprintf("1-%d %d-%d %d-%d", uint64(all/2), uint64(all/2+1), uint64(all+1), uint64(all+2), uint64(all+14)); got != want {
		t.Errorf("tables are of indices %s, want %s", got, want)
	}
	if got, err := findAll(s, withPrefix(8, 0)); err != nil || !slices.Equal(got, []uint64{1 << 31, all + 1, all + 8, all + 14}) {
		t.Errorf("found %d, %v", got, err)
	}
}

// TestDrop finds damage in a lookup and rebuilds what is missing.
func TestDrop(t *testing.T) {
	h := makeHashes(1000)
	dir := t.TempDir()
	s, _ := openSet(t, dir, h)
	for _, last := range []uint64{500, 700, 760, 900} {
		h.add(t, s, last)
	}
	path := filepath.Join(dir, Name(501, 700))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("broken"), PageSize+8); err != nil {
		t.Fatal(err)
	}
	if got, err := findAll(s, h[0]); err != nil || !slices.Equal(got, []uint64{1}) {
		t.Errorf("found %d, %v in the table before", got, err)
	}
	_, err = findAll(s, h[600])
	var damage *TableError
	if !errors.As(err, &damage) || !errors.Is(err, segment.ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Fatalf("error is %v, want one of the damaged table %s", err, path)
	}
	var merging *TableError
	if err := s.Merge(context.Background()); !errors.As(err, &merging) || merging.Table.First != 501 {
		t.Fatalf("merge: %v, want the same damage", err)
	}
	if got := files(t, dir); len(got) != 3 {
		t.Errorf("the directory has %q", got)
	}
	if err := s.Drop(damage.Table); err != nil {
		t.Fatal(err)
	}
	wantSet(t, s, h, "1-500")
	h.add(t, s, 700)
	if err := s.Drop(damage.Table); err != nil {
		t.Fatal(err) // another lookup met it too
	}
	wantSet(t, s, h, "1-500 501-700")
	if err := s.Fill(context.Background(), h.log()); err != nil {
		t.Fatal(err)
	}
	wantSet(t, s, h, "1-1000")
}

// TestMergeDropped drops tables while they are being merged.
func TestMergeDropped(t *testing.T) {
	h := makeHashes(100)
	s, _ := openSet(t, t.TempDir(), h)
	h.add(t, s, 50)
	h.add(t, s, 100)
	v, err := s.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer s.release(v)
	a, b := v.tables[0], v.tables[1]
	out, err := mergeTables(context.Background(), filepath.Join(s.dir, mergeName), a, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Drop(b); err != nil {
		t.Fatal(err)
	}
	if err := s.replace(a, b, out); err != nil {
		t.Fatal(err)
	}
	wantSet(t, s, h, "1-50")
}

func TestMergeCanceled(t *testing.T) {
	h := makeHashes(2 * mergeStep)
	s, _ := openSet(t, t.TempDir(), h)
	h.add(t, s, mergeStep)
	h.add(t, s, 2*mergeStep)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Merge(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("merge: %v, want it canceled", err)
	}
	if err := s.Fill(ctx, append(h, numbered(1e6)).log()); !errors.Is(err, context.Canceled) {
		t.Errorf("fill: %v, want it canceled", err)
	}
	wantSet(t, s, h, fmt.Sprintf("1-%d %d-%d", mergeStep, mergeStep+1, 2*mergeStep))
}

// The budget holds, goes to the smallest filters at the start and comes back.
func TestBudget(t *testing.T) {
	h := makeHashes(60_000)
	dir := t.TempDir()
	s, _ := openSet(t, dir, h)
	h.add(t, s, 40_000)
	h.add(t, s, 55_000)
	h.add(t, s, 60_000)
	s.Close()
	budget := NewBudget(40_000)
	s, _, err := OpenDir(dir, h.log(), budget)
	if err != nil {
		t.Fatal(err)
	}
	var in []bool
	for _, table := range s.view.tables {
		in = append(in, table.filter.Load() != nil)
	}
	if !slices.Equal(in, []bool{false, true, true}) {
		t.Errorf("filters in memory: %v, want those of the two smallest", in)
	}
	wantSet(t, s, h, "1-40000 40001-55000 55001-60000")
	s.Close()
	if left := budget.left.Load(); left != 40_000 {
		t.Errorf("%d bytes are left of the budget, want all 40000", left)
	}
	// A merged filter gets the memory of those that it replaces.
	budget = NewBudget(110_000)
	if s, _, err = OpenDir(dir, h.log(), budget); err != nil {
		t.Fatal(err)
	}
	more := append(slices.Clone(h), makeHashes(65_000)[60_000:]...)
	more.add(t, s, 65_000)
	merge(t, s)
	for _, table := range s.view.tables {
		if table.filter.Load() == nil {
			t.Errorf("the filter of %s is not in memory", table.Path)
		}
	}
	wantSet(t, s, more, ranges(s))
	s.Close()
	if left := budget.left.Load(); left != 110_000 {
		t.Errorf("%d bytes are left of the budget, want all 110000", left)
	}
}
