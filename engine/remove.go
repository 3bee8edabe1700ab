package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// remove removes segments, oldest first: those that are sealed and settled and whose entries are
// all in blobs, and those that the archive has, see evict.go. Segments are removed only in order,
// so that those that remain are one unbroken chain to the head.
//
// A segment whose entries are in blobs is kept for at least RemoveAfter after it was first found
// settled, so that a copy of the live directories finds each entry in one place or another, and
// until every one of its entries has been read back from its blob.
//
// While the segments are held, none is removed: see segment.Hold.
func (s *settler) remove() {
	s.lookAround()
	s.again = 0
	for s.removeFirst() || s.evictFirst() {
	}
}

// removeFirst removes the first segment, if it is due.
func (s *settler) removeFirst() (removed bool) {
	seg, _ := s.d.find(s.d.firstIndex())
	first := seg.Header.First
	if !seg.Sealed() || seg.Last() > s.d.settled.Load() || s.d.stays.Load() == first || s.d.blobs == nil {
		return false
	}
	if seen, ok := s.seen[first]; !ok || time.Since(seen) < s.d.cfg.RemoveAfter {
		return false
	}
	if may := s.d.cfg.MayRemove; may != nil && !may(seg.Last()) {
		return false
	}
	if s.d.remote() {
		// Reading them back takes long; no copy of the segments should have to wait for it.
		switch all, err := s.readBack(seg); {
		case err == nil && !all:
			s.again = time.Millisecond // and settle waiting entries in between
			return false
		case errors.Is(err, ErrUnavailable):
			s.again = settleRetryMax
			s.d.log.Error().Err(err).Str("event", "remove").Stringer("retry", s.again).Msg("a settled segment stays for the time being")
			return false
		case s.ctx.Err() != nil:
			return false
		case err != nil:
			s.keep(seg, err)
			return false
		}
	}
	end, held, err := segment.BeginRemoval(s.d.dir)
	if held || err != nil {
		return false // the next round is soon enough
	}
	defer end()
	if s.d.index.Check() != nil {
		return false // it is reopened before anything more is settled
	}
	err = s.d.proved(first, seg.Last())
	if err == nil && !s.d.remote() {
		err = s.d.inBlobs(s.ctx, first, seg.Last())
	}
	if err != nil {
		s.keep(seg, err)
		return false
	}
	return s.take(seg, "removed")
}

// take removes the first segment, seg, whose entries are also elsewhere.
func (s *settler) take(seg *segment.Segment, event string) (removed bool) {
	first := seg.Header.First
	s.d.mu.Lock()
	s.d.segments = s.d.segments[1:]
	s.d.mu.Unlock()
	// The directory is synced before the next segment is removed: if a crash brought back an
	// earlier file and not a later one, the chain would be broken.
	if err := s.d.unlink(seg.Path); err != nil {
		s.putBack(seg)
		s.d.log.Error().Err(err).Str("event", "remove").Msg("a settled segment could not be removed; no more are until the next start")
		return false
	}
	s.d.parked.clear() // an open file keeps its space
	delete(s.seen, first)
	s.d.log.Info().Str("event", event).Str("segment", filepath.Base(seg.Path)).
		Uint64("first", first).Uint64("last", seg.Last()).Send()
	return true
}

// keep notes that a segment, and all after it, stay because of err.
func (s *settler) keep(seg *segment.Segment, err error) {
	s.d.stays.Store(seg.Header.First)
	level := zerolog.DebugLevel
	if s.d.remote() && errors.Is(err, ErrDamaged) {
		level = zerolog.ErrorLevel // the segment has the entry: a repair restores its blob
	}
	s.d.log.WithLevel(level).Err(err).Str("event", "packed").Str("segment", filepath.Base(seg.Path)).Msg("a segment stays")
}

// proved checks that the records of the entries first..last match the segments, so that the blobs
// that they name hold the same entries. The error wraps errRecord where one does not match, and
// ErrLost where an entry is lost.
func (d *disk) proved(first, last uint64) error { return d.match(first, last, false) }

// match is proved; with lost it skips lost entries whose records say that they are lost.
func (d *disk) match(first, last uint64, lost bool) error {
	records := segment.NewRecords(d.cfg.WAL, last)
	defer records.Close()
	r := &reader{disk: d, ctx: context.Background(), next: first, through: last}
	defer r.close()
	r.fn = func(first uint64, count int, entries []byte, _ int64, err error) error {
		for i := range count {
			if err != nil && !(lost && errors.Is(err, ErrLost)) {
				return err
			}
			rec, bad := records.At(first + uint64(i))
			switch {
			case bad != nil:
				return bad
			case err != nil && rec.Lost():
				continue
			case err != nil:
				return fmt.Errorf("%w: index %d is lost, and the index has a hash for it", errRecord, first+uint64(i))
			}
			n := lineEnd(entries)
			if rec.Lost() {
				return fmt.Errorf("%w: index %d", ErrLost, first+uint64(i))
			}
			if rec.Hash != segment.Sum(entries[:n-1]) {
				return fmt.Errorf("%w: index %d", errRecord, first+uint64(i))
			}
			entries = entries[n:]
		}
		runtime.Gosched()
		return nil
	}
	return r.run()
}

// lookAround notes the time for each segment that is settled by now: each has its own wait,
// whatever the segments before it do.
func (s *settler) lookAround() {
	segments := s.d.list()
	if s.seen == nil {
		s.seen = make(map[uint64]time.Time)
	}
	if s.d.stays.Load() == segments[0].Header.First {
		return
	}
	for _, seg := range segments {
		if !seg.Sealed() || seg.Last() > s.d.settled.Load() {
			return
		}
		if first := seg.Header.First; s.seen[first].IsZero() {
			s.seen[first] = time.Now()
		}
	}
}

// putBack ends all removing after the removal of seg failed: if the segments after it were
// removed while it stays, or comes back, the chain would be broken.
func (s *settler) putBack(seg *segment.Segment) {
	s.d.mu.Lock()
	if _, err := os.Lstat(seg.Path); err == nil {
		s.d.segments = append([]*segment.Segment{seg}, s.d.segments...)
	}
	s.d.stays.Store(s.d.segments[0].Header.First)
	s.stuck = true
	s.d.mu.Unlock()
}

// firstIndex returns the first index that segments hold.
func (d *disk) firstIndex() uint64 { return d.list()[0].Header.First }
