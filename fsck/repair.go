package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// RepairOptions say what a repair may do.
type RepairOptions struct {
	Options
	// From is the directory of another copy of the log, of any age: what is
	// damaged or missing is taken from there. It may be empty.
	From string
	// AcceptLoss records entries that cannot be restored as lost: they keep their
	// indices, and reads of them answer an error.
	AcceptLoss bool
	// Prune moves blobs that no entry has to lost+found.
	Prune bool
	// DryRun changes nothing and takes no lock: steps are only announced. Those
	// that would follow from the first ones are not.
	DryRun bool
	// LooseMax is the daemon's: how many blob files there may be when entries
	// that the index lacks are settled.
	LooseMax int
	// OnStep gets every step before it is made. It may be nil.
	OnStep func(Step)

	failAt int // for tests: the change, counted from 1, in place of which to fail
}

// Result is what a repair has come to.
type Result struct {
	Before, After Summary
	Outcome       Outcome
}

// ErrFrom: RepairOptions.From cannot be used as another copy.
var ErrFrom = errors.New("no other copy to restore from")

// errInjected is what tests make changes fail with.
var errInjected = errors.New("failed on purpose")

// roundsMax bounds how often a repair checks and repairs again. Each round has
// made a step, and steps put right what later rounds build on.
const roundsMax = 1000

// Repair puts right what a check finds, as far as it can, under the exclusive
// lock. The error is segment.ErrLocked while a daemon runs, wraps ErrFrom where the
// other copy cannot be one, and is otherwise one of Check or of the file system: a
// repair that it ended can be made again.
func Repair(ctx context.Context, o RepairOptions) (res Result, err error) {
	options, err := o.validate()
	if err != nil {
		return res, err
	}
	if o.OnStep == nil {
		o.OnStep = func(Step) {}
	}
	if err := o.checkFrom(); err != nil {
		return res, err
	}
	if o.From == "" { // which can make them again
		if err := o.there(); err != nil {
			return res, err
		}
	}
	if !o.DryRun {
		lock, err := segment.Lock(filepath.Join(o.Data, "LOCK"))
		if err != nil {
			return res, err
		}
		defer lock.Close()
	}
	o.Quick = false
	quiet := o.Options
	quiet.Quick, quiet.OnFinding, quiet.OnProgress = false, nil, options.OnProgress
	options.Quick, options.alone, quiet.alone = false, !o.DryRun, !o.DryRun
	r := &repairer{RepairOptions: o}
	r.WAL, r.Blobs = options.WAL, options.Blobs
	for round := 0; round < roundsMax; round++ {
		var sum Summary
		if sum, r.plan, err = check(ctx, options); err != nil {
			return res, err
		}
		if round == 0 {
			res.Before, options = sum, quiet
		}
		res.After, res.Outcome.Head = sum, sum.Entries
		before := r.steps
		if err := r.round(sum); err != nil {
			return res, err
		}
		if r.steps == before || r.DryRun {
			break
		}
	}
	res.Outcome.Steps, res.Outcome.GivenUp, res.Outcome.Parted, res.Outcome.DryRun = r.steps, r.givenUp, r.parted, r.DryRun
	res.Outcome.Head = max(res.Outcome.Head, r.wouldEnd)
	if r.steps > 0 && !r.DryRun && res.After.Errors > 0 {
		// Say what is left.
		options.OnFinding = o.OnFinding
		res.After, _, err = check(ctx, options)
	}
	return res, err
}

// checkFrom refuses another copy that is none, or this one.
func (o RepairOptions) checkFrom() error {
	if o.From == "" {
		return nil
	}
	other, err := os.Stat(o.From)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrFrom, err)
	case !other.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrFrom, o.From)
	}
	if own, err := os.Stat(o.Data); err == nil && os.SameFile(own, other) {
		return fmt.Errorf("%w: %s is the directory that is to be repaired", ErrFrom, o.From)
	}
	return nil
}

