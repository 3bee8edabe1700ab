package lookup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tcp-log-server/segment"
)

// neverWrong opens the table at path, looks up each of keys, and fails the test unless
// every answer is right or damage. It reports whether any damage was reported.
func neverWrong(t *testing.T, path string, budget *Budget, indices map[uint64][]uint64, keys []segment.Hash) (damaged bool) {
	t.Helper()
	table, err := Open(path, testStore, budget)
	if err != nil {
		if !errors.Is(err, segment.ErrDamaged) {
			t.Fatalf("open: %v, want damage", err)
		}
		return true
	}
	defer table.Close()
	for _, key := range keys {
		got, err := findAll(table, key)
		switch want := indices[Prefix(key)]; {
		case err == nil && !slices.Equal(got, want):
			t.Fatalf("hash %s: found %d, want %d or damage", key, got, want)
		case err == nil:
		case !errors.Is(err, segment.ErrDamaged):
			t.Fatalf("hash %s: %v, want damage", key, err)
		default:
			damaged = true
		}
	}
	return damaged
}

// smallLog has lost entries, equal ones and equal prefixes.
func smallLog(n int) (h hashes, keys []segment.Hash) {
	h = makeHashes(n).lose(2, uint64(n))
	h[4], h[5], h[6] = h[0], withPrefix(Prefix(h[0]), 1), withPrefix(Prefix(h[0])+1, 1)
	for i := 0; i < n; i += 1 + n/10 {
		if i != 1 {
			keys = append(keys, h[i])
		}
	}
	for i := range 4 {
		keys = append(keys, numbered(1e6+i))
	}
	return h, keys
}

// TestFlippedByte flips each byte of a small table, and some of one with several pages
// in each part.
func TestFlippedByte(t *testing.T) {
	cases := []struct {
		name    string
		n, step int
	}{
		{"one page of each kind", 12, 1},
		{"several pages", 3000, 61},
	}
	for _, c := range cases {
		for name, budget := range budgets() {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				h, keys := smallLog(c.n)
				indices := h.byPrefix(1, uint64(c.n))
				path := h.write(t, t.TempDir(), 1, uint64(c.n))
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(whole); i += c.step {
					write := func(b byte) {
						if _, err := f.WriteAt([]byte{b}, int64(i)); err != nil {
							t.Fatal(err)
						}
					}
					write(whole[i] ^ 1<<(i%8))
					damaged := neverWrong(t, path, budget, indices, keys)
					if !damaged && c.n < rowsPage {
						t.Fatalf("byte %d is flipped, and nothing is said to be damaged", i)
					}
					if err := Check(path, h.log()); !errors.Is(err, segment.ErrDamaged) {
						t.Fatalf("byte %d is flipped: check: %v, want damage", i, err)
					}
					write(whole[i])
				}
				if neverWrong(t, path, budget, indices, keys) {
					t.Fatal("the whole table is damaged")
				}
			})
		}
	}
}

