package fsck

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// testLog returns the log of a test store through an index.
func testLog(t testing.TB, dir string, through uint64) lookup.Log {
	t.Helper()
	f, err := segment.CaptureFile(segmentFiles(t, dir)[0])
	must(t, err)
	return lookup.Log{Store: f.Header.Store, Head: through, Hash: func(index uint64) (segment.Hash, bool, error) {
		return segment.Sum([]byte(entryText(index))), true, nil
	}}
}

// putTables makes the lookup tables of the store in dir that end at the given indices, and
// returns their paths. They are as old as the rest of the store.
func putTables(t testing.TB, dir string, ends ...uint64) (paths []string) {
	t.Helper()
	at := filepath.Join(dir, "lookup")
	must(t, segment.MakeDir(at))
	first := uint64(1)
	for _, last := range ends {
		paths = append(paths, writeTable(t, dir, first, last))
		first = last + 1
	}
	return paths
}

// writeTable makes the table of the indices first to last, without the rows of some.
func writeTable(t testing.TB, dir string, first, last uint64, without ...uint64) (path string) {
	t.Helper()
	log := testLog(t, dir, last)
	var rows []lookup.Row
	var hash segment.Hash
	for i := first; i <= last; i++ {
		if hash, _, _ = log.Hash(i); !slices.Contains(without, i) {
			rows = append(rows, lookup.Row{Prefix: lookup.Prefix(hash), Delta: uint32(i - first)})
		}
	}
	lookup.SortRows(rows)
	path, err := lookup.Write(filepath.Join(dir, "lookup"), lookup.Header{Store: log.Store, First: first, Last: last, Hash: hash}, rows)
	must(t, err)
	age(t, path)
	return path
}

// checkTables checks that the tables in dir match the log through an index.
func checkTables(t testing.TB, dir string, log lookup.Log) {
	t.Helper()
	files, others, err := lookup.List(filepath.Join(dir, "lookup"))
	must(t, err)
	through := uint64(0)
	for _, f := range files {
		must(t, f.Follows(through))
		must(t, lookup.Check(f.Path, log))
		through = f.Last
	}
	if through != log.Head || len(others) > 0 {
		t.Errorf("the tables go through index %d, want %d; beside them are %q", through, log.Head, others)
	}
}

// Intact tables are no finding, however far they go; nor is their absence.
func TestWholeTables(t *testing.T) {
	for _, s := range []shape{both, removed, packed} {
		for _, ends := range [][]uint64{{}, {1}, {60}, {20, 40, 50}, {2, 60}} {
			for _, quick := range []bool{false, true} {
				dir := newStore(t, s)
				want := runCheck(t, Options{Data: dir, Quick: quick})
				putTables(t, dir, ends...)
				before := treeSum(t, dir)
				got := runCheck(t, Options{Data: dir, Quick: quick})
				if got.String() != want.String() || got.Digest != want.Digest {
					t.Errorf("%s, tables through %d: found\n%swithout them\n%s", s, ends, got, want)
				}
				if treeSum(t, dir) != before {
					t.Errorf("%s, tables through %d: the check has changed something", s, ends)
				}
			}
		}
	}
}

