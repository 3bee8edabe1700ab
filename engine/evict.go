package engine

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"tcp-log-server/segment"
)

// A log that may outgrow its disk, see Config.KeepLocal. The oldest segment is removed
//
//  1. when it is sealed, and settled: the index keeps the hashes of its entries;
//  2. after the archive's copy has been read back and compared byte for byte with it, by the
//     evictor, which does nothing else, since that takes as long as the bucket likes;
//  3. while nobody holds the segments, and after the index has been compared with it;
//  4. after DATA/ARCHIVE says that its entries are in the archive, durably.
//
// A segment is removed only while there are more than KeepLocal bytes of sealed segments and the
// archive has been claimed for this directory. It stays while it is about to be removed because of
// its blobs, once a removal has failed, and if the comparison is older than evictWithin; the
// comparison is then repeated.
//
// A crash between two of these steps leaves the segment in place; reads prefer it, and the next
// start begins again with 1. Segments are removed in order, each durably before the next, so that
// those that remain are one chain.

const (
	// evictRetryMin and evictRetryMax bound the wait before a segment that the archive does not have
	// yet, or cannot return, is compared again.
	evictRetryMin = time.Second
	evictRetryMax = time.Minute
	// evictWithin is how long after its comparison a segment may still be removed. Later, as after a
	// long hold, the archive may have lost its copy.
	evictWithin = 10 * time.Minute
)

// evictor compares segments with their archived copies.
type evictor struct {
	d    *disk
	asks chan *segment.Segment // from the settler: the segment to compare
	// same is the segment that the archive was last found to have; ready wakes the settler.
	same   atomic.Pointer[sameAs]
	ready  chan struct{}
	within time.Duration // evictWithin, less in tests
	asked  uint64        // the first index of the segment that the settler asked about
	told   string        // why a segment stays, as the settler last logged it
	// looked is the first index of the segment checked last, and inBlobs whether its last entry had
	// a blob.
	looked  uint64
	inBlobs bool
}

// sameAs is the result of a comparison: at that time, the archive had the segment that begins with
// index first.
type sameAs struct {
	first uint64
	at    time.Time
}

func newEvictor(d *disk) *evictor {
	return &evictor{d: d, asks: make(chan *segment.Segment, 1), ready: make(chan struct{}, 1), within: evictWithin}
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
			e.same.Store(&sameAs{seg.Header.First, time.Now()})
			select {
			case e.ready <- struct{}{}:
			default:
			}
		case <-e.d.stop:
			return
		}
	}
}

// compare returns true once the archive has seg, and false if seg has been removed or the store
// closes.
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

// evictFirst removes the first segment, if the directory is over its limit and the archive has the
// segment. The settler calls it.
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
	if s.soonInBlobs(first, last) {
		return false
	}
	same := e.same.Load()
	if same == nil || same.first != first {
		e.ask(seg)
		return false
	}
	end, held, err := segment.BeginRemoval(s.d.dir)
	if held || err != nil {
		return false // the next round is soon enough
	}
	defer end()
	if s.d.index.Check() != nil {
		return false // it is reopened before anything more is settled
	}
	if err := s.d.match(first, last, true); err != nil {
		e.stays(seg, err, "a segment stays, as do those after it; stop the server and run `tcp-log-server fsck "+s.d.cfg.Data+"`")
		return false
	}
	if time.Since(same.at) > e.within {
		e.same.Store(nil)
		e.asked = 0
		e.ask(seg)
		return false
	}
	if err := s.d.archived.add(s.d.cfg.Data, first, last); err != nil {
		e.stays(seg, err, "no segment is removed, since "+segment.ArchiveName+" cannot say that the archive has it")
		return false
	}
	if !s.take(seg, "evicted") {
		return false
	}
	e.told = ""
	s.d.archived.evicted.Add(1)
	return true
}

// soonInBlobs reports whether the segment first..last seems about to be removed because its entries
// are in blobs, judging by the last of them. They can then still be read and backed up from here.
func (s *settler) soonInBlobs(first, last uint64) bool {
	e := s.d.evictor
	if s.d.blobs == nil || s.d.stays.Load() == first {
		return false
	}
	if e.looked != first {
		e.looked, e.inBlobs = first, false
		if recs, err := segment.ReadRecords(s.d.cfg.WAL, last, last); err == nil && !recs[0].Lost() {
			e.inBlobs, _ = s.d.blobs.Has(s.ctx, recs[0].Hash)
		}
	}
	return e.inBlobs
}

// ask requests a comparison of seg, unless one is pending. The settler calls it.
func (e *evictor) ask(seg *segment.Segment) {
	if e.asked == seg.Header.First {
		return
	}
	select {
	case e.asks <- seg:
		e.asked = seg.Header.First
	default: // it is still busy with the previous one
	}
}

// stays logs why seg stays, unless that has been logged. The settler calls it.
func (e *evictor) stays(seg *segment.Segment, err error, msg string) {
	if text := err.Error(); text != e.told {
		e.told = text
		e.d.log.Error().Err(err).Str("event", "evict").Str("segment", filepath.Base(seg.Path)).Msg(msg)
	}
}

// overfull reports whether the directory has more bytes of sealed segments than it should keep.
func (d *disk) overfull() bool {
	n := int64(0)
	for _, seg := range d.list() {
		if seg.Sealed() {
			n += seg.End()
		}
	}
	return d.evictor != nil && n > d.cfg.KeepLocal
}
