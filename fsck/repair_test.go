package fsck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// runRepair repairs a store and returns the exit code for the result.
func runRepair(t testing.TB, o RepairOptions) (Result, int, string) {
	t.Helper()
	var said bytes.Buffer
	p := NewPrinter(&said, false)
	o.OnFinding, o.OnStep = p.Finding, p.Step
	if o.LooseMax == 0 {
		o.LooseMax = engine.DefaultLooseMax
	}
	res, err := Repair(context.Background(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	return res, res.ExitCode(), said.String()
}

// checkServed opens the log as a server does and compares what it serves: all entries
// through the head, except the lost ones, which are errors.
func checkServed(t testing.TB, c engine.Config, through uint64, lost []uint64) {
	t.Helper()
	entries, errs, err := served(t, c)
	if err != nil {
		t.Errorf("the daemon refuses: %v", err)
		return
	}
	for index := uint64(1); index <= through; index++ {
		text, ok := entries[index]
		switch {
		case slices.Contains(lost, index):
			if !errors.Is(errs[index], engine.ErrLost) {
				t.Errorf("the daemon serves %q, %v at %d, want %v", text, errs[index], index, engine.ErrLost)
			}
		case !ok || text != entryText(index):
			t.Errorf("the daemon serves %q, %v at %d, want %q", text, errs[index], index, entryText(index))
		}
	}
	if n := uint64(len(entries) + len(errs)); n != through {
		t.Errorf("the daemon has %d entries, want %d", n, through)
	}
}

// TestRepairFixtures repairs every fixture: plainly, then with the loss
// accepted, and from another copy.
func TestRepairFixtures(t *testing.T) {
	for _, f := range fixtures {
		t.Run(string(f.kind)+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			through := uint64(storeEntries)
			if f.through > 0 {
				through = f.through
			}
			dir := newStore(t, f.shape)
			f.do(t, dir)
			damaged := filepath.Join(t.TempDir(), "damaged")
			copyDamaged(t, dir, damaged, f)

			before := treeSum(t, dir)
			if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, DryRun: true}); treeSum(t, dir) != before {
				t.Errorf("a dry run changed something, exit code %d:\n%s", code, said)
			}
			was := contents(t, dir)
			res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}})
			checkKept(t, was, contents(t, dir))
			if code != f.repair {
				t.Fatalf("plain: exit code %d, want %d:\n%s", code, f.repair, said)
			}
			if given := uint64(storeEntries) - min(through, storeEntries); res.Outcome.GivenUp != given {
				t.Errorf("plain: gave up %d entries, want %d", res.Outcome.GivenUp, given)
			}
			again, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true})
			want := f.accept
			if f.repair != ExitErrors {
				want = ExitClean
				if again.Outcome.Steps > 0 && f.kind != EntryLost {
					t.Errorf("a second repair makes steps:\n%s", said)
				}
			}
			if code != want {
				t.Fatalf("with the loss accepted: exit code %d, want %d:\n%s", code, want, said)
			}
			if want == ExitErrors {
				return
			}
			c := runCheck(t, Options{Data: dir})
			if c.Errors > 0 || c.Lost != uint64(len(f.lost)) || c.Digest == "" || c.Entries != through {
				t.Errorf("after the repair: %+v\n%s", c.Summary, c)
			}
			checkServed(t, f.shape.config(dir), through, f.lost)
			if c := runCheck(t, Options{Data: dir}); c.Errors > 0 {
				t.Errorf("after the daemon ran:\n%s", c)
			}

			if f.repair != ExitErrors {
				return
			}
			_, code, said = runRepair(t, RepairOptions{Options: Options{Data: damaged}, From: newCopy(t, dir, f.shape)})
			if code != ExitCorrected {
				t.Fatalf("from another copy: exit code %d, want %d:\n%s", code, ExitCorrected, said)
			}
			checkServed(t, f.shape.config(damaged), storeEntries, nil)
		})
	}
}