// TestTables checks and repairs stores with tables that are wrong in some way.
func TestTables(t *testing.T) {
	cases := []struct {
		name  string
		do    func(t testing.TB, dir string)
		kinds []Kind
		quick bool // a quick check finds it too
	}{
		{"a damaged header", func(t testing.TB, dir string) { flip(t, putTables(t, dir, 20, 40, 60)[1], 60) }, []Kind{LookupDamaged}, true},
		{"a damaged row", func(t testing.TB, dir string) { flip(t, putTables(t, dir, 20, 40, 60)[1], lookup.PageSize) }, []Kind{LookupDamaged}, false},
		{"a damaged filter", func(t testing.TB, dir string) { flip(t, putTables(t, dir, 60)[0], 3*lookup.PageSize) }, []Kind{LookupDamaged}, false},
		{"two damaged tables", func(t testing.TB, dir string) {
			paths := putTables(t, dir, 20, 40, 60)
			flip(t, paths[0], 5)
			flip(t, paths[2], 5)
		}, []Kind{LookupDamaged, LookupDamaged}, true},
		{"an empty file", func(t testing.TB, dir string) { must(t, os.Truncate(putTables(t, dir, 20, 60)[1], 0)) }, []Kind{LookupDamaged}, true},
		{"a missing row", func(t testing.TB, dir string) {
			putTables(t, dir, 20)
			writeTable(t, dir, 21, 60, 33)
		}, []Kind{LookupStale}, true},
		{"no middle", func(t testing.TB, dir string) { remove(t, putTables(t, dir, 20, 40, 60)[1]) }, []Kind{LookupDamaged}, true},
		{"no first", func(t testing.TB, dir string) { remove(t, putTables(t, dir, 20, 40, 60)[0]) }, []Kind{LookupDamaged, LookupDamaged}, true},
		{"an interrupted merge", func(t testing.TB, dir string) {
			putTables(t, dir, 20, 40, 60)
			writeTable(t, dir, 21, 60)
		}, nil, true}, // the repair finds it
		{"a damaged merge over its tables", func(t testing.TB, dir string) {
			putTables(t, dir, 20, 40, 60)
			flip(t, writeTable(t, dir, 21, 60), 50)
		}, []Kind{LookupDamaged}, true},
		{"a table that goes beyond the log", func(t testing.TB, dir string) { putTables(t, dir, 20, 61) }, []Kind{LookupDamaged}, true},
		{"a table of another history", func(t testing.TB, dir string) {
			path := putTables(t, dir, 20, 60)[1]
			edit(t, path, func(b []byte) []byte { return edited(b, 56) })
			age(t, path)
		}, []Kind{LookupDamaged}, true},
		{"a table of another store", func(t testing.TB, dir string) {
			path := putTables(t, dir, 20, 60)[1]
			edit(t, path, func(b []byte) []byte { return edited(b, 16) })
		}, []Kind{LookupDamaged}, true},
		{"a table of a later format", func(t testing.TB, dir string) {
			path := putTables(t, dir, 20, 60)[1]
			edit(t, path, func(b []byte) []byte { return edited(b, 8) })
		}, []Kind{LookupDamaged}, true},
		{"a table that was being written", func(t testing.TB, dir string) {
			putTables(t, dir, 20, 60)
			path := filepath.Join(dir, "lookup", "merge.tmp")
			must(t, os.WriteFile(path, []byte("half"), 0o600))
			age(t, path)
		}, []Kind{StrayFile}, true},
		{"a file in place of the directory", func(t testing.TB, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "lookup"), nil, 0o600))
		}, []Kind{WrongType}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := newStore(t, both)
			usual := len(runCheck(t, Options{Data: dir}).findings)
			c.do(t, dir)
			for _, quick := range []bool{true, false} {
				found := runCheck(t, Options{Data: dir, Quick: quick})
				var kinds []Kind
				for _, f := range found.findings {
					if strings.HasPrefix(f.File, filepath.Join(dir, "lookup")) {
						kinds = append(kinds, f.Kind)
					}
				}
				want := c.kinds
				if quick && !c.quick {
					want = nil
				}
				if !slices.Equal(kinds, want) || len(found.findings) != usual+len(want) {
					t.Errorf("quick %v: found %v, want %v of the tables:\n%s", quick, kinds, want, found)
				}
			}
			before := treeSum(t, dir)
			runRepair(t, RepairOptions{Options: Options{Data: dir}, DryRun: true})
			if treeSum(t, dir) != before {
				t.Error("a dry run has changed something")
			}
			_, _, said := runRepair(t, RepairOptions{Options: Options{Data: dir}})
			if !slices.Contains(c.kinds, WrongType) {
				checkTables(t, dir, testLog(t, dir, storeEntries))
			}
			if found := runCheck(t, Options{Data: dir}); len(found.findings) != usual {
				t.Errorf("after the repair:\n%s\nit said\n%s", found, said)
			}
			checkServed(t, both.config(dir), storeEntries, nil)
		})
	}
}

