package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tcp-log-server/segment"
)

// remove removes segments, from the oldest on, that are sealed and settled and
// all of whose entries are in blobs. Segments go in order only, so that those
// that remain are one unbroken chain to the head.
//
// A segment goes no sooner than RemoveAfter after it was first found settled, so
// that a copy of the live directories finds each entry in one place or another;
// and only after every one of its entries has been read back from its blob.
func (s *settler) remove() {
	s.lookAround()
	for {
		seg, _ := s.d.find(s.d.firstIndex())
		first := seg.Header.First
		if !seg.Sealed() || seg.Last() > s.d.settled.Load() || s.stays == first || s.d.blobs == nil {
			return
		}
		if seen, ok := s.seen[first]; !ok || time.Since(seen) < s.d.cfg.RemoveAfter {
			return
		}
		if err := s.inBlobs(first, seg.Last()); err != nil {
			s.stays = first
			s.d.log.Debug().Err(err).Str("event", "packed").Str("segment", filepath.Base(seg.Path)).Msg("a segment stays")
			return
		}
		s.d.mu.Lock()
		s.d.segments = s.d.segments[1:]
		s.d.mu.Unlock()
		// The directory is synced before the next one goes: were a crash to bring
		// back an earlier file and not a later one, the chain would be broken.
		err := os.Remove(seg.Path)
		if err == nil {
			err = segment.SyncDir(s.d.dir)
		}
		if err != nil {
			s.putBack(seg)
			s.d.log.Error().Err(err).Str("event", "remove").Msg("a settled segment could not be removed; no more are until the next start")
			return
		}
		delete(s.seen, first)
		s.d.log.Info().Str("event", "removed").Str("segment", filepath.Base(seg.Path)).
			Uint64("first", first).Uint64("last", seg.Last()).Send()
	}
}

// lookAround notes the time for each segment that is settled by now: each waits
// for itself, not for those before it.
func (s *settler) lookAround() {
	s.d.mu.RLock()
	segments := s.d.segments
	s.d.mu.RUnlock()
	if s.seen == nil {
		s.seen = make(map[uint64]time.Time)
	}
	if s.stays == segments[0].Header.First {
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

// putBack ends all removing after the removal of seg failed: were the segments
// behind it to go while it stays, or comes back, the chain would be broken.
func (s *settler) putBack(seg *segment.Segment) {
	s.d.mu.Lock()
	if _, err := os.Lstat(seg.Path); err == nil {
		s.d.segments = append([]*segment.Segment{seg}, s.d.segments...)
	}
	s.stays = s.d.segments[0].Header.First
	s.d.mu.Unlock()
}

// firstIndex is the first index that segments hold.
func (d *disk) firstIndex() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.segments[0].Header.First
}

// inBlobs reads the records and the blobs of all entries from first to last and
// returns what is wrong with the first that is not as it should be.
func (s *settler) inBlobs(first, last uint64) error {
	records := segment.NewRecordReader(s.d.cfg.WAL)
	defer records.Close()
	recs := make([]segment.Record, 512)
	for first <= last {
		select {
		case <-s.d.stop:
			return fmt.Errorf("the log is closing")
		default:
		}
		n, err := records.Read(first, recs[:min(uint64(len(recs)), last-first+1)])
		if n == 0 {
			return err
		}
		for i, rec := range recs[:n] {
			if _, err := s.d.blobs.Get(rec); err != nil {
				return fmt.Errorf("index %d: %w", first+uint64(i), err)
			}
		}
		first += uint64(n)
	}
	return nil
}
