package fsck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/fsck/internal/repair"
)

// wreck is a damage to one of the three directories.
type wreck struct {
	name string
	do   func(t testing.TB, dir string)
}

// instead puts something else in the place of a directory.
func instead(part string, put func(t testing.TB, path string)) func(testing.TB, string) {
	return func(t testing.TB, dir string) {
		path := filepath.Join(dir, part)
		must(t, os.RemoveAll(path))
		if put != nil {
			put(t, path)
		}
	}
}

func putFile(t testing.TB, path string) { must(t, os.WriteFile(path, []byte("no directory"), 0o600)) }
func putLink(t testing.TB, path string) { must(t, os.Symlink(path+".gone", path)) }
func putDir(t testing.TB, path string)  { must(t, os.Mkdir(path, 0o700)) }

// segmentWrecks, indexWrecks and blobWrecks are damages that are tried in every
// combination. A negative number in place of a path counts from the end.
var (
	segmentWrecks = []wreck{
		{"segments whole", func(testing.TB, string) {}},
		{"last segment empty", wreckSegment(-1, func(t testing.TB, path string) { must(t, os.Truncate(path, 0)) })},
		{"last segment cut", wreckSegment(-1, func(t testing.TB, path string) { must(t, os.Truncate(path, 130)) })},
		{"last segment altered", wreckSegment(-1, func(t testing.TB, path string) { flip(t, path, 120) })},
		{"last segment without header", wreckSegment(-1, func(t testing.TB, path string) { flip(t, path, 10) })},
		{"last segment gone", wreckSegment(-1, remove)},
		{"last segment a directory", wreckSegment(-1, func(t testing.TB, path string) { remove(t, path); putDir(t, path) })},
		{"first segment gone", wreckSegment(0, remove)},
		{"first segment empty", wreckSegment(0, func(t testing.TB, path string) { must(t, os.Truncate(path, 0)) })},
		{"segments gone but the first", func(t testing.TB, dir string) {
			for _, path := range segmentFiles(t, dir)[1:] {
				remove(t, path)
			}
		}},
		{"segments empty", func(t testing.TB, dir string) {
			for _, path := range segmentFiles(t, dir) {
				must(t, os.Truncate(path, 0))
			}
		}},
		{"no segments", instead("segments", putDir)},
		{"segments missing", instead("segments", nil)},
		{"segments a file", instead("segments", putFile)},
	}
	indexWrecks = []wreck{
		{"index whole", func(testing.TB, string) {}},
		{"index files gone", func(t testing.TB, dir string) { remove(t, walFile(dir)) }},
		{"index cut short", func(t testing.TB, dir string) { must(t, os.Truncate(walFile(dir), 20*49+7)) }},
		{"index altered", func(t testing.TB, dir string) { flip(t, walFile(dir), 3*49+9); flip(t, walFile(dir), 58*49+9) }},
		{"index zeros", func(t testing.TB, dir string) { edit(t, walFile(dir), func(b []byte) []byte { clear(b); return b }) }},
		{"index missing", instead("wal", nil)},
		{"index a link", instead("wal", putLink)},
		{"index a pipe", instead("wal", func(t testing.TB, path string) { makePipe(t, path) })},
	}
	blobWrecks = []wreck{
		{"blobs whole", func(testing.TB, string) {}},
		{"blobs missing", instead("blobs", nil)},
		{"blobs a file", instead("blobs", putFile)},
		{"some blobs gone and some altered", func(t testing.TB, dir string) {
			for index := uint64(1); index < storeEntries; index += 6 {
				if err := os.Remove(blobOf(dir, index)); err != nil && !gone(err) {
					t.Fatal(err)
				}
				if _, err := os.Stat(blobOf(dir, index+3)); err == nil {
					flip(t, blobOf(dir, index+3), 3)
				}
			}
		}},
	}
)

// wreckSegment damages the segment of that number.
func wreckSegment(n int, do func(t testing.TB, path string)) func(testing.TB, string) {
	return func(t testing.TB, dir string) {
		paths := segmentFiles(t, dir)
		do(t, paths[(n+len(paths))%len(paths)])
	}
}

