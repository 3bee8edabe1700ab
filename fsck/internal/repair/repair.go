// Package repair carries out repairs, one round for each plan that a check makes. The
// caller alternates checks and repairs until there is nothing left to do.
package repair

import (
	"context"
	"errors"
	"fmt"
	"math"

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
	FailAt                    int // for tests: the change, counted from 1, that fails with ErrInjected instead
}

// Step is one change that a repair makes, printed before it is made.
type Step struct {
	// Action is one of the words in docs/FSCK.md.
	Action string `json:"action"`
	// File is the file or directory that changes.
	File string `json:"file"`
	// First and Last are the affected indices, 0 if there are none.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	// Message is for people: what is done and why.
	Message string `json:"message"`
	// DryRun says that it is not done.
	DryRun bool `json:"dry_run"`
}

// Outcome is the outcome of a repair.
type Outcome struct {
	// Steps is how many steps were made, or would have been.
	Steps int `json:"steps"`
	// GivenUp is how many entries were given up at the end of the log, where the index
	// had records without content; Head is the head after that.
	GivenUp uint64 `json:"given_up"`
	Head    uint64 `json:"head"`
	// Parted is the first index at which the other copy holds another log than this one,
	// 0 if there is none: from there on, only entries that the hashes in the index prove
	// were taken from it.
	Parted uint64 `json:"parted,omitempty"`
	DryRun bool   `json:"dry_run"`
}

var (
	// ErrFrom: Options.From cannot be used as another copy.
	ErrFrom = errors.New("no other copy to restore from")
	// ErrNoLog: a directory holds no part of a log.
	ErrNoLog = errors.New("holds no log")
	// ErrInjected is the error of changes that tests make fail.
	ErrInjected = errors.New("failed on purpose")
)

// Repair is a repair of one log. Not for concurrent use.
type Repair struct {
	Options
	// Outcome covers the steps so far. Its Head is set where a dry run knows it.
	Outcome Outcome

	changes    int    // on the disk, so far
	copyHead   uint64 // the head of the other copy, as found first: it may be growing
	tablesMade bool   // the lookup tables have been rebuilt: once is enough

	// The rest belongs to one round.
	plan     *Plan
	id       segment.StoreID
	segs     []*Segment // those of the plan, and those that have been made
	first    uint64
	head     uint64
	index    *Index
	blobs    segment.BlobStore       // open for changes, once needed
	other    *source                 // the other copy, or nil
	trust    uint64                  // through which it holds the same log
	own      *source                 // the log's own segments, once needed
	salvaged map[segment.Hash]string // blobs under another name or moved away, by the hash of their bytes
	searched bool                    // lost+found has been searched for them
	gone     map[segment.Hash]bool   // entries that are to be recorded as lost
}

// stage is one part of a round.
type stage struct {
	name string
	run  func() error
	// decides says that the later stages depend on its steps, so that a dry run ends with
	// it too.
	decides bool
}

// stages are the parts of a round, in this order: first files in the wrong place, then
// witnesses for the segments, then the segments, by which the index is judged. A stage
// that has made a step ends the round.
func (r *Repair) stages() []stage {
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

// Round makes the first steps of a plan. Steps that depend on their result are left for
// the next round. The error wraps ErrFrom if From is not a copy of the log, and is
// otherwise the file system's.
func (r *Repair) Round(p *Plan) error {
	r.plan, r.id, r.segs, r.first, r.head, r.index = p, p.Store, p.Segments, p.First, p.Head, p.Index
	r.salvaged, r.searched, r.gone = map[segment.Hash]string{}, false, map[segment.Hash]bool{}
	defer r.close()
	if r.From != "" {
		if !p.StoreKnown {
			return fmt.Errorf("--from: nothing in %s says which store it belongs to: copy the whole of %s in its place", r.Data, r.From)
		}
		other, err := openSource(r.From, r.id)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFrom, err)
		}
		r.other = other
		if r.copyHead == 0 {
			r.copyHead = other.head
		}
		other.head = min(other.head, r.copyHead)
		r.trustCopy()
	}
	if !p.StoreKnown || len(p.Manual) > 0 || p.Foreign || len(p.Links) > 0 && r.other == nil {
		return nil // only a person can tell what belongs here
	}
	before := r.Outcome.Steps
	for _, s := range r.stages() {
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if r.Outcome.Steps > before && (!r.DryRun || s.decides) {
			return nil
		}
	}
	return nil
}

// close closes everything that the round has opened.
func (r *Repair) close() {
	r.index.Close()
	r.own.close()
	r.other.close()
	if files, ok := r.blobs.(*segment.Blobs); ok && r.BlobStore == nil {
		files.Close()
	}
	r.own, r.other, r.blobs = nil, nil, nil
}

// plausible reports whether that many entries can be recorded as lost at all.
func plausible(first, last uint64) bool { return last-first < math.MaxUint32 }
