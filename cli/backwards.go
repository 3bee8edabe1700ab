package cli

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"

	"tcp-log-server/client"
)

// backwardsMax is how many bytes of entries backwards keeps, and backwardsCost the overhead of an
// entry.
const (
	backwardsMax  = 8 << 20
	backwardsCost = 128
)

// backwardsFirst is how many entries it looks at first.
const backwardsFirst = 256

// backwards yields the entries of an extent that is not followed, last one first. It reads parts
// of the extent forwards, from the end on, and keeps as much of each as backwardsMax allows; the
// rest comes with the next part. So its memory does not depend on the length of the extent.
func backwards(ctx context.Context, from source, s extent) iter.Seq2[client.Entry, error] {
	return func(yield func(client.Entry, error) bool) {
		left := s.count // never reaches 0 from 0
		for width := uint64(backwardsFirst); s.from <= s.through; {
			part := s
			part.count = 0
			if s.through-s.from >= width {
				part.from = s.through - width + 1
			}
			kept, dropped, err := keepLast(from.read(ctx, part))
			if err != nil {
				yield(client.Entry{}, err)
				return
			}
			for _, k := range slices.Backward(kept) {
				if !yield(k.entry, k.err) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
			if s.through = part.from - 1; dropped {
				s.through = kept[0].entry.Index - 1
				width = uint64(len(kept))
			} else {
				width *= 2
			}
		}
	}
}

// kept is an entry, or why it cannot be read.
type kept struct {
	entry client.Entry
	err   error
}

func (k *kept) size() int { return backwardsCost + len(k.entry.Value) }

// keepLast reads to the end and returns the last entries, at least one if there is any. dropped
// says that there were more.
func keepLast(entries iter.Seq2[client.Entry, error]) (last []kept, dropped bool, err error) {
	size, start := 0, 0
	for e, err := range entries {
		k := kept{entry: e}
		if err != nil {
			var bad *client.EntryError
			if !errors.As(err, &bad) {
				return nil, false, err
			}
			k.entry.Index, k.err = bad.Index, err
		}
		k.entry.Value = bytes.Clone(e.Value)
		last = append(last, k)
		for size += k.size(); size > backwardsMax && start < len(last)-1; start++ {
			size -= last[start].size()
			last[start] = kept{}
		}
		if start > len(last)/2 {
			n := copy(last, last[start:])
			clear(last[n:])
			last, start, dropped = last[:n], 0, true
		}
	}
	return last[start:], dropped || start > 0, nil
}
