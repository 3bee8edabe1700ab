package engine

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"tcp-log-server/segment"
)

// A log that may outgrow its disk, see Config.KeepLocal. The oldest segment goes
//
//  1. when it is sealed, and settled: the index keeps the hashes of its entries;
//  2. after the archive's copy has been read back and compared byte for byte with it, by the
//     evictor, which does nothing else, since that takes as long as the bucket likes;
//  3. while nobody holds the segments, and after the index has been compared with it;
//  4. after DATA/ARCHIVE says that its entries are in the archive, durably.
//
// A crash between two of these leaves the segment where it is; reads prefer it, and the next
// start begins again with 1. Segments go in order, each durably before the next, so that those
// that remain are one chain.

const (
	// evictRetryMin and evictRetryMax bound the wait before a segment that the archive does not
	// have yet, or cannot give back, is compared again.
	evictRetryMin = time.Second
	evictRetryMax = time.Minute
)

// evictor compares segments with their archived copies.
type evictor struct {
	d    *disk
	asks chan *segment.Segment // from the settler: the one to compare
	// same is the first index of the segment that the archive was last found to have. The
	// settler is told by ready.
	same  atomic.Uint64
	ready chan struct{}
	asked uint64 // the first index of what the settler has asked for
	held  bool   // the settler has logged that a segment stays
}

func newEvictor(d *disk) *evictor {
	return &evictor{d: d, asks: make(chan *segment.Segment, 1), ready: make(chan struct{}, 1)}
}

// run compares until the store closes.
func (e *evictor) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e.d.work.Go(func() {
		<-e.d.stop
		cancel()
	})
	for {
		select {
		case seg := <-e.asks:
			if !e.compare(ctx, seg) {
				continue
			}
			e.same.Store(seg.Header.First)
			select {
			case e.ready <- struct{}{}:
			default:
			}
		case <-e.d.stop:
			return
		}
	}
}

// compare returns true once the archive has seg, and false if seg has been removed, or the
// store closes.
func (e *evictor) compare(ctx context.Context, seg *segment.Segment) bool {
	told := ""
	for retry := evictRetryMin; e.d.firstIndex() == seg.Header.First; retry = min(2*retry, evictRetryMax) {
		err := e.once(ctx, seg)
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		if text := err.Error(); !errors.Is(err, ErrNotArchived) && text != told {
			told = text
			e.d.log.Error().Err(err).Str("event", "evict").Str("segment", filepath.Base(seg.Path)).
				Msg("the archive's copy of a segment could not be confirmed: it stays, as do those after it")
		}
		select {
		case <-time.After(retry):
		case <-e.d.stop:
			return false
		}
	}
	return false
}

// once compares seg with the archive's copy once.
func (e *evictor) once(ctx context.Context, seg *segment.Segment) error {
	f, err := segment.OpenRegular(seg.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	return e.d.cfg.Archive.Same(ctx, seg.Header.First, f, fi.Size())
}

// evictFirst removes the first segment, if there is more than is to be kept and the archive
// has it. The settler calls it.
func (s *settler) evictFirst() (removed bool) {
	e := s.d.evictor
	if e == nil {
		return false
	}
	seg, _ := s.d.find(s.d.firstIndex())
	first, last := seg.Header.First, seg.Last()
	if s.stuck || !seg.Sealed() || last > s.d.settled.Load() || !s.d.overfull() {
		return false
	}
	if note, err := segment.ReadArchived(s.d.cfg.Data); err == nil && !s.d.archived.claimed(note) {
		return false // the archive has not been claimed for this directory yet
	}
	if e.same.Load() != first {
		if e.asked != first {
			select {
			case e.asks <- seg:
				e.asked = first
			default: // it is still at the one before
			}
		}
		return false
	}
	end, held, err := segment.BeginRemoval(s.d.dir)
	if held || err != nil {
		return false // the next round is soon enough
	}
	defer end()
	if s.d.index.Check() != nil {
		return false // it is opened again before anything more is settled
	}
	if err := s.d.match(first, last, true); err != nil {
		if !e.held {
			e.held = true
			s.d.log.Error().Err(err).Str("event", "evict").Str("segment", filepath.Base(seg.Path)).
				Msg("a segment stays, as do those after it; stop the server and run `tcp-log-server fsck " + s.d.cfg.Data + "`")
		}
		return false
	}
	if err := s.d.archived.add(s.d.cfg.Data, first, last); err != nil {
		s.d.log.Error().Err(err).Str("event", "evict").Str("file", segment.ArchiveName).Msg("no segment is removed, since it cannot be noted that the archive has it")
		return false
	}
	if !s.take(seg, "evicted") {
		return false
	}
	s.d.archived.evicted.Add(1)
	return true
}

// overfull reports whether the directory has more bytes of sealed segments than it is to keep.
func (d *disk) overfull() bool {
	n := int64(0)
	for _, seg := range d.list() {
		if seg.Sealed() {
			n += seg.End()
		}
	}
	return d.evictor != nil && n > d.cfg.KeepLocal
}
