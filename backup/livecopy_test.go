package backup

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
	"tcp-log-server/segment"
)

// The tests here copy the directories of a log that appends, seals, settles and removes as fast as
// it can, with the programs that people use for that. docs/OPERATIONS.md, "Copying a running log",
// says what a copy can contain.

// copier copies the directory from to the directory to, which does not exist.
type copier func(from, to string) *exec.Cmd

func cpCommand(from, to string) *exec.Cmd { return exec.Command("cp", "-a", from, to) }

func tarCommand(from, to string) *exec.Cmd {
	return exec.Command("sh", "-c", `mkdir "$2" && tar -C "$1" -cf - . | tar -C "$2" -xf -`, "sh", from, to)
}

// slowTar copies the parts in the worst order for each pair of them, through a pipe that slows the
// reading down.
func slowTar(from, to string) *exec.Cmd {
	return exec.Command("sh", "-c", `mkdir "$2" && tar -C "$1" -cf - blobs wal segments | { dd bs=3k iflag=fullblock 2>/dev/null; } | tar -C "$2" -xf -`, "sh", from, to)
}

func indexFirst(from, to string) *exec.Cmd {
	return exec.Command("sh", "-c", `mkdir "$2" && cp -a "$1/wal" "$1/blobs" "$1/segments" "$2"`, "sh", from, to)
}

func indexLast(from, to string) *exec.Cmd {
	return exec.Command("sh", "-c", `mkdir "$2" && cp -a "$1/segments" "$1/blobs" "$1/wal" "$2"`, "sh", from, to)
}

func rsyncCommand(from, to string) *exec.Cmd {
	return exec.Command("rsync", "-a", from+"/", to+"/")
}

// vanished matches the programs' messages about a file that they had listed and that was removed
// before they opened it, or that grew while they read it.
var vanished = regexp.MustCompile(`(?m)^(cp: cannot stat '[^']*': No such file or directory|cp: cannot open '[^']*' for reading: No such file or directory|cp: skipping file '[^']*next\.tmp', as it was replaced while being copied|tar: [^:]*: (File removed before we read it|file changed as we read it|File shrank by [0-9]+ bytes; padding with zeros|Cannot (open|stat): No such file or directory)|tar: Exiting with failure status due to previous errors|file has vanished: .*|rsync warning: some files vanished .*)\n`)

// TestLiveCopies: each copy opens with every entry that was acknowledged before it began, after a
// repair if and only if the server asks for one.
func TestLiveCopies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		copy        copier
		rounds      int
		removeAfter time.Duration
		hold        bool
	}{
		{"cp", cpCommand, 60, time.Second, false},
		{"cp, held", cpCommand, 40, 2 * time.Millisecond, true},
		{"tar", tarCommand, 60, time.Second, false},
		{"tar, held", tarCommand, 30, 2 * time.Millisecond, true},
		{"tar, slow", slowTar, 10, time.Second, false},
		{"index first", indexFirst, 10, time.Second, false},
		{"index last", indexLast, 10, time.Second, false},
		{"rsync", rsyncCommand, 20, time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if program := test.copy("", "").Args[0]; program == "rsync" {
				if _, err := exec.LookPath(program); err != nil {
					t.Skip("rsync is not installed")
				}
			}
			seen := make(map[string]int)
			const perLog = 5
			for left := rounds(t, test.rounds); left > 0; left -= perLog {
				liveCopies(t, test.copy, min(left, perLog), test.removeAfter, test.hold, seen)
			}
			t.Logf("of %d copies: %v", rounds(t, test.rounds), seen)
		})
	}
}

// liveCopies makes copies of one log and counts what it finds in them.
func liveCopies(t *testing.T, run copier, copies int, removeAfter time.Duration, hold bool, seen map[string]int) {
	dir, work := tempDir(t), tempDir(t)
	c := fast(dir)
	c.RemoveAfter = removeAfter
	c.LooseMax = -1
	l := open(t, c)
	e := &entries{}
	more, stop := load(t, l, e)
	for range copies {
		more()
		to := filepath.Join(work, "copy")
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		cmd := run(dir, to)
		if hold {
			cmd = exec.Command("flock", append([]string{"-s", filepath.Join(dir, "segments")}, cmd.Args...)...)
		}
		start, before := time.Now(), e.head()
		out, err := cmd.CombinedOutput()
		if took := time.Since(start); !hold && took >= removeAfter {
			seen["too slow"]++ // the copy took longer than it may without a hold
			continue
		}
		if rest := vanished.ReplaceAll(out, nil); len(rest) > 0 || err != nil && len(out) == 0 {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, rest)
		}
		if bytes.Contains(out, []byte(segment.Suffix)) && hold && bytes.Contains(out, []byte("No such file")) {
			t.Errorf("a segment was removed under a hold: %s", out)
		}
		head := openCopy(t, to, e.first(before), seen)
		if head < before {
			t.Fatalf("head is %d, %d were acknowledged before", head, before)
		}
	}
	stop()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// openCopy opens a copy and reads it, after a repair if the server refuses it.
func openCopy(t *testing.T, dir string, want [][]byte, seen map[string]int) uint64 {
	t.Helper()
	l, err := openLog(engine.NewConfig(dir))
	switch {
	case err == nil:
		seen["opened"]++
		l.Close()
	case errors.Is(err, engine.ErrDamaged):
		seen["repaired"]++
		repair(t, dir, seen)
	default:
		t.Fatal(err)
	}
	return readBack(t, dir, want)
}

