package backup

import (
	"errors"
	"fmt"

	"tcp-log-server/segment"
)

// ErrLost: the log has recorded entries as lost that Dest still holds. Dest may have the only copy,
// so nothing has been changed.
var ErrLost = errors.New("would lose entries that only the earlier backup has")

// keepLost returns an error if the backup holds any of the entries first to last, which the log has
// lost.
func (b *backup) keepLost(first, last uint64) error {
	for _, p := range b.dest.segs {
		for index := max(first, p.First); index <= min(last, p.Last); {
			held, through, err := holds(p, index)
			if err != nil {
				return err
			}
			if held {
				return fmt.Errorf("%w: the log has recorded index %d as lost, and %s has it: keep this backup, and make the next in another directory", ErrLost, index, p.Path)
			}
			index = through + 1
		}
	}
	return nil
}

// holds reports whether the segment has content for index, and through which index the answer is
// the same.
func holds(p *segment.File, index uint64) (held bool, through uint64, err error) {
	r, err := p.Segment().NewReader(index)
	if err != nil {
		return false, 0, err
	}
	defer r.Close()
	batch, err := r.Next()
	var damage *segment.DamageError
	if errors.As(err, &damage) {
		return false, max(damage.Last, index), nil
	}
	if err != nil {
		return false, 0, err
	}
	return !batch.Lost(), batch.Last(), nil
}
