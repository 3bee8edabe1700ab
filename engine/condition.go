package engine

import (
	"fmt"

	"tcp-log-server/appends"
	"tcp-log-server/internal/pieces"
)

// take decides whether a submission, whose turn has come, is stored, with index next for its
// first entry. It appends the entries that are stored to batch, and returns it. Only the
// leader calls it.
func (l *Log) take(s *submission, batch []byte, next uint64) []byte {
	switch s.on.Kind {
	case appends.Expect:
		if head := next - 1; head != s.on.Head {
			s.err = &ConditionError{Head: head, Want: s.on.Head}
			return batch
		}
	case appends.Once:
		return l.takeNew(s, batch, next)
	}
	s.stored = s.count
	if h := l.hashes.Load(); h != nil && h.recent.collecting {
		h.recent.addAll(s, next)
	}
	return pieces.Append(batch, s.entries)
}

// outcome returns the arguments for the submission's done after its batch, whose first entry
// has index first.
func (s *submission) outcome(c committed, first uint64) (Result, error) {
	switch {
	case s.on.Kind == appends.Once:
		return s.onceOutcome(c, first)
	case s.err != nil && c.err != nil && s.on.Kind == appends.Expect:
		// The head that it was compared with would have been made by this batch.
		return Result{}, fmt.Errorf("%w: an append before it in the same batch failed: %w", ErrNotStored, c.err)
	case s.err != nil:
		return Result{}, s.err
	case c.err != nil:
		return Result{}, c.err
	}
	return Result{First: first, Time: c.time}, nil
}
