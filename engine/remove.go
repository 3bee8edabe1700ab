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
	for {
		seg, _ := s.d.find(s.d.firstIndex())
		first := seg.Header.First
		if !seg.Sealed() || seg.Last() > s.d.settled.Load() || s.stays == first || s.d.blobs == nil {
			return
		}
		if s.oldest != first {
			s.oldest, s.seen = first, time.Now()
		}
		if time.Since(s.seen) < s.d.cfg.RemoveAfter {
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
			s.d.log.Error().Err(err).Str("event", "remove").Msg("a settled segment could not be removed")
			return
		}
		s.d.log.Info().Str("event", "removed").Str("segment", filepath.Base(seg.Path)).
			Uint64("first", first).Uint64("last", seg.Last()).Send()
	}
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
