package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// disk is the store in directories. The leader, see queue, owns open; the settler owns
// index, blobs and their counts; segments is shared under mu.
type disk struct {
	cfg      Config
	dir      string // of the segments
	id       segment.StoreID
	lock     *segment.Lock
	standing *standing
	// places are the segments' directories as they were when opened, see watch.
	places   []place
	lockLost bool // LOCK is gone and cannot be recreated; this has been logged
	log      zerolog.Logger

	open *segment.Writer
	// residue is a segment whose creation failed and whose name may still exist: nothing is
	// stored until it is gone.
	residue *segment.ResidueError
	// torn are bytes after the last batch: nothing is stored until they are cut off.
	torn *torn

	mu       sync.RWMutex
	segments []*segment.Segment // contiguous and ascending; the last one is open
	leftover []*segment.Segment // during recovery: see leftover.go
	gap      error              // and the error found after the first of them

	archived archived
	evictor  *evictor // nil if all segments are kept

	parked  parking
	reserve reserve

	full chan *segment.Writer // segments to seal
	work sync.WaitGroup       // the sealer and the settler

	create  func(dir string, h segment.Header, limit int64) (*segment.Writer, error)
	unlink  func(path string) error // removes a segment, durably
	index   *segment.Index          // nil when kept in memory
	blobs   BlobStore               // nil when there are none
	files   *segment.Blobs          // blobs, if it is a directory and open
	loose   int                     // blob files, counted when LooseMax limits them
	settled atomic.Uint64           // the last entry with a durable index record
	space   atomic.Pointer[space]   // of the segments' file system, nil where it is not known
	looseN  atomic.Int64            // loose, for stats
	stalled atomic.Pointer[error]   // why the settler's last attempt failed, nil if it succeeded
	stays   atomic.Uint64           // first index of a segment that is known to stay
	stop    chan struct{}
}

// start runs the sealer and the settler for the log l.
func (d *disk) start(l *Log) {
	d.reserve.fill()
	d.work.Go(d.seal)
	d.startWatch(l)
	if d.index != nil {
		if d.cfg.KeepLocal > 0 {
			d.evictor = newEvictor(d)
			d.work.Go(d.evictor.run)
		}
		s := &settler{d: d, l: l, doubt: l.head.Load(), putter: putter{store: d.blobs}}
		d.work.Go(s.run)
	}
}

// commit appends the batch to the open segment, after rotating it if the batch does not
// fit.
func (d *disk) commit(batch []byte, count int, now time.Time) error {
	if err := d.ready(); err != nil {
		return err
	}
	if !d.open.Room(len(batch), d.cfg.SegmentSize) {
		if err := d.rotate(now); err != nil {
			return err
		}
	}
	return d.open.Commit(batch, count, now)
}

// commitAll appends as many of the batches as fit to the open segment, after rotating it if
// the first one does not.
func (d *disk) commitAll(batches []byte, specs []segment.BatchSpec) (n int, err error) {
	if err := d.ready(); err != nil {
		return 0, err
	}
	if n = d.open.Fit(specs, d.cfg.SegmentSize); n == 0 {
		if err := d.rotate(time.Now()); err != nil {
			return 0, err
		}
		n = d.open.Fit(specs, d.cfg.SegmentSize)
	}
	size := 0
	for _, s := range specs[:n] {
		size += segment.BatchHeaderSize + s.Size
	}
	return n, d.open.CommitAll(batches[:size], specs[:n])
}

// ready removes from the end of the log what must not stay before a new batch.
func (d *disk) ready() error {
	if d.residue != nil {
		if err := d.residue.Remove(); err != nil {
			return fmt.Errorf("%w (tried again: %w)", d.residue, err)
		}
		d.residue = nil
	}
	if d.torn != nil {
		return d.cutTorn()
	}
	return nil
}

// due and prepare concern the room in the open segment.
func (d *disk) due() bool { return d.open.Due(d.cfg.SegmentSize) }

func (d *disk) prepare() { d.open.Prepare(d.cfg.SegmentSize) }

// prove proves the last batch of the open segment.
func (d *disk) prove() error { return d.open.Prove() }

