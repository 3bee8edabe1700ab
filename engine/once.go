package engine

import (
	"cmp"
	"context"
	"fmt"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// An append with appends.Once needs to know which entries the log holds. They are looked up
// by their hashes, in two places: tables on disk (package lookup) have what the log held
// some time ago, and maps in memory what has been added since. The goroutine that appends
// hashes the entries and searches the tables. The leader, when their turn has come, searches
// the maps, adds what it stores, and takes that back if the batch fails. All of this starts
// with the first append with Once (hashes.go); until then appends only see that there is
// nothing to do.

// errNotReady: the caller did not wait for AwaitOnce, or the hashes have failed since.
var errNotReady = fmt.Errorf("%w: the log does not know yet which entries it holds: send it again", ErrNotStored)

// AwaitOnce waits until the log can tell for any entry whether it holds it. This takes a
// moment in a log that has never been asked, a second for some million entries. The error
// wraps ErrNotStored, and ErrClosed or ctx's error where it is one of these. If ctx is done,
// AwaitOnce does not wait.
func (l *Log) AwaitOnce(ctx context.Context) error {
	if h := l.hashes.Load(); h != nil && h.ready.Load() {
		return nil
	}
	h, err := l.startHashes()
	if err == nil {
		err = h.await(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
	return nil
}

// prepareHashes computes the hashes of the entries of s, if they are needed, and looks up
// those of an append with Once in the tables.
func (l *Log) prepareHashes(s *submission) {
	h := l.hashes.Load()
	if s.err != nil || h == nil || s.count == 0 {
		return
	}
	if s.on.Kind != appends.Once && len(s.entries) < len(segment.Hash{})*s.count {
		return // the leader hashes them one by one: the hashes would take more memory than the entries
	}
	s.hashes = hashEntries(make([]segment.Hash, 0, s.count), s.entries)
	if s.on.Kind != appends.Once || !h.ready.Load() {
		return
	}
	s.places = make([]Place, s.count)
	s.through, s.err = h.find(s.hashes, s.places)
}

// hashEntries appends the hash of each entry of a run to dst.
func hashEntries(dst []segment.Hash, run []byte) []segment.Hash {
	for len(run) > 0 {
		n := lineEnd(run)
		dst = append(dst, segment.Sum(run[:n-1]))
		run = run[n:]
	}
	return dst
}

// takeNew is take for an append with Once: it adds to the batch the entries that the log
// does not hold.
func (l *Log) takeNew(s *submission, batch []byte, next uint64) []byte {
	h := l.hashes.Load()
	if h == nil || !h.ready.Load() || s.places == nil {
		if s.err == nil && s.count > 0 {
			s.err = errNotReady
		}
		return batch
	}
	entries := s.entries
	for i, hash := range s.hashes {
		n := lineEnd(entries)
		entry := entries[:n]
		entries = entries[n:]
		if s.places[i].Index != 0 {
			continue
		}
		place, err := h.recently(hash, s.through)
		if err != nil {
			// Entries already in the batch stay there, and have their places.
			s.err = err
			return batch
		}
		if place.Index == 0 {
			place.Index = next + uint64(s.stored)
			h.recent.add(hash, place.Index)
			batch = append(batch, entry...)
			s.stored++
		}
		s.places[i] = place
	}
	return batch
}

// onceOutcome is outcome for an append with Once. Places that the log had before the batch
// are known whatever has become of the batch.
func (s *submission) onceOutcome(c committed, first uint64) (Result, error) {
	r := Result{First: first, Time: c.time, Once: s.places}
	for i := range s.places {
		switch p := &s.places[i]; {
		case p.Index < c.first:
		case c.err != nil:
			*p = Place{}
		default:
			p.Time = c.time
		}
	}
	return r, cmp.Or(s.err, c.err)
}