// TestRepairFromAnyDamage damages segments, index and blobs at once, in every
// combination, and repairs from another copy: as long as anything is left that says which
// store it was, everything is restored, and the old files are kept. It tries some of the
// combinations; with WRECK_STEP=1, all.
func TestRepairFromAnyDamage(t *testing.T) {
	want := runCheck(t, Options{Data: newStore(t, both)}).Digest
	n, step := 0, 23
	if testing.Short() {
		step = 97
	}
	if s := os.Getenv("WRECK_STEP"); s != "" {
		var err error
		step, err = strconv.Atoi(s)
		must(t, err)
	}
	for _, s := range []shape{both, removed, packed} {
		for _, a := range segmentWrecks {
			for _, b := range indexWrecks {
				for _, c := range blobWrecks {
					if n++; n%step != 0 {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%s/%s", s, a.name, b.name, c.name), func(t *testing.T) {
						t.Parallel()
						dir := newStore(t, s)
						a.do(t, dir)
						b.do(t, dir)
						c.do(t, dir)
						repairFrom(t, dir, s, want)
					})
				}
			}
		}
	}
}

// repairFrom repairs the store in dir from a good copy, and checks that nothing is
// missing afterwards.
func repairFrom(t *testing.T, dir string, s shape, digest string) {
	t.Helper()
	was := contents(t, dir)
	var said bytes.Buffer
	p := NewPrinter(&said, false)
	o := RepairOptions{Options: Options{Data: dir, OnFinding: p.Finding}, From: newCopy(t, dir, s), LooseMax: s.config(dir).LooseMax, OnStep: p.Step}
	before := treeSum(t, o.From)
	res, err := Repair(context.Background(), o)
	if errors.Is(err, ErrNoLog) || err != nil && strings.Contains(err.Error(), "nothing in") {
		return // nothing is left of it
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	checkKept(t, was, contents(t, dir))
	if treeSum(t, o.From) != before {
		t.Error("the repair changed the copy")
	}
	if code := res.ExitCode(); code == ExitErrors || res.Outcome.Head != storeEntries || res.After.Digest != digest {
		t.Errorf("exit code %d, %+v\n%s", code, res, &said)
		return
	}
	checkServed(t, s.config(dir), storeEntries, nil)
	if s == packed {
		if n := runCheck(t, Options{Data: dir}).Blobs; n > 0 {
			t.Errorf("%d blobs were made of a log that has none\n%s", n, &said)
		}
	}
}

// TestExtend restores what a repair without a copy has given up.
func TestExtend(t *testing.T) {
	for _, s := range []shape{both, packed} {
		dir := newStore(t, s)
		must(t, os.Truncate(segmentFiles(t, dir)[2], 0))
		must(t, os.RemoveAll(filepath.Join(dir, "wal")))
		// Nothing is left to prove the entries of the last segment.
		if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}}); code != ExitErrors {
			t.Fatalf("%s: exit code %d\n%s", s, code, said)
		}
		res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true})
		if code != ExitCorrected || res.Outcome.Head != 54 {
			t.Fatalf("%s: exit code %d, %+v\n%s", s, code, res.Outcome, said)
		}
		checkServed(t, s.config(dir), 54, nil)
		res, code, said = runRepair(t, RepairOptions{Options: Options{Data: dir}, From: newCopy(t, dir, s)})
		if code != ExitClean || res.Outcome.Head != storeEntries || res.After.Errors > 0 {
			t.Errorf("%s: exit code %d, %+v\n%s", s, code, res.Outcome, said)
		}
		checkServed(t, s.config(dir), storeEntries, nil)
	}
}

// TestExtendFromRunning repairs from a log that grows as it is read: the entries that it
// held when the repair began are restored, and the repair ends.
func TestExtendFromRunning(t *testing.T) {
	live, dir := newStore(t, packed), newStore(t, packed)
	must(t, os.RemoveAll(segmentFiles(t, dir)[2]))
	must(t, os.RemoveAll(filepath.Join(dir, "wal")))
	l, err := engine.Open(packed.config(live))
	must(t, err)
	next := uint64(storeEntries + 1)
	o := RepairOptions{Options: Options{Data: dir}, From: live, OnStep: func(Step) {
		appendEntries(t, l, next, next+9)
		next += 10
	}}
	res, err := Repair(context.Background(), o)
	must(t, err)
	must(t, l.Close())
	if res.Outcome.Head != storeEntries || res.After.Errors > 0 || next == storeEntries+1 {
		t.Errorf("%+v", res)
	}
	checkServed(t, packed.config(dir), storeEntries, nil)
}