// rotate begins the next segment, and gives the full one to the sealer.
func (d *disk) rotate(now time.Time) error {
	if err := d.inPlace(); err != nil {
		return err
	}
	full := d.open
	err := d.reserve.lend(func() error {
		return d.begin(segment.Header{
			Store: d.id, First: full.Last() + 1, Created: now.UnixMicro(), Prev: full.Sum(),
		})
	})
	if err == nil {
		d.full <- full
	}
	return err
}

// seal is the sealer: it seals full segments without delaying appends.
func (d *disk) seal() {
	for w := range d.full {
		err := w.Seal()
		d.reserve.fill() // its file is closed
		if err != nil {
			// Nothing is lost: it still reads as before, and the next start seals it.
			d.log.Error().Err(err).Str("event", "seal").Msg("a segment stays unsealed until the next start")
			continue
		}
		d.log.Info().Str("event", "sealed").Str("segment", filepath.Base(w.Path)).
			Uint64("first", w.Header.First).Uint64("last", w.Last()).Int64("bytes", w.End()).Send()
	}
}

// find returns the segment that holds index, or nil and the first index that segments hold.
// The caller knows that the log holds index.
func (d *disk) find(index uint64) (s *segment.Segment, first uint64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	i := sort.Search(len(d.segments), func(i int) bool { return d.segments[i].Header.First > index })
	if i == 0 {
		return nil, d.segments[0].Header.First
	}
	return d.segments[i-1], d.segments[0].Header.First
}

// list returns the current segments, in order.
func (d *disk) list() []*segment.Segment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.segments
}

func (d *disk) name() segment.StoreID { return d.id }

func (d *disk) near() uint64 {
	switch {
	case d.remote():
		return d.firstIndex()
	case d.archived.archive != nil:
		return min(d.firstIndex(), d.archived.note.Load().Through+1)
	}
	return 1
}

func (d *disk) stats(s *Stats) {
	segments := d.list()
	s.Segments, s.First = len(segments), segments[0].Header.First
	s.Archived, s.Evicted = min(d.archived.note.Load().Through, s.First-1), d.archived.evicted.Load()
	for _, seg := range segments {
		s.Bytes += seg.End()
	}
	if err := d.stalled.Load(); err != nil {
		s.Stalled = *err
	}
	s.Settled, s.Loose = d.settled.Load(), int(d.looseN.Load())
	s.Bytes += int64(s.Settled) * segment.RecordSize
	if space := d.space.Load(); space != nil {
		s.DiskUsed, s.DiskFree = space.used, space.free
	}
	if d.index != nil {
		s.Unsettled = s.Head - min(s.Settled, s.Head)
	}
	if full := d.cfg.LooseMax >= 0 && s.Loose >= d.cfg.LooseMax; d.index == nil || d.blobs == nil || full || d.stays.Load() == s.First {
		s.Packed = s.Head + 1 - min(s.First, s.Head+1)
	}
}

// close stops the sealer and the settler and closes the files. The open segment
// is left for the next start.
func (d *disk) close() error {
	close(d.full)
	close(d.stop)
	d.work.Wait()
	d.reserve.release(reserveFiles)
	d.parked.close()
	return errors.Join(d.open.Close(), d.release())
}

// release closes everything except the open segment.
func (d *disk) release() error {
	var errs []error
	if d.index != nil {
		errs = append(errs, d.index.Close())
	}
	if d.files != nil {
		errs = append(errs, d.files.Close())
	}
	return errors.Join(append(errs, d.lock.Close())...)
}

// read continues with a reader that ended where this read begins, if there is one.
func (d *disk) read(ctx context.Context, from, through uint64, fn ReadFunc) error {
	r := d.parked.take(from)
	if r == nil {
		r = &reader{disk: d, next: from}
	}
	r.ctx, r.through, r.fn = ctx, through, fn
	if r.src != nil {
		r.src.ctx, r.src.failed = ctx, nil
	}
	err := r.run()
	if err != nil || r.from == nil {
		r.close()
	} else {
		d.parked.put(r)
	}
	return err
}