// TestCutShort cuts a small table at every length, and adds to it.
func TestCutShort(t *testing.T) {
	h, _ := smallLog(12)
	path := h.write(t, t.TempDir(), 1, 12)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []int64{1, PageSize} {
		grown := bytes.Clone(readFile(t, path))
		writeFile(t, path, append(grown, make([]byte, more)...))
		if _, err := Open(path, testStore, nil); !errors.Is(err, segment.ErrDamaged) {
			t.Errorf("%d bytes too long: %v, want damage", more, err)
		}
	}
	for size := fi.Size() - 1; size >= 0; size-- {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, testStore, nil); !errors.Is(err, segment.ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v, want damage", size, err)
		}
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A file that is cut while the table is open is damage as well.
func TestCutWhileOpen(t *testing.T) {
	h, keys := smallLog(12)
	path := h.write(t, t.TempDir(), 1, 12)
	for page := range int64(4) {
		writeFile(t, path, readFile(t, h.write(t, filepath.Dir(path), 1, 12)))
		table := openTable(t, path, nil)
		if err := os.Truncate(path, page*PageSize+100); err != nil {
			t.Fatal(err)
		}
		if _, err := findAll(table, keys[0]); !errors.Is(err, segment.ErrDamaged) {
			t.Errorf("cut in page %d: %v, want damage", page, err)
		}
	}
}

// TestSwappedPages exchanges any two pages of a table, and of two tables of one log.
func TestSwappedPages(t *testing.T) {
	const n = 3000
	h, keys := smallLog(n)
	indices := h.byPrefix(1, n)
	dir := t.TempDir()
	path := h.write(t, dir, 1, n)
	other := readFile(t, h.write(t, dir, 2, n))
	whole := readFile(t, path)
	page := func(b []byte, i int) []byte { return b[i*PageSize:][:PageSize] }
	for i := range len(whole) / PageSize {
		for j := range len(whole) / PageSize {
			for name, from := range map[string][]byte{"the same table": whole, "another table": other} {
				if i == j && &from[0] == &whole[0] || bytes.Equal(page(whole, i), page(from, j)) {
					continue
				}
				b := bytes.Clone(whole)
				copy(page(b, i), page(from, j))
				writeFile(t, path, b)
				neverWrong(t, path, nil, indices, keys)
				if err := Check(path, h.log()); !errors.Is(err, segment.ErrDamaged) {
					t.Fatalf("page %d is page %d of %s: check: %v, want damage", i, j, name, err)
				}
			}
		}
	}
}

// mend corrects the checksums of all pages.
func mend(b []byte) {
	put := func(page []byte, sum uint32) { binary.LittleEndian.PutUint32(page[pageData:], sum) }
	put(b, segment.Checksum(b[:pageData]))
	header := binary.LittleEndian.Uint32(b[pageData:])
	for i := 1; i < len(b)/PageSize; i++ {
		page := b[i*PageSize:][:PageSize]
		put(page, pageSum(page, header, uint64(i)))
	}
}

// TestWrongButSummed changes bytes and corrects the checksums: what an error in a program
// could have written.
func TestWrongButSummed(t *testing.T) {
	const n = 3000
	pages := func(part uint64) int { return int(part) * PageSize }
	l := Header{First: 1, Last: n, Rows: n - 2}.layout()
	cases := []struct {
		name   string
		change func(b []byte)
		open   error // nil: only a check finds it
		check  error
	}{
		{"magic", func(b []byte) { b[0] = 'X' }, segment.ErrDamaged, segment.ErrDamaged},
		{"version", func(b []byte) { b[8] = 2 }, segment.ErrVersion, segment.ErrVersion},
		{"store", func(b []byte) { b[16]++ }, ErrStale, ErrStale},
		{"first index 0", func(b []byte) { b[32] = 0 }, segment.ErrDamaged, segment.ErrDamaged},
		{"first index", func(b []byte) { b[32] = 2 }, nil, segment.ErrDamaged},
		{"last index below the first", func(b []byte) { clear(b[40:48]) }, segment.ErrDamaged, segment.ErrDamaged},
		{"last index beyond the log", func(b []byte) { b[42] = 2 }, nil, segment.ErrDamaged},
		{"more rows than indices", func(b []byte) { b[50] = 1 }, segment.ErrDamaged, segment.ErrDamaged},
		{"more rows than pages", func(b []byte) { binary.LittleEndian.PutUint64(b[48:], 100) }, segment.ErrDamaged, segment.ErrDamaged},
		{"one row less", func(b []byte) { binary.LittleEndian.PutUint64(b[48:], n-3) }, nil, ErrRows},
		{"hash of the last", func(b []byte) { b[56]++ }, nil, ErrStale},
		{"fences not in order", func(b []byte) { b[pages(l.fences)] = 255 }, segment.ErrDamaged, segment.ErrDamaged},
		{"a fence", func(b []byte) { b[pages(l.fences)+7]++ }, nil, segment.ErrDamaged},
		{"rows not in order", func(b []byte) { b[pages(l.rows)+5*RowSize] = 255 }, nil, segment.ErrDamaged},
		{"a row that the filter lacks", func(b []byte) { b[pages(l.rows)+5*RowSize+7] ^= 1 }, nil, segment.ErrDamaged},
		{"a row of another index", func(b []byte) { b[pages(l.rows)+5*RowSize+8] ^= 1 }, nil, ErrRows},
		{"a row beyond the last index", func(b []byte) { b[pages(l.rows)+5*RowSize+10] = 1 }, nil, segment.ErrDamaged},
		{"an empty filter", func(b []byte) { clear(b[pages(l.filter):]) }, nil, segment.ErrDamaged},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, keys := smallLog(n)
			path := h.write(t, t.TempDir(), 1, n)
			b := readFile(t, path)
			c.change(b)
			mend(b)
			writeFile(t, path, b)
			table, err := Open(path, testStore, nil)
			if !errors.Is(err, c.open) {
				t.Errorf("open: %v, want %v", err, c.open)
			}
			if err == nil {
				for _, key := range keys {
					// Its content is wrong, but it is read without a panic.
					_, _ = findAll(table, key)
				}
				table.Close()
			}
			if err := Check(path, h.log()); !errors.Is(err, c.check) {
				t.Errorf("check: %v, want %v", err, c.check)
			}
		})
	}
}

// TestCheckStale checks an intact table of another log.
func TestCheckStale(t *testing.T) {
	h := makeHashes(50).lose(7)
	change := func(f func(h hashes)) hashes {
		h := slices.Clone(h)
		f(h)
		return h
	}
	cases := []struct {
		name string
		log  Log
		want error
	}{
		{"another hash", change(func(h hashes) { h[3] = numbered(1000) }).log(), ErrRows},
		{"a lost entry", change(func(h hashes) { h[3] = segment.Hash{} }).log(), ErrRows},
		{"an entry that the table lacks", change(func(h hashes) { h[6] = numbered(1000) }).log(), ErrRows},
		{"a lost entry and another that is not any more", change(func(h hashes) { h[3], h[6] = segment.Hash{}, numbered(1000) }).log(), ErrRows},
		{"two entries exchanged", change(func(h hashes) { h[3], h[4] = h[4], h[3] }).log(), ErrRows},
		{"another last entry", change(func(h hashes) { h[49] = numbered(1000) }).log(), ErrStale},
		{"a lost last entry", change(func(h hashes) { h[49] = segment.Hash{} }).log(), ErrStale},
		{"a shorter log", h[:49].log(), ErrStale},
		{"another store", Log{Store: segment.StoreID{1}, Head: 50, Hash: h.hash}, ErrStale},
	}
	path := h.write(t, t.TempDir(), 1, 50)
	for _, c := range cases {
		if err := Check(path, c.log); !errors.Is(err, c.want) || errors.Is(err, segment.ErrDamaged) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		} else {
			t.Log(err)
		}
	}
	if err := Check(path, h.log()); err != nil {
		t.Error(err)
	}
	moved := filepath.Join(filepath.Dir(path), Name(2, 50))
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if err := Check(moved, h.log()); !errors.Is(err, segment.ErrDamaged) {
		t.Errorf("of another name: %v, want damage", err)
	}
	if err := Check(filepath.Join(filepath.Dir(path), "x"), h.log()); err == nil {
		t.Error("a file of any name is a table")
	}
}