// repair does what the server says: fsck, then fsck --repair. It loses only entries that were
// appended during the copy.
func repair(t *testing.T, dir string, seen map[string]int) {
	t.Helper()
	var errs []fsck.Finding
	options := fsck.Options{Data: dir, OnFinding: func(f fsck.Finding) {
		if f.Severity == fsck.Error {
			seen[string(f.Kind)]++
			errs = append(errs, f)
		}
	}}
	if sum, err := fsck.Check(t.Context(), options); err != nil {
		t.Fatal(err)
	} else if sum.Errors == 0 {
		_, err := openLog(engine.NewConfig(dir))
		t.Fatalf("the daemon refuses what fsck finds no fault with: %v", err)
	}
	options.OnFinding = nil
	var steps []fsck.Step
	o := fsck.RepairOptions{
		Options: options, LooseMax: engine.DefaultLooseMax, OnStep: func(s fsck.Step) { steps = append(steps, s) },
	}
	res, err := fsck.Repair(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if res.After.Errors > 0 && len(errs) == 1 && errs[0].Kind == fsck.BatchDamaged && tellsNothing(errs[0].Offset) {
		seen["loss accepted"]++
		o.AcceptLoss = true
		if res, err = fsck.Repair(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if res.After.Errors > 0 {
		t.Fatalf("fsck found %+v, took %+v, and left %d errors", errs, steps, res.After.Errors)
	}
}

// tellsNothing reports whether zeros that begin in the batch at offset may be either lost sectors
// or a copy of space that was not written yet. The beginning of the zeros decides, unless the batch
// begins with a sector or its header spans two.
func tellsNothing(offset int64) bool {
	const sector = 512
	return offset%sector == 0 || offset%sector > sector-segment.BatchHeaderSize
}

// TestCopiedWhileItGrows: the open segment is read in pieces while it grows, so a piece of
// preallocated zeros comes before complete batches. Nothing can distinguish that from damage, so
// the server refuses the copy. The entries acknowledged before the copy survive the repair.
func TestCopiedWhileItGrows(t *testing.T) {
	for name, loose := range map[string]int{"packed": 0, "loose": -1} {
		t.Run(name, func(t *testing.T) {
			dir, to := tempDir(t), tempDir(t)
			c := fast(dir)
			c.SegmentSize, c.LooseMax, c.RemoveAfter = 1<<20, loose, time.Hour
			l := open(t, c)
			e := &entries{}
			appendAll(t, l, e, 0, 10, 20)
			before := e.head()

			path := filepath.Join("segments", segment.Name(1))
			in, err := os.Open(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			piece := make([]byte, 64<<10)
			if _, err := in.ReadAt(piece, 0); err != nil {
				t.Fatal(err)
			}
			appendAll(t, l, e, 10, 40, 20)
			settled(t, l, 1)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			cp(t, dir, filepath.Join(to, "copy"))
			out, err := os.OpenFile(filepath.Join(to, "copy", path), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.WriteAt(piece, 0); err != nil {
				t.Fatal(err)
			}
			out.Close()

			seen := make(map[string]int)
			head := openCopy(t, filepath.Join(to, "copy"), e.first(before), seen)
			t.Logf("%d acknowledged before, head is %d, %v", before, head, seen)
			if head < before {
				t.Errorf("head is %d, want %d or more", head, before)
			}
			if seen["repaired"] != 1 {
				t.Errorf("saw %v, want one repaired", seen)
			}
		})
	}
}

// TestCopiedWhileItGrew: as before, but the new data is a single batch, so no header of another
// batch follows the zeros. The index proves some of its entries; the copy has lost those in the
// place of the zeros.
func TestCopiedWhileItGrew(t *testing.T) {
	for _, test := range []struct {
		name    string
		batches int // acknowledged before the copy
		early   int // bytes of the new batch that the copy has before the zeros
		zeros   int // the zeros reach at least to this byte of it, up to a multiple of 512
	}{
		{"no byte of it", 3, 0, 2000},
		{"half of its header", 3, 20, 2000},
		{"some of its body", 3, segment.BatchHeaderSize + 30, 2000},
		{"its header is cut in two", 3, 0, 1},
		{"the first batch of a segment", 0, 0, 2000},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, to := tempDir(t), tempDir(t)
			c := fast(dir)
			c.SegmentSize, c.LooseMax, c.RemoveAfter = 1<<20, 0, time.Hour
			l := open(t, c)
			e := &entries{}
			path := filepath.Join("segments", segment.Name(1))
			end := func() int { // end of the written data
				b, err := os.ReadFile(filepath.Join(dir, path))
				if err != nil {
					t.Fatal(err)
				}
				return len(bytes.TrimRight(b, "\x00"))
			}
			appendAll(t, l, e, 0, test.batches, 20)
			if test.zeros == 1 {
				// One more, so that the next header spans a multiple of 512.
				pad := 512 + 490 - (end()+segment.BatchHeaderSize+len("[\"\"]\n"))%512
				appendLines(t, l, e, []byte("[\""+strings.Repeat("x", pad)+"\"]\n"), 1)
			}
			before, from := e.head(), end()
			appendAll(t, l, e, test.batches, 1, 20)
			settled(t, l, 1)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}

			x := cp(t, dir, filepath.Join(to, "copy"))
			b, err := os.ReadFile(filepath.Join(x, path))
			if err != nil {
				t.Fatal(err)
			}
			clear(b[from+test.early : (from+test.zeros+511)/512*512])
			if err := os.WriteFile(filepath.Join(x, path), b, 0o600); err != nil {
				t.Fatal(err)
			}
			seen := make(map[string]int)
			head := openCopy(t, x, e.first(before), seen)
			if head < before || seen["repaired"] != 1 {
				t.Errorf("%d acknowledged before, head is %d, saw %v", before, head, seen)
			}
		})
	}
}
