package reader

import (
	"context"
	"sort"
	"time"

	"tcp-log-server/segment"
)

// Since returns the index of the first entry that was stored at t or later, or the one after the
// head if there is none. The times of a log never decrease, except if an earlier version wrote it
// while the clock was set back: then the result is one of several indices preceded by an earlier
// time. A damaged entry counts as stored at the time of the next.
func (l *Log) Since(ctx context.Context, t time.Time) (index uint64, err error) {
	at := t.UnixMicro()
	if t.Nanosecond()%int(time.Microsecond) > 0 {
		at++
	}
	if index, err = l.sinceRecords(ctx, at); err != nil || index <= l.Records {
		return index, err
	}
	return l.sinceSegments(ctx, index, at)
}

// sinceRecords is Since for the entries with a record in the index.
func (l *Log) sinceRecords(ctx context.Context, at int64) (index uint64, err error) {
	records := segment.NewRecords(l.Dirs.WAL, l.Records)
	defer records.Close()
	return segment.FirstSince(1, l.Records, at, func(index uint64) (int64, error) {
		rec, err := records.At(index)
		if err != nil {
			return 0, ctx.Err() // the record is damaged
		}
		return rec.Time, ctx.Err()
	})
}

// sinceSegments is Since for the entries without a record, which begin at index from. The first
// entries of the segments, which are quick to read, tell which segment to read completely.
func (l *Log) sinceSegments(ctx context.Context, from uint64, at int64) (index uint64, err error) {
	through := l.Head()
	later := sort.Search(len(l.Files), func(i int) bool {
		first := l.Files[i].First
		if err != nil || first <= from {
			return false
		}
		var found uint64
		found, err = segment.ReadSince(ctx, first, first, at, l.Read)
		return found == first
	})
	if err != nil {
		return 0, err
	}
	if later < len(l.Files) {
		through = l.Files[later].First - 1
	}
	if later > 0 {
		from = max(from, l.Files[later-1].First)
	}
	return segment.ReadSince(ctx, from, through, at, l.Read)
}