// edited returns a table with another byte in its header, and a right checksum. Then the
// other pages are invalid, but the check does not get that far.
func edited(b []byte, at int) []byte {
	b[at]++
	sum := segment.Checksum(b[:lookup.PageSize-4])
	for i := range 4 {
		b[lookup.PageSize-4+i] = byte(sum >> (8 * i))
	}
	return b
}

// A repair that records entries as lost, or restores them, leaves correct tables.
func TestTablesOfLostEntries(t *testing.T) {
	dir := newStore(t, packed)
	putTables(t, dir, 20, 60)
	damaged := segmentFiles(t, dir)[1]
	flip(t, damaged, find(t, damaged, entryText(31), 2))
	whole := testLog(t, dir, storeEntries)
	if found := runCheck(t, Options{Data: dir}); found.has(LookupStale) || found.has(LookupDamaged) {
		t.Errorf("the row of an entry that cannot be read is taken to be wrong:\n%s", found)
	}
	runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true})
	checkTables(t, dir, whole) // the index still has its hash
	runRepair(t, RepairOptions{Options: Options{Data: dir}, From: newCopy(t, dir, packed)})
	checkTables(t, dir, whole)
	checkServed(t, packed.config(dir), storeEntries, nil)

	// In a log without the segment, the record says that it is lost.
	dir = newStore(t, removed)
	putTables(t, dir, 20, 60)
	remove(t, blobOf(dir, 3))
	runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true})
	lossy := whole
	lossy.Hash = func(index uint64) (segment.Hash, bool, error) {
		hash, _, err := whole.Hash(index)
		return hash, index != 3, err
	}
	lossy.Store = testLog(t, dir, storeEntries).Store
	checkTables(t, dir, lossy)
	runRepair(t, RepairOptions{Options: Options{Data: dir}, From: newCopy(t, dir, removed)})
	lossy.Hash = whole.Hash
	checkTables(t, dir, lossy)
}

// Without an index on disk the server rebuilds the tables.
func TestTablesWithoutIndex(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := engine.NewConfig(dir)
	c.WAL = engine.Memory
	buildStore(t, c, storeEntries, func(engine.Stats) bool { return true })
	paths := putTables(t, dir, 20, 40, 60)
	flip(t, paths[1], 60)
	o := Options{Data: dir, WAL: segment.Memory}
	if found := runCheck(t, o); !found.has(LookupDamaged) || found.Errors > 0 {
		t.Errorf("found\n%s", found)
	}
	runRepair(t, RepairOptions{Options: o})
	checkTables(t, dir, testLog(t, dir, 20))
	if found := runCheck(t, o); len(found.findings) > 0 {
		t.Errorf("after the repair:\n%s", found)
	}
}

// TestTablesBesideDaemon checks a log while its tables are added, merged and dropped.
func TestTablesBesideDaemon(t *testing.T) {
	dir := newStore(t, both)
	log := testLog(t, dir, storeEntries)
	usual := len(runCheck(t, Options{Data: dir}).findings)
	ctx, stop := context.WithCancel(context.Background())
	var daemon sync.WaitGroup
	daemon.Go(func() {
		for ctx.Err() == nil {
			s, _, err := lookup.OpenDir(filepath.Join(dir, "lookup"), log, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for part := log; part.Head != 0 && s.Through() < log.Head; {
				part.Head = s.Through() + 10
				if err := s.Fill(context.Background(), part); err != nil {
					t.Error(err)
				}
			}
			s.Close()
			// Like Drop: the last ones first.
			files, _, _ := lookup.List(filepath.Join(dir, "lookup"))
			for _, f := range slices.Backward(files) {
				os.Remove(f.Path)
			}
		}
	})
	for deadline, n := time.Now().Add(20*time.Second), 0; n < 100/every(4) && time.Now().Before(deadline); n++ {
		if found := runCheck(t, Options{Data: dir}); len(found.findings) != usual {
			t.Errorf("beside the daemon:\n%s", found)
			break
		}
	}
	stop()
	daemon.Wait()
}
