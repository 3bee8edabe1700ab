package fsck

import (
	"context"
	"errors"
	"fmt"
	"os"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// RepairOptions are the options of a repair.
type RepairOptions struct {
	Options
	// From is the directory of another copy of the log, of any age, from which
	// damaged and missing entries are taken. It may be empty.
	From string
	// AcceptLoss records entries that cannot be restored as lost: they keep their indices, and
	// reads of them return an error.
	AcceptLoss bool
	// Prune moves blobs that belong to no entry to lost+found. It is refused with a BlobStore.
	Prune bool
	// DryRun changes nothing and takes no lock: steps are only announced. Steps that only become
	// possible after the first ones are not announced.
	DryRun bool
	// LooseMax is the server's limit: how many blob files there may be when entries that the
	// index lacks are settled.
	LooseMax int
	// OnStep receives every step before it is made. It may be nil.
	OnStep func(Step)

	failAt int // for tests: the change, counted from 1, that fails instead
}

// Step is one change that a repair makes, and Outcome the result of all steps.
type (
	Step    = repair.Step
	Outcome = repair.Outcome
)

// Result is the result of a repair: the checks before and after it, and its steps.
type Result struct {
	Before, After Summary
	Outcome       Outcome
}

// ErrFrom: RepairOptions.From cannot be used as another copy.
var ErrFrom = repair.ErrFrom

// roundsMax bounds how often a repair checks and repairs again. Each round has made a step, and
// steps fix things that later rounds build on.
const roundsMax = 1000

// Repair corrects the errors that a check finds, as far as it can, under the exclusive lock. The
// error is segment.ErrLocked while a server runs, wraps ErrFrom if From is not a copy of the
// log, and is otherwise one of Check or of the file system. After an error the repair can be run
// again.
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
	if o.Prune && o.BlobStore != nil {
		return res, fmt.Errorf("%s: blobs that belong to no entry are not removed there: only those of a directory can be moved to lost+found", o.BlobStore)
	}
	if o.From == "" { // a repair from a copy can rebuild them
		if err := o.dirsExist(); err != nil {
			return res, err
		}
	}
	if !o.DryRun {
		lock, err := segment.LockStore(o.Data)
		if err != nil {
			return res, err
		}
		defer lock.Close()
		var claimed os.FileInfo
		for _, dir := range []string{options.WAL, options.Blobs} {
			fi, err := os.Stat(dir)
			if dir == segment.Memory || err != nil || !fi.IsDir() || os.SameFile(fi, claimed) {
				continue // the check reports what is wrong with it
			}
			if err := lock.Claim(dir); err != nil {
				return res, err
			}
			claimed = fi
		}
	}
	options.Quick, options.alone = false, !o.DryRun
	r := &repair.Repair{Options: repair.Options{
		Context: ctx, Dirs: options.dirs(),
		From: o.From, AcceptLoss: o.AcceptLoss, Prune: o.Prune, DryRun: o.DryRun, LooseMax: o.LooseMax,
		OnStep: o.OnStep, FailAt: o.failAt,
	}}
	for round := range roundsMax {
		sum, p, err := check(ctx, options)
		if err != nil {
			return res, err
		}
		if round == 0 {
			res.Before, options.OnFinding = sum, nil
		}
		res.After = sum
		if p.Archive != "" {
			return res, fmt.Errorf("%w at %s: nothing has been repaired: run `tcp-log-server restore %s DIR` to rebuild the log with an intact index; entries that are only here are in the segments", ErrArchived, p.Archive, p.Archive)
		}
		before := r.Outcome.Steps
		if err := r.Round(p); err != nil {
			return res, err
		}
		if r.Outcome.Steps == before || o.DryRun {
			break
		}
	}
	res.Outcome = r.Outcome
	res.Outcome.Head, res.Outcome.DryRun = max(res.After.Entries, r.Outcome.Head), o.DryRun
	if r.Outcome.Steps > 0 && !o.DryRun && res.After.Errors > 0 {
		// Find what is left.
		options.OnFinding = o.OnFinding
		res.After, _, err = check(ctx, options)
	}
	return res, err
}

// ErrArchived: the index has lost records of entries that are only in the archive of the log, so
// a repair would give those entries up.
var ErrArchived = errors.New("the index is damaged where the entries are in the archive only,")

// checkFrom refuses a copy that is not a directory, or is the log itself.
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

// ExitCode returns the exit code of the command after the repair.
func (r Result) ExitCode() int {
	switch {
	case r.After.Errors > 0:
		return ExitErrors
	case r.Before.Errors > 0:
		return ExitCorrected
	}
	return ExitClean
}
