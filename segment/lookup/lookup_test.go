package lookup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tcp-log-server/segment"
)

var testStore = segment.StoreID([]byte("lookup-test-stor"))

// testBudget is enough for all filters of a test, in bytes.
const testBudget = 64 << 20

// hashes are the hashes of a log's entries from index 1 on; the zero hash is that of a
// lost entry.
type hashes []segment.Hash

// makeHashes makes n different hashes.
func makeHashes(n int) hashes {
	h := make(hashes, n)
	for i := range h {
		h[i] = numbered(i)
	}
	return h
}

func numbered(i int) segment.Hash {
	return segment.Sum(binary.LittleEndian.AppendUint64(nil, uint64(i)))
}

// withPrefix returns a hash that begins with prefix, and differs from others by n.
func withPrefix(prefix uint64, n byte) (h segment.Hash) {
	binary.BigEndian.PutUint64(h[:], prefix)
	h[31] = n
	return h
}

func (h hashes) hash(index uint64) (hash segment.Hash, ok bool, err error) {
	if index == 0 || index > uint64(len(h)) {
		return hash, false, fmt.Errorf("asked for the hash of index %d of %d", index, len(h))
	}
	hash = h[index-1]
	return hash, hash != segment.Hash{}, nil
}

func (h hashes) log() Log { return Log{Store: testStore, Head: uint64(len(h)), Hash: h.hash} }

// rows returns the rows of a table of the indices first to last, and the hash of the
// last.
func (h hashes) rows(first, last uint64) (rows []Row, of segment.Hash) {
	for i := first; i <= last; i++ {
		if hash, ok, _ := h.hash(i); ok {
			rows = append(rows, Row{Prefix: Prefix(hash), Delta: uint32(i - first)})
		}
	}
	return rows, h[last-1]
}

// byPrefix returns the indices from first to last by the prefixes of their hashes.
func (h hashes) byPrefix(first, last uint64) map[uint64][]uint64 {
	found := make(map[uint64][]uint64)
	for i := first; i <= last; i++ {
		if hash, ok, _ := h.hash(i); ok {
			found[Prefix(hash)] = append(found[Prefix(hash)], i)
		}
	}
	return found
}

// write writes the table of the indices first to last into dir.
func (h hashes) write(t testing.TB, dir string, first, last uint64) (path string) {
	t.Helper()
	rows, hash := h.rows(first, last)
	SortRows(rows)
	path, err := Write(dir, Header{Store: testStore, First: first, Last: last, Hash: hash}, rows)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func openTable(t testing.TB, path string, budget *Budget) *Table {
	t.Helper()
	table, err := Open(path, testStore, budget)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

type finder interface {
	Find(segment.Hash, func(uint64) (bool, error)) error
}

// findAll returns everything that a lookup of hash finds.
func findAll(f finder, hash segment.Hash) (found []uint64, err error) {
	err = f.Find(hash, func(index uint64) (bool, error) {
		found = append(found, index)
		return false, nil
	})
	return found, err
}

func wantFound(t *testing.T, f finder, hash segment.Hash, want []uint64) {
	t.Helper()
	if got, err := findAll(f, hash); err != nil || !slices.Equal(got, want) {
		t.Fatalf("hash %s: found %d, %v, want %d", hash, got, err, want)
	}
}

func budgets() map[string]*Budget {
	return map[string]*Budget{"filter in memory": NewBudget(testBudget), "filter on disk": nil}
}

// lose makes the entries of the given indices lost.
func (h hashes) lose(indices ...uint64) hashes {
	for _, i := range indices {
		h[i-1] = segment.Hash{}
	}
	return h
}

func TestTable(t *testing.T) {
	equal := make(hashes, 3*rowsPage)
	for i := range equal {
		equal[i] = withPrefix(77, byte(i))
	}
	edges := makeHashes(2 * rowsPage)
	edges[3], edges[10], edges[11] = withPrefix(0, 1), withPrefix(1<<64-1, 1), withPrefix(1<<64-1, 2)
	cases := []struct {
		name        string
		of          hashes
		first, last uint64
	}{
		{"one entry", makeHashes(1), 1, 1},
		{"one lost entry", make(hashes, 1), 1, 1},
		{"only lost entries", make(hashes, 1000), 1, 1000},
		{"from the middle", makeHashes(500), 100, 400},
		{"lost at both ends", makeHashes(20).lose(1, 2, 7, 20), 1, 20},
		{"a full page", makeHashes(rowsPage), 1, rowsPage},
		{"a page and a row", makeHashes(rowsPage + 1), 1, rowsPage + 1},
		{"many pages", makeHashes(20_000), 1, 20_000},
		{"the same prefix over pages", equal, 1, uint64(len(equal))},
		{"the same prefix from the middle of a page", append(makeHashes(700), equal...), 1, uint64(700 + len(equal))},
		{"the lowest and the highest prefix", edges, 1, uint64(len(edges))},
	}
	for _, c := range cases {
		for name, budget := range budgets() {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				path := c.of.write(t, t.TempDir(), c.first, c.last)
				table := openTable(t, path, budget)
				want := c.of.byPrefix(c.first, c.last)
				for i := 0; i < len(c.of); i += 1 + len(c.of)/100 {
					wantFound(t, table, c.of[i], want[Prefix(c.of[i])])
				}
				for i := range 500 {
					wantFound(t, table, numbered(1e9+i), nil)
				}
				if err := Check(path, c.of.log()); err != nil {
					t.Errorf("check: %v", err)
				}
			})
		}
	}
}

