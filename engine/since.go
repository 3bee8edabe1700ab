package engine

import (
	"context"

	"tcp-log-server/segment"
)

// Since returns the index of the first entry that was stored at time or later, in µs since
// 1970 UTC, or the index after the head if there is none. The times of a log never
// decrease, except in a log that an earlier version wrote while the clock was set back:
// there the result is one of the indices before which an earlier time lies. If the time of
// an entry is damaged, in its segment and in the index, it counts as that of the next
// entry.
func (l *Log) Since(ctx context.Context, time int64) (index uint64, err error) {
	timeAt, done := l.store.times(ctx)
	defer done()
	return segment.FirstSince(1, l.head.Load(), time, timeAt)
}

// times returns a function for the time of an entry, 0 if it is not known, and one to call
// when done with it.
func (d *disk) times(ctx context.Context) (timeAt func(index uint64) (int64, error), done func()) {
	r := &reader{disk: d, ctx: ctx}
	return func(index uint64) (int64, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if rec, err := r.settledRecords().At(index); err == nil {
			return rec.Time, nil
		}
		return readTime(ctx, d, index)
	}, r.close
}

// times is times for a log in memory.
func (m *memory) times(ctx context.Context) (timeAt func(index uint64) (int64, error), done func()) {
	return func(index uint64) (int64, error) { return readTime(ctx, m, index) }, func() {}
}

// readTime reads an entry for its time.
func readTime(ctx context.Context, s store, index uint64) (at int64, err error) {
	err = s.read(ctx, index, index, func(_ uint64, _ int, _ []byte, time int64, _ error) error {
		at = time
		return nil
	})
	return at, err
}
