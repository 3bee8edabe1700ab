package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// sinceStep is the time between two batches of the logs of these tests.
const sinceStep = time.Second

// makeTimed makes a log of batches of recoverBatch entries each, with the times that at returns.
func makeTimed(t *testing.T, config Config, batches int, at func(batch int) time.Time) *Log {
	t.Helper()
	now := noon
	l := openAt(t, config, &now)
	for batch := range batches {
		now = at(batch)
		l.clock.last = 0 // as in an earlier version, which did not adjust times
		if r := <-submit(l, recoverContents()[batch*recoverBatch:(batch+1)*recoverBatch]...); r.err != nil {
			t.Fatal(r.err)
		}
	}
	return l
}

func steady(batch int) time.Time { return noon.Add(time.Duration(batch) * sinceStep) }

// checkSince checks Since for each batch of a log of makeTimed whose times are steady, and for
// times between and around them. known says which entries' times are known, nil if all are.
func checkSince(t *testing.T, l *Log, batches int, known func(index int) bool) {
	t.Helper()
	head := batches * recoverBatch
	want := func(at time.Time) uint64 {
		last := 0 // the greatest index whose time is known and earlier
		for index := 1; index <= head; index++ {
			if (known == nil || known(index)) && steady((index-1)/recoverBatch).Before(at) {
				last = index
			}
		}
		return uint64(last) + 1
	}
	for batch := -1; batch <= batches; batch++ {
		for _, off := range []time.Duration{0, time.Microsecond, -time.Microsecond} {
			at := steady(batch).Add(off)
			if got, err := l.Since(t.Context(), at.UnixMicro()); err != nil || got != want(at) {
				t.Fatalf("since batch %d and %v: got %d, %v, want %d", batch, off, got, err, want(at))
			}
		}
	}
	for _, at := range []time.Time{{}, time.Unix(0, 0), noon.AddDate(1000, 0, 0)} {
		if got, err := l.Since(t.Context(), at.UnixMicro()); err != nil || got != want(at) {
			t.Fatalf("since %v: got %d, %v, want %d", at, got, err, want(at))
		}
	}
}

func TestSinceEmptyLog(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		l := openLog(t, config)
		for _, at := range []int64{-1, 0, 1, noon.UnixMicro()} {
			if got, err := l.Since(t.Context(), at); got != 1 || err != nil {
				t.Errorf("since %d: got %d, %v, want 1", at, got, err)
			}
		}
	})
}

// TestSince: the first entry of each time, whether entries have records yet or not.
func TestSince(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		config.SegmentSize = 1024
		l := makeTimed(t, config, 20, steady)
		defer l.Close()
		checkSince(t, l, 20, nil)
		if config.WAL != Memory && config.Data != Memory {
			settled(t, l)
			checkSince(t, l, 20, nil)
		}
		cut, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Since(cut, noon.UnixMicro()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that the context has ended", err)
		}
	})
}

// TestSinceUnsettled: no entry has a record.
func TestSinceUnsettled(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize, config.WAL = 1024, Memory
	l := makeTimed(t, config, 20, steady)
	defer l.Close()
	checkSince(t, l, 20, nil)
}

// TestSinceRemovedSegments: the older entries are only in blobs.
func TestSinceRemovedSegments(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize, config.LooseMax, config.RemoveAfter = 1024, -1, 0
	l := makeTimed(t, config, 20, steady)
	defer l.Close()
	eventually(t, "segments are removed", func() bool { return l.Stats().First > 60 })
	checkSince(t, l, 20, nil)
}

// TestSinceDamaged: the time of an entry comes from its batch or its record, whichever is intact.
// Entries without either count as those after them.
func TestSinceDamaged(t *testing.T) {
	t.Parallel()
	const batches = 20
	config := testConfig(t)
	config.SegmentSize, config.LooseMax = 1024, -1
	l := makeTimed(t, config, batches, steady)
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(config.Data, "segments")
	firsts, err := segment.List(dir)
	if err != nil || len(firsts) < 4 {
		t.Fatalf("segments are %v, %v", firsts, err)
	}
	whole := &storeFiles{t, config, firsts}
	records := func(s *storeFiles, from, through int) {
		s.edit(s.records(), func(b []byte) []byte {
			for index := from; index <= through; index++ {
				b[(segment.RecordSize+1)*(index-1)+5] ^= 1
			}
			return b
		})
	}
	for _, tt := range []struct {
		name  string
		spoil func(s *storeFiles)
		known func(index int) bool
	}{
		{"segments", func(s *storeFiles) {
			for i := range 3 {
				s.edit(s.seg(i), func(b []byte) []byte { clear(b[segment.HeaderSize : len(b)/2]); return b })
			}
		}, nil},
		{"records", func(s *storeFiles) { records(s, 1, 60) }, nil},
		{"records without a segment", func(s *storeFiles) {
			s.must(os.Remove(s.seg(0)))
			s.must(os.Remove(s.seg(1)))
			records(s, 3, 5)
			records(s, 8, int(s.firsts[2])-2)
		}, func(index int) bool { return index < 3 || index > 5 && index < 8 || index > int(firsts[2])-2 }},
		{"blobs without a segment", func(s *storeFiles) {
			s.must(os.Remove(s.seg(0)))
			s.must(os.RemoveAll(filepath.Join(s.config.Data, "blobs", segment.BlobPath(segment.Sum([]byte(recoverContents()[0]))))))
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := whole.copy(t)
			l, err := Open(s.config) // this would refuse what the test does now
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			tt.spoil(s)
			checkSince(t, l, batches, tt.known)
		})
	}
}

// TestSinceOlderStore: in a store whose times go back, the entry is not earlier, and the one before
// it is.
func TestSinceOlderStore(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		jump := func(batch int) time.Time {
			if batch >= 7 && batch < 13 {
				return steady(batch).Add(-5 * sinceStep)
			}
			return steady(batch)
		}
		l := makeTimed(t, config, 20, jump)
		defer l.Close()
		if config.WAL != Memory && config.Data != Memory {
			settled(t, l)
		}
		for batch := -1; batch <= 20; batch++ {
			at := steady(batch)
			got, err := l.Since(t.Context(), at.UnixMicro())
			if err != nil {
				t.Fatal(err)
			}
			of := func(index uint64) time.Time { return jump(int(index-1) / recoverBatch) }
			if got < 1 || got > 121 || got > 1 && !of(got-1).Before(at) || got < 121 && of(got).Before(at) {
				t.Errorf("since batch %d: got %d, which does not follow an earlier entry, or is earlier", batch, got)
			}
		}
	})
}