func TestFindStops(t *testing.T) {
	h := hashes{withPrefix(5, 0), withPrefix(5, 1), withPrefix(5, 2)}
	table := openTable(t, h.write(t, t.TempDir(), 1, 3), nil)
	var found []uint64
	err := table.Find(h[0], func(i uint64) (bool, error) {
		found = append(found, i)
		return i == 2, nil
	})
	if err != nil || !slices.Equal(found, []uint64{1, 2}) {
		t.Errorf("found %d, %v, want the first two", found, err)
	}
	failed := errors.New("failed")
	if err := table.Find(h[0], func(uint64) (bool, error) { return false, failed }); err != failed {
		t.Errorf("error is %v, want the function's", err)
	}
}

// Any rows that a table can have are found again, and no others.
func TestTableProperty(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		h := make(hashes, 1+r.IntN(3000))
		kinds := 1 + r.IntN(len(h))
		for i := range h {
			switch r.IntN(10) {
			case 0: // lost
			case 1: // equal to another in its first 8 bytes
				h[i] = withPrefix(Prefix(numbered(r.IntN(kinds))), byte(i))
			case 2: // equal to another in its upper bits
				h[i] = withPrefix(Prefix(numbered(r.IntN(kinds)))^uint64(1+r.IntN(3)), 0)
			default:
				h[i] = numbered(r.IntN(kinds))
			}
		}
		first := uint64(1 + r.IntN(len(h)))
		last := first + r.Uint64N(uint64(len(h))-first+1)
		budget := NewBudget(int64(r.IntN(2)) * testBudget)
		dir := t.TempDir()
		path := h.write(t, dir, first, last)
		table := openTable(t, path, budget)
		want := h.byPrefix(first, last)
		for prefix, indices := range want {
			wantFound(t, table, withPrefix(prefix, 99), indices)
		}
		for range 200 {
			near := withPrefix(Prefix(h[r.IntN(len(h))])+uint64(r.IntN(5))-2, 0)
			wantFound(t, table, near, want[Prefix(near)])
		}
		if err := Check(path, h.log()); err != nil {
			t.Fatalf("seed %d: check: %v", seed, err)
		}
	}
}

func TestMillionEqualHashes(t *testing.T) {
	h := make(hashes, 1_000_000)
	if testing.Short() {
		h = h[:150_000] // of many pages
	}
	for i := range h {
		h[i] = numbered(0)
	}
	table := openTable(t, h.write(t, t.TempDir(), 1, uint64(len(h))), nil)
	next := uint64(1)
	err := table.Find(h[0], func(i uint64) (bool, error) {
		if i != next {
			return true, fmt.Errorf("index %d, want %d", i, next)
		}
		next++
		return false, nil
	})
	if err != nil || next != uint64(len(h))+1 {
		t.Errorf("found the indices through %d: %v", next-1, err)
	}
}

