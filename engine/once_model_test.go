package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// TestOnceModel does at random what may happen to a log, and compares the answers to
// appends with a condition with a map in memory.
func TestOnceModel(t *testing.T) {
	t.Parallel()
	seeds := uint64(12)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runOnceModel(t, rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano()))))
		})
	}
}

func runOnceModel(t *testing.T, rnd *rand.Rand) {
	config := testConfig(t)
	config.tableRows = 1 + rnd.IntN(40)
	switch rnd.IntN(4) {
	case 0:
		config.WAL = Memory
	case 1:
		config.LooseMax = -1
	}
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { l.Close() }()
	first := map[string]uint64{}
	var all []string
	// store stores an entry; with again, even if there is an equal one.
	store := func(entry string, again bool) (index uint64, seen bool) {
		at := first[entry]
		if at > 0 && !again {
			return at, true
		}
		all = append(all, entry)
		if at == 0 {
			at = uint64(len(all))
			first[entry] = at
		}
		return at, false
	}
	for range 60 {
		switch rnd.IntN(20) {
		case 0:
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			spoilt := rnd.IntN(3) == 0
			if spoilt {
				spoilTable(t, rnd, lookupDir(config))
			}
			if l, err = Open(config); err != nil {
				t.Fatal(err)
			}
			if spoilt {
				findAll(t, l, first)
			}
			continue
		case 1:
			if h := l.hashes.Load(); h != nil {
				h.stop(errors.New("the test says so"))
			}
		}
		if err := l.AwaitOnce(t.Context()); err != nil {
			if rnd.IntN(2) == 0 || !strings.Contains(err.Error(), "the test says so") {
				t.Fatal(err)
			}
			continue
		}
		// Several at once, some of which share a batch.
		var checks []func()
		for range 1 + rnd.IntN(8) {
			var entries, want []string
			for range 1 + rnd.IntN(6) {
				entries = append(entries, fmt.Sprintf("[%d]", rnd.IntN(300)))
			}
			switch rnd.IntN(3) {
			case 0:
				for _, e := range entries {
					store(e, true)
				}
				ch := give(l, Condition{}, entries...)
				checks = append(checks, func() {
					if o := <-ch; o.err != nil {
						t.Error(o.err)
					}
				})
			case 1:
				wrong := rnd.IntN(2)
				on := expect(uint64(len(all) + wrong))
				if wrong == 0 {
					for _, e := range entries {
						store(e, true)
					}
				}
				ch := give(l, on, entries...)
				checks = append(checks, func() {
					if o := <-ch; (o.err != nil) != (wrong > 0) {
						t.Errorf("with head %d: %v", on.Head, o.err)
					}
				})
			default:
				for _, e := range entries {
					index, seen := store(e, false)
					if seen {
						want = append(want, fmt.Sprint(index, " seen"))
					} else {
						want = append(want, fmt.Sprint(index))
					}
				}
				ch := give(l, once, entries...)
				checks = append(checks, func() {
					if o := <-ch; o.err != nil || !reflect.DeepEqual(places(o), want) {
						t.Errorf("once %v: %v, %v, want %v", entries, places(o), o.err, want)
					}
				})
			}
		}
		for _, check := range checks {
			check()
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	sameEntries(t, readAll(t, l), all)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	checkTables(t, lookupDir(config), all)
}

// checkTables checks the tables in dir against the entries of their log.
func checkTables(t *testing.T, dir string, entries []string) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		log := lookup.Log{Store: segment.StoreID(b[16:32]), Head: uint64(len(entries)), Hash: func(index uint64) (segment.Hash, bool, error) {
			return segment.Sum([]byte(entries[index-1])), true, nil
		}}
		if err := lookup.Check(path, log); err != nil {
			t.Error(err)
		}
	}
}

// spoilTable damages or removes one of the tables in dir.
func spoilTable(t *testing.T, rnd *rand.Rand, dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(paths) == 0 {
		return
	}
	path := paths[rnd.IntN(len(paths))]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch rnd.IntN(3) {
	case 0:
		err = os.Remove(path)
	case 1:
		err = os.WriteFile(path, b[:rnd.IntN(len(b))], 0o600)
	default:
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