// repairer makes the steps of a repair.
type repairer struct {
	RepairOptions
	plan    *plan
	id      segment.StoreID
	segs    []*seg
	first   uint64
	head    uint64
	index   *records
	other   *source
	reach   uint64       // the head of the other copy, as found first: it may be growing
	trust   uint64       // through where it holds the same log
	parted  uint64       // where it begins to hold another one, 0 if it does not
	own     *source      // the log's own segments, once they have been needed
	sync    func() error // makes blobs durable before the records that name them
	steps   int
	changes int
	givenUp uint64
	// wouldEnd is the head that the log would come to, where a dry run knows it.
	wouldEnd uint64

	salvaged map[segment.Hash]string // blobs under another's name or moved away, by what they hash to
	searched bool                    // lost+found has been looked through for them
	gone     map[segment.Hash]bool   // entries that are to be recorded as lost
}

// change is called before every change to the disk.
func (r *repairer) change() error {
	if r.changes++; r.changes == r.failAt {
		return errInjected
	}
	return nil
}

// do announces a step and makes it, unless the run is dry.
func (r *repairer) do(s Step, fn func() error) error {
	s.DryRun = r.DryRun
	r.steps++
	r.OnStep(s)
	if r.DryRun {
		return nil
	}
	if err := fn(); err != nil {
		return fmt.Errorf("%s %s: %w", s.Action, s.File, err)
	}
	return nil
}

// round makes the steps that the plan of one check allows. What depends on the
// first ones is left for the next round.
func (r *repairer) round(sum Summary) error {
	c := r.plan.checker
	r.id, r.segs, r.first, r.head = c.id, c.segs, c.first, c.head
	r.searched = false
	r.salvaged, r.gone = map[segment.Hash]string{}, map[segment.Hash]bool{}
	r.index = c.listIndex(false)
	defer r.index.Close()
	r.own = nil
	defer func() {
		if r.own != nil {
			r.own.close()
		}
	}()
	if r.From != "" {
		if !c.idKnown {
			return fmt.Errorf("--from: nothing in %s says which store it belongs to: copy the whole of %s in its place", r.Data, r.From)
		}
		other, err := openSource(r.From, r.id)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFrom, err)
		}
		defer other.close()
		if r.reach == 0 {
			r.reach = other.head
		}
		other.head = min(other.head, r.reach)
		r.other = other
		r.trustCopy()
	}
	if !c.idKnown || len(r.plan.hands) > 0 || r.plan.foreign || len(r.plan.links) > 0 && r.other == nil {
		return nil // only a person can tell what belongs here
	}
	// In this order: what is in the wrong place first, then witnesses for the
	// segments, then the segments, by which the index is judged.
	start := r.steps
	adopt := func() error { return r.adopt(sum.Blobs) }
	restoreBlobs := func() error { return r.restoreBlobs(sum.Blobs) }
	for i, part := range []func() error{
		r.clean, adopt, restoreBlobs, r.restoreSegments, r.cutAhead, r.extend, r.restoreIndex, r.settle, r.restoreLost, r.prune,
	} {
		if err := part(); err != nil {
			return err
		}
		if r.steps > start && (!r.DryRun || i == 1) {
			return nil
		}
	}
	return nil
}

// clean takes out of the way what is in the wrong place.
func (r *repairer) clean() error {
	wrong := r.plan.wrong
	if r.other != nil {
		wrong = append(wrong, r.plan.links...)
	}
	for _, path := range wrong {
		if err := r.takeAway(path); err != nil {
			return err
		}
	}
	for _, s := range r.segs {
		if s.Header.First > 0 && s.Header.First != s.First && s.Header.Store == r.id {
			if err := r.rightName(s.Path, s.Header.First); err != nil {
				return err
			}
		}
	}
	for _, path := range r.plan.strays {
		if h, ok := readHeader(path); ok && h.Store == r.id && filepath.Dir(path) == filepath.Clean(segmentDir(r.Data)) && filepath.Base(path) != segment.NextName && filepath.Base(path) != segment.RepairName {
			if err := r.rightName(path, h.First); err != nil {
				return err
			}
			continue
		}
		err := r.do(Step{Action: "move", File: path, Message: "to lost+found: it is no part of the log"}, func() error {
			return r.move(path, "no part of the log")
		})
		if err != nil {
			return err
		}
	}
	for _, path := range r.plan.residues {
		err := r.do(Step{Action: "move", File: path, Message: "to lost+found: it is empty, and the segment before it has its indices"}, func() error {
			return r.move(path, "a segment that was begun and never used")
		})
		if err != nil {
			return err
		}
	}
	for path, end := range r.plan.tails {
		message, why := "what is behind it was never acknowledged", "a write that was cut short"
		if r.givenUp > 0 {
			message, why = "no entry can be read behind it", "what was left of entries that were given up"
		}
		err := r.do(Step{Action: "cut", File: path, Message: fmt.Sprintf("at offset %d: %s", end, message)}, func() error {
			return r.cut(path, end, why)
		})
		if err != nil {
			return err
		}
	}
	return r.mark()
}