// A table is at most 20 bytes an entry, once it is so large that the ends of its parts do
// not matter.
func TestTableSize(t *testing.T) {
	for _, n := range []uint64{4000, TableRows} {
		fi, err := os.Stat(makeHashes(int(n)).write(t, t.TempDir(), 1, n))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d rows: %.2f bytes an entry", n, float64(fi.Size())/float64(n))
		if fi.Size() > 20*int64(n) {
			t.Errorf("the table of %d entries has %d bytes, want at most 20 an entry", n, fi.Size())
		}
	}
	// The largest tables are not written here, but their layout is known.
	if l := (Header{First: 1, Last: maxSpan, Rows: maxSpan}).layout(); l.end*PageSize > 14*maxSpan {
		t.Errorf("the largest table has %d bytes", l.end*PageSize)
	}
}

func TestFilter(t *testing.T) {
	const n = 200_000
	table := openTable(t, makeHashes(n).write(t, t.TempDir(), 1, n), NewBudget(testBudget))
	hits := 0
	for i := range n {
		if may, err := table.mayHold(Prefix(numbered(n + i))); err != nil {
			t.Fatal(err)
		} else if may {
			hits++
		}
	}
	t.Logf("%.2f %% of absent hashes pass the filter", 100*float64(hits)/n)
	if hits > n/100 {
		t.Errorf("%d of %d absent hashes pass the filter, want less than 1 %%", hits, n)
	}
}

// A hash that the filter mistakes for another is looked for in the pages and not found.
func TestFilterCollision(t *testing.T) {
	h := makeHashes(5000)
	for name, budget := range budgets() {
		t.Run(name, func(t *testing.T) {
			table := openTable(t, h.write(t, t.TempDir(), 1, 5000), budget)
			collisions := 0
			for i := 5000; collisions < 20; i++ {
				if may, err := table.mayHold(Prefix(numbered(i))); err != nil {
					t.Fatal(err)
				} else if may {
					collisions++
					wantFound(t, table, numbered(i), nil)
				}
			}
		})
	}
}

func TestSortRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 7, 8, 9, 100, 10_000} {
		for _, mask := range []uint64{1<<64 - 1, 3, 3 << 62, 0} {
			rows := make([]Row, n)
			for i := range rows {
				rows[i] = Row{Prefix: r.Uint64() & mask, Delta: uint32(i)}
			}
			r.Shuffle(n, func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			want := slices.SortedFunc(slices.Values(rows), compareRows)
			if SortRows(rows); !slices.Equal(rows, want) {
				t.Errorf("%d rows with prefixes of %x are not sorted", n, mask)
			}
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	cases := []struct {
		name string
		h    Header
		rows []Row
	}{
		{"index 0", Header{First: 0, Last: 3}, nil},
		{"no index", Header{First: 3, Last: 2}, nil},
		{"more than 2^32 indices", Header{First: 1, Last: 1<<32 + 1}, nil},
		{"more rows than indices", Header{First: 1, Last: 1}, []Row{{1, 0}, {2, 0}}},
		{"an index beyond the last", Header{First: 1, Last: 2}, []Row{{1, 0}, {2, 2}}},
		{"unsorted rows", Header{First: 1, Last: 2}, []Row{{2, 0}, {1, 1}}},
		{"the same row twice", Header{First: 1, Last: 2}, []Row{{2, 0}, {2, 0}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if path, err := Write(dir, c.h, c.rows); err == nil {
				t.Errorf("written to %s", path)
			}
			if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 0 {
				t.Errorf("left %q", names)
			}
		})
	}
	// A table of that many indices needs no more rows than it has.
	path, err := Write(t.TempDir(), Header{Store: testStore, First: 5, Last: 4 + maxSpan}, []Row{{9, maxSpan - 1}})
	if err != nil {
		t.Fatal(err)
	}
	wantFound(t, openTable(t, path, nil), withPrefix(9, 0), []uint64{4 + maxSpan})
}

func TestName(t *testing.T) {
	name := "00000000000000000001-00000000000000262144.tbl"
	if got := Name(1, 262144); got != name {
		t.Errorf("name is %s, want %s", got, name)
	}
	if first, last, ok := ParseName(name); first != 1 || last != 262144 || !ok {
		t.Errorf("%s is %d to %d, %v", name, first, last, ok)
	}
	for _, bad := range []string{"", ".tbl", "add.tmp", name + "x", "x" + name, name[:20] + "_" + name[21:], Name(0, 1), Name(2, 1), "0000000000000000000+-00000000000000000001.tbl"} {
		if _, _, ok := ParseName(bad); ok {
			t.Errorf("%q is taken for a table", bad)
		}
	}
}