// contents returns the bytes of all files below dir, by their names.
func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range names(t, dir) {
		path := filepath.Join(dir, name)
		if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() {
			all[name] = readStart(t, path)
		}
	}
	return all
}

// checkKept verifies that a repair has destroyed nothing: every file is still
// there as it was, under whatever name, or in the two parts it was cut into.
func checkKept(t testing.TB, was, is map[string][]byte) {
	t.Helper()
	for name, old := range was {
		kept := false
		for _, now := range is {
			kept = kept || bytes.Equal(old, now)
			if rest, ok := bytes.CutPrefix(old, now); ok {
				for _, other := range is {
					kept = kept || bytes.Equal(rest, other)
				}
			}
		}
		if !kept {
			t.Errorf("the repair has destroyed %s", name)
		}
	}
}

// copyDamaged copies a store that may hold pipes and links.
func copyDamaged(t testing.TB, from, to string, f fixture) {
	t.Helper()
	copyTree(t, templatePath(t, f.shape), to)
	f.do(t, to)
}

// newCopy returns another copy of the good store of the shape.
func newCopy(t testing.TB, _ string, s shape) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	copyTree(t, templatePath(t, s), dir)
	return dir
}

func templatePath(t testing.TB, s shape) string {
	t.Helper()
	newStore(t, s)
	templates.Lock()
	defer templates.Unlock()
	return templates.built[s]
}

// TestRepairInterrupted makes every change of every repair fail in turn, and repairs
// again: the result must be the same.
func TestRepairInterrupted(t *testing.T) {
	for i, f := range fixtures {
		if f.repair == ExitErrors && f.accept == ExitErrors {
			continue
		}
		t.Run(string(f.kind)+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			through := uint64(storeEntries)
			if f.through > 0 {
				through = f.through
			}
			for at := 1 + i%every(11); ; at += every(11) {
				dir := filepath.Join(t.TempDir(), "data")
				copyDamaged(t, "", dir, f)
				o := RepairOptions{Options: Options{Data: dir}, AcceptLoss: true, LooseMax: engine.DefaultLooseMax, failAt: at}
				_, err := Repair(context.Background(), o)
				if err != nil && !errors.Is(err, repair.ErrInjected) {
					t.Fatal(err)
				}
				interrupted := err != nil
				_, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true})
				if code == ExitErrors {
					t.Fatalf("failed at change %d, then: exit code %d\n%s", at, code, said)
				}
				if !interrupted || at%3 != 0 {
					checkServed(t, f.shape.config(dir), through, f.lost)
				}
				if !interrupted {
					break
				}
				os.RemoveAll(dir)
			}
		})
	}
}

// TestRepairedFooter has a segment with other batches than before, as a repair leaves it:
// its footer has the checksum that the next segment refers to, and that of its own last
// batch. Both are needed, and both are checked.
func TestRepairedFooter(t *testing.T) {
	dir := newStore(t, packed)
	path := segmentFiles(t, dir)[0]
	copySegment(t, path, func(h *segment.Header) { h.Created++ }, nil)
	if f := footer(t, path); !f.Repaired || f.Own == f.Sum {
		t.Fatalf("the footer is %+v", f)
	}
	if c := runCheck(t, Options{Data: dir}); c.Errors > 0 {
		t.Errorf("a repaired segment:\n%s", c)
	}
	checkServed(t, packed.config(dir), storeEntries, nil)
	for _, at := range []int{44, 48} { // the flag, and the checksum
		edit(t, path, func(b []byte) []byte {
			f := b[len(b)-segment.FooterSize:]
			f[at] ^= 1
			binary.LittleEndian.PutUint32(f[60:], segment.Checksum(f[:60]))
			return b
		})
		if c := runCheck(t, Options{Data: dir}); !c.has(SegmentTable) {
			t.Errorf("byte %d of the footer is altered, found only\n%s", at, c)
		}
		if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}}); code != ExitCorrected {
			t.Errorf("exit code %d\n%s", code, said)
		}
	}
	checkServed(t, packed.config(dir), storeEntries, nil)
}
