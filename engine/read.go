package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"
	"syscall"

	"tcp-log-server/segment"
)

// looseRun is how many bytes of blobs are passed on as one run.
const looseRun = 256 << 10

// reader is one read of a disk: a cursor that goes from segment to segment, first in the
// archive, and through the blobs of entries whose segments are gone. Between two consecutive
// reads it is parked with its file open and its batch verified.
type reader struct {
	*disk
	ctx     context.Context
	next    uint64 // the cursor
	through uint64
	fn      ReadFunc
	time    int64 // when the entries that fn gets were committed, in µs since 1970 UTC

	seg   *segment.Segment // the segment that from reads; nil when there is none
	from  *segment.Reader
	batch segment.Batch // the last one that from read

	far *archivedFile // the file that from reads, if it is in the archive
	src *bytesOf      // and its bytes
	// mistrusted is where the cursor was when bytes were last read from the archive again.
	mistrusted uint64

	records *segment.Records
	buf     []byte // a run of blobs
	loose   []looseEntry
}

func (r *reader) run() error {
	for r.next <= r.through {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		var err error
		switch b := &r.batch; {
		case b.Count > 0 && b.First <= r.next && r.next <= b.Last():
			r.time = b.Time
			err = r.emit(b.First, int(b.Count), b.Entries)
		case r.seg != nil && r.next <= r.seg.Last():
			err = r.nextBatch()
		default:
			err = r.enter()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// enter opens the segment that holds the cursor, here or in the archive, or reads the blobs
// before it.
func (r *reader) enter() error {
	r.leave()
	seg, first := r.find(r.next)
	if seg == nil {
		ok, last := r.archived.has(r.next, first-1)
		if ok {
			return r.enterFar(last)
		}
		return r.readLoose(min(r.through, last))
	}
	from, err := seg.NewReader(r.next)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r.removed(seg, err)
	case lacksFiles(err):
		return err
	case err != nil:
		return r.salvage(seg, seg.Last(), err)
	}
	r.seg, r.from = seg, from
	return nil
}

// enterFar opens the archived segment that holds the cursor; the archive has all entries
// through last.
func (r *reader) enterFar(last uint64) error {
	far, src, err := r.archived.enter(r.ctx, r.next, last)
	var damage *segment.DamageError
	switch {
	case errors.Is(err, ErrUnavailable):
		return err
	case errors.As(err, &damage):
		return r.unbatched(min(max(damage.Last, r.next), last), 0, err)
	case err != nil:
		return err
	}
	from, err := far.seg.NewReaderOf(src, r.next)
	r.far, r.src = far, src
	switch {
	case errors.Is(err, ErrUnavailable):
		return err
	case err != nil:
		return r.mistrust(far.seg.Last(), err)
	}
	r.seg, r.from = far.seg, from
	return nil
}

// mistrust handles a batch of an archived segment that goes through last and failed its check
// because of why: it is read from the archive once more before that counts as damage.
func (r *reader) mistrust(last uint64, why error) error {
	if r.mistrusted != r.next && r.archived.forget(r.far) {
		r.mistrusted = r.next
		r.leave()
		return nil
	}
	return r.salvage(r.far.seg, last, why)
}

// removed handles a segment whose file is missing because of err: unless it was removed just
// now, when its entries are in blobs, they are damaged.
func (r *reader) removed(seg *segment.Segment, err error) error {
	if again, _ := r.find(r.next); again != seg {
		return nil
	}
	return r.damaged(min(r.through, seg.Last()), err)
}

// lacksFiles reports whether err says that the process or the machine is out of file
// descriptors. That is no fault of any entry: it ends the read.
func lacksFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// nextBatch reads the segment's next batch, to be passed on from r.batch, or handles one that
// is empty or cannot be trusted.
func (r *reader) nextBatch() error {
	r.batch = segment.Batch{}
	b, err := r.from.Next()
	var damage *segment.DamageError
	switch {
	case errors.Is(err, ErrUnavailable):
		return err
	case errors.As(err, &damage) && r.far != nil:
		return r.mistrust(damage.Last, err)
	case errors.As(err, &damage):
		return r.salvage(r.seg, damage.Last, err)
	case errors.Is(err, io.EOF):
		return r.enter() // past the end that it was opened for
	case err != nil:
		return err
	case b.Lost():
		defer r.leave()
		return r.unbatched(b.Last(), b.Time, ErrLost)
	}
	r.batch = b
	return nil
}

// leave closes the segment.
func (r *reader) leave() {
	if r.from != nil {
		r.from.Close()
	}
	r.seg, r.from, r.batch = nil, nil, segment.Batch{}
	r.far, r.src = nil, nil
}

// emit passes on the run of count entries that begins at or before the cursor.
func (r *reader) emit(first uint64, count int, entries []byte) error {
	first, count, entries = clip(first, count, entries, r.next, r.through)
	if err := r.fn(first, count, entries, r.time, nil); err != nil {
		return err
	}
	r.next = first + uint64(count)
	return nil
}

// damaged passes on that the entries from the cursor through last cannot be read.
func (r *reader) damaged(last uint64, err error) error {
	last = min(last, r.through)
	if err := r.fn(r.next, int(last-r.next+1), nil, r.time, err); err != nil {
		return err
	}
	r.next = last + 1
	return nil
}

// salvage reads on from the cursor, where a batch of seg that goes through last failed its
// check because of why: the rest of the segment, by everything that proves its entries. If
// the file cannot be read that far, the entries of that batch are left to the index and the
// blobs, and the read continues with the next batch.
func (r *reader) salvage(seg *segment.Segment, last uint64, why error) error {
	src := r.src
	r.leave() // it may have gone past the cursor
	var unread, err error
	if src == nil {
		_, unread, err = seg.File().Read(r.next, min(seg.Last(), r.through), r.witnesses(), r.proved)
	} else {
		_, unread, err = seg.File().ReadFrom(src, r.next, min(seg.Last(), r.through), r.witnesses(), r.provedFar(src))
	}
	switch {
	case src != nil && src.failed != nil:
		return src.failed
	case err != nil || unread == nil:
		return err
	case errors.Is(unread, fs.ErrNotExist):
		return r.removed(seg, unread)
	case lacksFiles(unread):
		return unread
	}
	return r.unbatched(last, 0, why)
}

// unbatched passes on, from their blobs, the entries from the cursor through last, which are
// not in an intact batch because of why.
func (r *reader) unbatched(last uint64, time int64, why error) error {
	return r.witnesses().Read(r.next, min(last, r.through), time, why, r.proved)
}

func (r *reader) witnesses() segment.Witnesses {
	return segment.Witnesses{Context: r.ctx, Records: r.settledRecords(), Blobs: r.blobs}
}

// proved passes on what the witnesses say about some entries.
func (r *reader) proved(first uint64, count int, entries []byte, time int64, err error) error {
	if lacksFiles(err) || errors.Is(err, ErrUnavailable) {
		return err
	}
	if err := r.ctx.Err(); err != nil {
		return err
	}
	r.next, r.time = first, time
	if err != nil {
		return r.damaged(first+uint64(count)-1, err)
	}
	return r.emit(first, count, entries)
}

// provedFar is proved for entries of an archived segment: what the archive cannot return now
// is not damaged.
func (r *reader) provedFar(src *bytesOf) segment.EntriesFunc {
	return func(first uint64, count int, entries []byte, time int64, err error) error {
		if err != nil && src.failed != nil {
			return src.failed
		}
		return r.proved(first, count, entries, time, err)
	}
}

// settledRecords returns the cursor on the index, as far as the index goes by now.
func (r *reader) settledRecords() *segment.Records {
	if r.records == nil {
		r.records = segment.NewRecords(r.cfg.WAL, 0)
	}
	r.records.Extend(r.settled.Load())
	return r.records
}

// readLoose reads the entries from the cursor through last from their blobs.
func (r *reader) readLoose(last uint64) error {
	records := r.settledRecords()
	first, count := r.next, 0
	r.buf = r.buf[:0]
	flush := func() error {
		if count == 0 {
			return nil
		}
		run, n := r.buf, count
		r.buf, count = r.buf[:0], 0
		return r.emit(first, n, run)
	}
	for index := r.next; index <= last; {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		r.loose = r.ahead(records, index, last, r.loose[:0])
		r.readBlobs(r.ctx, r.loose)
		for _, e := range r.loose {
			if err := r.ctx.Err(); err != nil {
				return err // an error of this read, not of the entry
			}
			if lacksFiles(e.err) || errors.Is(e.err, ErrUnavailable) {
				return errors.Join(flush(), e.err)
			}
			if e.err != nil || len(r.buf) > looseRun || e.rec.Time != r.time {
				if err := flush(); err != nil {
					return err
				}
				r.time = e.rec.Time
			}
			if e.err != nil {
				if err := r.damaged(index, e.err); err != nil {
					return err
				}
			} else {
				if count == 0 {
					first = index
				}
				r.buf = append(append(r.buf, e.entry...), '\n')
				count++
			}
			index++
		}
	}
	return flush()
}

func (r *reader) close() {
	r.leave()
	if r.records != nil {
		r.records.Close()
	}
}

// parkMax is how many readers are kept for reads that continue where they ended. Each holds a
// file and a buffer of up to a batch.
const parkMax = 16

// parking keeps readers between reads: a client that polls, or a follower, comes back for the
// entry after the last one it was given.
type parking struct {
	mu      sync.Mutex
	readers []*reader // parked longest first
	closed  bool      // no more are kept
}

// take returns a reader whose cursor is at next, or nil.
func (p *parking) take(next uint64) *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range p.readers {
		if r.next == next {
			p.readers = slices.Delete(p.readers, i, i+1)
			return r
		}
	}
	return nil
}

// put parks a reader that has finished.
func (p *parking) put(r *reader) {
	r.ctx, r.fn = nil, nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		r.close()
		return
	}
	if len(p.readers) == parkMax {
		p.readers[0].close()
		p.readers = slices.Delete(p.readers, 0, 1)
	}
	p.readers = append(p.readers, r)
}

// close closes all parked readers, and those that come later.
func (p *parking) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.clear()
}

// clear closes all parked readers.
func (p *parking) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.readers {
		r.close()
	}
	p.readers = nil
}
