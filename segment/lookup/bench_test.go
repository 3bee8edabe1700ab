package lookup

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"tcp-log-server/segment"
)

// benchRows are the sizes of the tables of a log of 10,000,000 entries.
var benchRows = []int{6_000_000, 2_500_000, 1_000_000, 300_000, 150_000, 50_000}

// benchHash returns the hash of an entry of a log for a benchmark: as evenly spread as
// BLAKE3, and quickly computed.
func benchHash(i uint64) segment.Hash {
	r := rand.New(rand.NewPCG(i, 42))
	return withPrefix(r.Uint64(), 0)
}

// benchSet returns a Set of tables with these numbers of rows.
func benchSet(b *testing.B, sizes []int) *Set {
	b.Helper()
	s, _, err := OpenDir(b.TempDir(), Log{}, NewBudget(testBudget))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	for _, n := range sizes {
		first := s.Through() + 1
		if err := s.Add(first, first+uint64(n)-1, segment.Hash{}, benchTable(first, n)); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func benchTable(first uint64, n int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = Row{Prefix: Prefix(benchHash(first + uint64(i))), Delta: uint32(i)}
	}
	return rows
}

// BenchmarkFind looks hashes up in 6 tables of 10,000,000 rows in total.
func BenchmarkFind(b *testing.B) {
	s := benchSet(b, benchRows)
	keys := make([]segment.Hash, 1<<16)
	cases := map[string]func(i int) segment.Hash{
		"absent":  func(i int) segment.Hash { return benchHash(1<<40 + uint64(i)) },
		"present": func(i int) segment.Hash { return benchHash(1 + rand.Uint64N(s.Through())) },
	}
	for _, name := range []string{"absent", "present"} {
		for i := range keys {
			keys[i] = cases[name](i)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			found := 0
			for i := range b.N {
				err := s.Find(keys[i%len(keys)], func(uint64) (bool, error) { found++; return true, nil })
				if err != nil {
					b.Fatal(err)
				}
			}
			if want := b.N; name == "present" && found != want {
				b.Fatalf("found %d, want %d", found, want)
			}
		})
	}
}

// BenchmarkBuild sorts and writes a table of TableRows rows.
func BenchmarkBuild(b *testing.B) {
	rows := benchTable(1, TableRows)
	b.Run("sort", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			of := slices.Clone(rows)
			b.StartTimer()
			SortRows(of)
		}
	})
	SortRows(rows)
	b.Run("write", func(b *testing.B) {
		dir := b.TempDir()
		for range b.N {
			if _, err := Write(dir, Header{First: 1, Last: TableRows}, rows); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMerge merges two tables of 10,000,000 rows in total.
func BenchmarkMerge(b *testing.B) {
	s := benchSet(b, []int{6_000_000, 4_000_000})
	v, err := s.acquire()
	if err != nil {
		b.Fatal(err)
	}
	defer s.release(v)
	b.ResetTimer()
	for range b.N {
		if _, err := mergeTables(context.Background(), filepath.Join(s.dir, mergeName), v.tables[0], v.tables[1]); err != nil {
			b.Fatal(err)
		}
	}
}
