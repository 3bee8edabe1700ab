package engine

import (
	"context"
	"errors"
	"fmt"
)

// AwaitOnce waits until the log can tell of any entry whether it holds it already.
func (l *Log) AwaitOnce(ctx context.Context) error {
	return fmt.Errorf("%w: %w", ErrNotStored, errors.ErrUnsupported)
}

func (l *Log) takeNew(s *submission, batch []byte, next uint64) []byte {
	s.err = fmt.Errorf("%w: %w", ErrNotStored, errors.ErrUnsupported)
	return batch
}

func (s *submission) onceOutcome(c committed, first uint64) (Result, error) { return Result{}, c.err }