// takeAway moves what is no file away. A link to a file becomes that file.
func (r *repairer) takeAway(path string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	to, err := os.Stat(path)
	if fi.Mode()&fs.ModeSymlink == 0 || err != nil || !to.Mode().IsRegular() {
		return r.do(Step{Action: "move", File: path, Message: "to lost+found: it is " + typeName(fi.Mode())}, func() error {
			return r.move(path, "was "+typeName(fi.Mode()))
		})
	}
	target, _ := os.Readlink(path)
	return r.do(Step{Action: "copy", File: path, Message: "in place of the link to " + target}, func() error {
		tmp := filepath.Join(filepath.Dir(path), segment.RepairName)
		if err := copyFile(path, tmp); err != nil {
			return err
		}
		return r.rename(tmp, path)
	})
}

// copyFile copies the file that a link at from leads to, durably, into the file to.
func copyFile(from, to string) error {
	in, err := segment.OpenRegular(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// rightName gives a segment the name that its header says, or moves it away when
// another has that name rightly.
func (r *repairer) rightName(path string, first uint64) error {
	want := filepath.Join(segmentDir(r.Data), segment.Name(first))
	if _, err := os.Lstat(want); gone(err) {
		return r.do(Step{Action: "rename", File: path, First: first, Message: "to " + want + ", which its header says"}, func() error {
			return r.rename(path, want)
		})
	}
	if h, ok := readHeader(want); ok && h.First != first {
		// It is misplaced as well: make way. The next round goes on from there.
		return r.do(Step{Action: "rename", File: path, First: first, Message: "out of the way, for the segment that has this name"}, func() error {
			return r.rename(path, path+".misplaced")
		})
	}
	return r.do(Step{Action: "move", File: path, First: first, Message: "to lost+found: its header says " + segment.Name(first) + ", which there is"}, func() error {
		return r.move(path, "the header says that it is "+segment.Name(first))
	})
}

// readHeader reads the header of what may be a segment.
func readHeader(path string) (segment.Header, bool) {
	if fi, err := os.Lstat(path); err != nil || !fi.Mode().IsRegular() {
		return segment.Header{}, false
	}
	b := make([]byte, segment.HeaderSize)
	n, err := readFile(path, b)
	if err != nil {
		return segment.Header{}, false
	}
	h, err := segment.ParseHeader(b[:n])
	return h, err == nil
}

// mark marks directories that have lost their marks.
func (r *repairer) mark() error {
	for _, dir := range []string{r.WAL, r.Blobs} {
		if dir == segment.Memory {
			continue
		}
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if _, ok, err := segment.FindMark(dir); ok || err != nil {
			continue
		}
		err := r.do(Step{Action: "mark", File: dir, Message: "as part of store " + r.id.String()}, func() error {
			if err := r.change(); err != nil {
				return err
			}
			return segment.Mark(dir, r.id)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// plausible says that so many entries can be recorded as lost at all.
func plausible(first, last uint64) bool { return last-first < math.MaxUint32 }

// ExitCode is what the command exits with after the repair.
func (r Result) ExitCode() int {
	switch {
	case r.After.Errors > 0:
		return ExitErrors
	case r.Before.Errors > 0:
		return ExitCorrected
	}
	return ExitClean
}