// TestPartedCopy repairs from a copy that was appended to separately: of the entries
// after the last one that both have, only those that hashes prove are taken.
func TestPartedCopy(t *testing.T) {
	for _, name := range []string{"index whole", "index gone"} {
		dir := newStore(t, packed)
		other := newCopy(t, dir, packed)
		for n, d := range []string{dir, other} {
			l, err := engine.Open(packed.config(d))
			must(t, err)
			for i := range 40 + 40*n {
				done := make(chan error, 1)
				l.Append([]byte(fmt.Sprintf("[%d,%d]\n", n, i)), 1, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
				must(t, <-done)
			}
			await(t, "the store to settle", func() bool { return l.Stats().Settled == l.Stats().Head })
			must(t, l.Close())
		}
		// One segment from before they parted, and one from afterwards.
		paths := segmentFiles(t, dir)
		if len(paths) < 5 {
			t.Fatalf("there are %d segments", len(paths))
		}
		remove(t, paths[1])
		remove(t, paths[3])
		if name == "index gone" {
			remove(t, walFile(dir))
		}
		res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, From: other})
		if code != ExitErrors || res.Outcome.Parted != storeEntries+1 || res.Outcome.Head != 100 {
			t.Fatalf("%s: exit code %d, %+v\n%s", name, code, res, said)
		}
		_, code, said = runRepair(t, RepairOptions{Options: Options{Data: dir}, From: other, AcceptLoss: true})
		if code != ExitCorrected {
			t.Fatalf("%s: with the loss accepted: exit code %d\n%s", name, code, said)
		}
		entries, errs, err := served(t, packed.config(dir))
		if err != nil || len(entries)+len(errs) != 100 || len(errs) == 0 || len(errs) > 40 {
			t.Fatalf("%s: %d entries, %v, %v", name, len(entries), errs, err)
		}
		for index, text := range entries {
			if index <= storeEntries && text != entryText(index) || index > storeEntries && text != fmt.Sprintf("[0,%d]", index-storeEntries-1) {
				t.Errorf("%s: the daemon serves %s at %d", name, text, index)
			}
		}
	}
}

// TestLostComesBack records entries as lost, and then repairs from a copy that has them:
// all of them are restored, whether they were loose or packed.
func TestLostComesBack(t *testing.T) {
	for _, f := range fixtures {
		if len(f.lost) == 0 || f.through > storeEntries {
			continue
		}
		t.Run(string(f.kind)+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			dir := newStore(t, f.shape)
			f.do(t, dir)
			_, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true})
			if code != ExitCorrected {
				t.Fatalf("exit code %d\n%s", code, said)
			}
			checkServed(t, f.shape.config(dir), storeEntries, f.lost)
			res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, From: newCopy(t, dir, f.shape)})
			if code != ExitClean || res.After.Lost > 0 || res.After.Errors > 0 {
				t.Fatalf("exit code %d, %+v\n%s", code, res.After, said)
			}
			checkServed(t, f.shape.config(dir), storeEntries, nil)
			if res, _, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, From: newCopy(t, dir, f.shape)}); res.Outcome.Steps > 0 {
				t.Errorf("and then again:\n%s", said)
			}
		})
	}
}

// TestLostInterrupted makes each change fail while lost entries are restored.
func TestLostInterrupted(t *testing.T) {
	for at := 1; ; at++ {
		dir := newStore(t, removed)
		remove(t, blobOf(dir, 4))
		flip(t, blobOf(dir, 9), 1)
		if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true}); code != ExitCorrected {
			t.Fatalf("exit code %d\n%s", code, said)
		}
		o := RepairOptions{Options: Options{Data: dir}, From: newCopy(t, dir, removed), LooseMax: engine.DefaultLooseMax, failAt: at}
		_, err := Repair(context.Background(), o)
		if err != nil && !errors.Is(err, repair.ErrInjected) {
			t.Fatal(err)
		}
		o.failAt = 0
		if res, code, said := runRepair(t, o); code != ExitClean || res.After.Lost > 0 {
			t.Fatalf("failed at change %d, then: exit code %d, %+v\n%s", at, code, res.After, said)
		}
		checkServed(t, removed.config(dir), storeEntries, nil)
		if err == nil {
			return
		}
	}
}
