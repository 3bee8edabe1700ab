package segment

import (
	"context"
	"errors"
)

// FirstSince returns the index of the first of the entries from..through that was stored at
// time or later, in µs since 1970 UTC, or through+1 if there is none. timeAt returns when an
// entry was stored, or 0 if that is not known; then the entry counts as stored with the
// next. The times must not decrease; if they do, the result is one of the indices before
// which an earlier time lies. FirstSince calls timeAt a logarithmic number of times, not
// counting entries whose time is not known, and returns its error.
func FirstSince(from, through uint64, time int64, timeAt func(index uint64) (int64, error)) (uint64, error) {
	low, high := from, through+1 // the result is in low..high
	for low < high {
		middle := low + (high-low)/2
		known, at := middle, int64(0) // the first from middle on whose time is known
		for ; known < high; known++ {
			var err error
			if at, err = timeAt(known); err != nil {
				return 0, err
			}
			if at != 0 {
				break
			}
		}
		if known < high && at < time {
			low = known + 1
		} else {
			high = middle
		}
	}
	return low, nil
}

// ReadSince is FirstSince for when only reading the entries gives their times.
func ReadSince[F ~func(index uint64, entry []byte, at int64, err error) error](
	ctx context.Context, from, through uint64, time int64, read func(ctx context.Context, from, through uint64, fn F) error,
) (index uint64, err error) {
	found := errors.New("found")
	index = through + 1
	err = read(ctx, from, through, func(i uint64, _ []byte, at int64, _ error) error {
		if at != 0 && at >= time {
			index = i
			return found
		}
		return nil
	})
	if errors.Is(err, found) {
		err = nil
	}
	return index, err
}
