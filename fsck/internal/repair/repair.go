// Package repair makes the steps of a repair, one round for each plan that a check
// makes. The caller checks and repairs in turns until there is nothing left to do.
package repair

import (
	"context"
	"errors"
	"fmt"
	"math"

	"tcp-log-server/fsck/internal/plan"
	"tcp-log-server/segment"
)

// Options are the options of a repair; see fsck.RepairOptions.
type Options struct {
	segment.Dirs
	Context                   context.Context // for BlobStore
	From                      string
	AcceptLoss, Prune, DryRun bool
	LooseMax                  int
	OnStep                    func(Step)
	FailAt                    int // for tests: the change, counted from 1, in place of which to fail with ErrInjected
}

// Step is one change that a repair makes; see fsck.Step.
type Step struct {
	Action, File string
	First, Last  uint64
	Message      string
	DryRun       bool
}

// Outcome is the outcome of the steps so far.
type Outcome struct {
	Steps int
	// GivenUp counts the entries that were given up at the end of the log.
	GivenUp uint64
	// Parted is the first index at which the other copy holds another log, 0 if it
	// does not.
	Parted uint64
	// Head is the head that the log would come to, where a dry run knows it.
	Head uint64
}

var (
	// ErrFrom: Options.From cannot be used as another copy.
	ErrFrom = errors.New("no other copy to restore from")
	// ErrNoLog: a directory holds no part of a log.
	ErrNoLog = errors.New("holds no log")
	// ErrInjected is what tests make changes fail with.
	ErrInjected = errors.New("failed on purpose")
)

// Repair is a repair of one log. Not for concurrent use.
type Repair struct{ r repairer }

// New returns a repair that has made no step.
func New(o Options) *Repair { return &Repair{repairer{Options: o}} }

// Outcome returns the outcome of the steps so far.
func (r *Repair) Outcome() Outcome { return r.r.Outcome }

// Round makes the first steps of a plan. Steps that depend on their result are left
// for the next round. The error wraps ErrFrom if From is no copy of the log, and is otherwise the file system's.
func (r *Repair) Round(p *plan.Plan) error { return r.r.round(p) }

// repairer makes the steps of a repair.
type repairer struct {
	Options
	Outcome
	changes int // to the disk, so far
	// copyHead is the head of the other copy, as found first: it may be growing.
	copyHead uint64
	// tablesMade says that the lookup tables have been made again. Once is enough.
	tablesMade bool

	// What follows is of one round.
	plan     *plan.Plan
	id       segment.StoreID
	segs     []*plan.Segment // those of the plan, and those that have been made
	first    uint64
	head     uint64
	index    *plan.Index
	other    *source                 // the other copy, or nil
	trust    uint64                  // through where it holds the same log
	own      *source                 // the log's own segments, once they have been needed
	salvaged map[segment.Hash]string // blobs under another name or moved away, by the hash of their bytes
	searched bool                    // lost+found has been looked through for them
	gone     map[segment.Hash]bool   // entries that are to be recorded as lost
}

// change is called before every change to the disk.
func (r *repairer) change() error {
	if r.changes++; r.changes == r.FailAt {
		return ErrInjected
	}
	return nil
}

// do announces a step and makes it, unless the run is dry.
func (r *repairer) do(s Step, fn func() error) error {
	s.DryRun = r.DryRun
	r.Steps++
	r.OnStep(s)
	if r.DryRun {
		return nil
	}
	if err := fn(); err != nil {
		return fmt.Errorf("%s %s: %w", s.Action, s.File, err)
	}
	return nil
}

// stage is one part of a round.
type stage struct {
	name string
	run  func() error
	// decides says that the later stages depend on its steps, so that a dry run ends
	// with it too.
	decides bool
}

// stages are the parts of a round, in this order: first files in the wrong place,
// then witnesses for the segments, then the segments, by which the index is judged.
// A stage that has made a step ends the round.
func (r *repairer) stages() []stage {
	return []stage{
		{"clean up", r.clean, false},
		{"adopt segments of the other copy", r.adopt, true},
		{"restore blobs", r.restoreBlobs, false},
		{"restore segments", r.restoreSegments, false},
		{"cut the index back", r.cutAhead, false},
		{"extend the log", r.extend, false},
		{"restore the index", r.restoreIndex, false},
		{"add missing records", r.settle, false},
		{"restore lost entries", r.restoreLost, false},
		{"prune blobs", r.prune, false},
		{"rebuild lookup tables", r.rebuildTables, false},
	}
}

func (r *repairer) round(p *plan.Plan) error {
	r.plan, r.id, r.segs, r.first, r.head, r.index = p, p.Store, p.Segments, p.First, p.Head, p.Index
	r.searched = false
	r.salvaged, r.gone = map[segment.Hash]string{}, map[segment.Hash]bool{}
	defer r.index.Close()
	r.own = nil
	defer func() {
		if r.own != nil {
			r.own.close()
		}
	}()
	if r.From != "" {
		if !p.StoreKnown {
			return fmt.Errorf("--from: nothing in %s says which store it belongs to: copy the whole of %s in its place", r.Data, r.From)
		}
		other, err := openSource(r.From, r.id)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFrom, err)
		}
		defer other.close()
		if r.copyHead == 0 {
			r.copyHead = other.head
		}
		other.head = min(other.head, r.copyHead)
		r.other = other
		r.trustCopy()
	}
	if !p.StoreKnown || len(p.Manual) > 0 || p.Foreign || len(p.Links) > 0 && r.other == nil {
		return nil // only a person can tell what belongs here
	}
	before := r.Steps
	for _, s := range r.stages() {
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if r.Steps > before && (!r.DryRun || s.decides) {
			return nil
		}
	}
	return nil
}

// plausible says that so many entries can be recorded as lost at all.
func plausible(first, last uint64) bool { return last-first < math.MaxUint32 }
