package fsck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"tcp-log-server/canonical"
	"tcp-log-server/segment"
)

// chunkSize is how many bytes of batches are handed from the reader of the
// segments to the workers that hash them at a time.
const chunkSize = 256 << 10

// chunk is a run of parts of a segment in the order of the log. The reader fills
// it, a worker hashes its entries, and the walker takes it in turn.
type chunk struct {
	seg   *seg
	buf   []byte // the bodies of the batches
	parts []part
	// Of the entries of all batches, one after the other.
	hashes []segment.Hash
	sizes  []uint32
	bad    []error // by part: why a batch's body does not match its header
	done   sync.WaitGroup
	bytes  int64 // of the file that the chunk stands for
}

// part is a batch, or bytes in place of some.
type part struct {
	first, last uint64
	time        int64
	offset, end int64 // in the file
	lo, hi      int   // the body in buf
	lost        bool
	missing     bool  // no segment holds the entries any more: they are loose
	damage      error // the batch is not whole
	gap         bool  // no file holds the place of these entries
	unread      bool  // a quick check has not read them
}

// pipeline reads the segments in order, one read ahead of the other, and hashes
// their entries on all cores; next hands them out in order again. Memory is
// bounded by the number of chunks.
type pipeline struct {
	c       *checker
	work    chan *chunk
	ordered chan *chunk
	free    chan *chunk
	stop    chan struct{}
	total   int64
	cur     *chunk
	running sync.WaitGroup
}

// start starts the pipeline. The caller takes chunks from p.ordered, waits for
// each to be done, and calls end.
func (c *checker) start() *pipeline {
	n := 2*c.Workers + 2
	p := &pipeline{
		c: c, stop: make(chan struct{}),
		work: make(chan *chunk, n), ordered: make(chan *chunk, n), free: make(chan *chunk, 2*n),
	}
	for _, s := range c.segs {
		p.total += s.Size
	}
	indexed := c.index.Last
	for range c.Workers {
		p.running.Go(func() {
			for k := range p.work {
				k.hash(indexed)
				k.done.Done()
			}
		})
	}
	p.running.Go(func() {
		defer close(p.ordered)
		defer close(p.work)
		p.read()
	})
	return p
}

// end stops the pipeline and waits for its goroutines.
func (p *pipeline) end() {
	close(p.stop)
	p.running.Wait()
}

// read reads all segments.
func (p *pipeline) read() {
	end := chainEnd{last: p.c.first - 1}
	for _, s := range p.c.segs {
		if p.stopped() {
			return
		}
		end = p.segment(s, end)
		p.flush()
	}
}

func (p *pipeline) stopped() bool {
	select {
	case <-p.stop:
		return true
	case <-p.c.ctx.Done():
		return true
	default:
		return false
	}
}

// chainEnd is where a segment ends and the next should begin.
type chainEnd struct {
	last  uint64
	sum   uint32
	known bool // sum is
	path  string
}

// segment reads one segment that should follow what ended at before.
func (p *pipeline) segment(s *seg, before chainEnd) chainEnd {
	switch {
	case s.First > before.last+1:
		before.known = false
		p.add(s, part{first: before.last + 1, last: s.First - 1, gap: true, damage: fmt.Errorf("no segment holds these entries: %s begins at %d", segment.Name(s.First), s.First)}, nil)
	case s.First <= before.last:
		p.c.find(Finding{Kind: SegmentOverlap, File: s.Path, First: s.First, Last: before.last,
			Message: fmt.Sprintf("begins at index %d, and %s ends at %d", s.First, before.path, before.last)})
		p.c.plan.Update(func() { p.c.plan.Manual = append(p.c.plan.Manual, s.Path) })
	}
	if before.known && s.HeaderOK && s.Header.Prev != before.sum {
		p.c.plan.Rebuild(s.First)
		p.c.find(Finding{Kind: SegmentChain, File: s.Path, First: s.First, Want: hex32(before.sum), Got: hex32(s.Header.Prev),
			Message: fmt.Sprintf("follows checksum %08x, want %08x: that of %s", s.Header.Prev, before.sum, before.path)})
	}
	// should is where the segment should end, as far as others know.
	should := p.c.head
	if s.Next > 0 {
		should = s.Next - 1
	}
	if s.Sealed && s.HeaderOK {
		should = s.Footer.Last
	}
	if !s.Readable {
		s.Last = max(should, s.First-1)
		if s.Last >= s.First {
			p.add(s, part{first: s.First, last: s.Last, end: s.Size, damage: errors.New("the segment cannot be read")}, nil)
		}
		return chainEnd{last: s.Last, path: s.Path}
	}
	if p.c.Quick && s.Sealed && s.HeaderOK {
		s.Last = s.Footer.Last
		p.table(s, nil)
		p.add(s, part{first: s.First, last: s.Last, unread: true}, nil)
		return chainEnd{last: s.Last, sum: s.Footer.Sum, known: true, path: s.Path}
	}
	return p.batches(s, should)
}

// batches reads the batches of a segment.
func (p *pipeline) batches(s *seg, should uint64) chainEnd {
	f, err := segment.OpenRegular(s.Path)
	if gone(err) && p.c.goneOn(s) {
		// Removed since the start: its entries are in blobs now.
		s.Last = should
		p.add(s, part{first: s.First, last: s.Last, missing: true}, nil)
		return chainEnd{last: s.Last, path: s.Path}
	}
	if err != nil {
		p.unreadable(s, s.First, should, err)
		s.Last = max(should, s.First-1)
		p.add(s, part{first: s.First, last: s.Last, damage: err}, nil)
		return chainEnd{last: s.Last, path: s.Path}
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && s.Next > 0 && !s.Sealed {
		// It may have been sealed since.
		s.Size, s.Modified = fi.Size(), fi.ModTime()
		if s.Footer, s.Sealed = readFooter(f, s.Size); s.Sealed {
			should = s.Footer.Last
		}
	}
	limit := s.BatchesEnd()
	if s.Next == 0 && !s.Sealed {
		limit = s.Walked.End // the check has judged the rest when it began
		if at := s.Walked.Proved; at > 0 {
			limit = at + segment.BatchHeaderSize
		}
	}
	rows := newRows(f, s)
	w, err := segment.Walk(f, s.First, s.HeaderSum, s.HeaderOK, limit, func(piece segment.Piece) error {
		if p.stopped() {
			return errStopped
		}
		if piece.Fault != nil {
			p.c.plan.Rebuild(s.First)
			p.c.find(Finding{Kind: SegmentChain, File: s.Path, Offset: piece.Offset, First: piece.First, Last: piece.Last, Message: piece.Fault.Error()})
		}
		rows.next(piece)
		p.add(s, part{
			first: piece.First, last: piece.Last, time: piece.Time, offset: piece.Offset, end: piece.End,
			lost: piece.Lost, damage: piece.Damage,
		}, piece.Entries)
		return nil
	})
	if errors.Is(err, errStopped) {
		return chainEnd{}
	}
	if err != nil {
		p.unreadable(s, w.Last+1, should, err)
		w.Why = err
	}
	s.Last = w.Last
	end := chainEnd{last: w.Last, sum: w.Sum, known: err == nil, path: s.Path}
	if s.Sealed {
		end.sum = s.Footer.Sum
	}
	if !s.Sealed && s.Next > 0 {
		if again, ok := readFooter(f, fileSize(f)); ok && int64(again.Table) == w.End {
			s.Sealed, s.Footer, s.Size, w.Torn = true, again, fileSize(f), 0 // sealed meanwhile
			rows = newRows(f, s)
			rows.late = true
		} else {
			p.unsealed(s, f, w)
		}
	}
	if should > w.Last && (err != nil || w.Torn > 0 || s.Sealed || s.Next == 0) {
		if w.Why == nil {
			w.Why = fmt.Errorf("the batches end at index %d, want %d", w.Last, should)
		}
		p.add(s, part{first: w.Last + 1, last: should, offset: w.End, end: max(limit, w.End+s.Walked.Torn), damage: w.Why}, nil)
		s.Last, end.last, end.known = should, should, s.Sealed
		rows.fail(nil)
	} else if s.Sealed && s.HeaderOK {
		if want := s.Footer.Chain(); w.Batches > 0 && w.Sum != want && err == nil {
			rows.fail(fmt.Errorf("the last batch has checksum %08x, the footer says %08x", w.Sum, want))
		}
		if w.Torn > 0 {
			rows.fail(fmt.Errorf("%d bytes between the last batch and the table", w.Torn))
		}
	}
	if s.Sealed {
		p.table(s, rows)
	}
	return end
}

// readFooter reads the footer of a segment of the given size.
func readFooter(f *os.File, size int64) (segment.Footer, bool) {
	b := make([]byte, segment.FooterSize)
	if size < segment.HeaderSize+segment.FooterSize {
		return segment.Footer{}, false
	}
	if _, err := f.ReadAt(b, size-segment.FooterSize); err != nil {
		return segment.Footer{}, false
	}
	footer, ok, err := segment.ParseFooter(b, size)
	return footer, ok && err == nil
}

// goneOn reports whether the segment can have been removed by a daemon since the
// start: then there are later ones, and none before them.
func (c *checker) goneOn(s *seg) bool {
	firsts, err := segment.List(segmentDir(c.Data))
	return err == nil && len(firsts) > 0 && firsts[0] > s.First
}

// unsealed makes the findings on a segment that others follow and that has no
// footer. The next start seals it.
func (p *pipeline) unsealed(s *seg, f *os.File, w segment.Walked) {
	b := make([]byte, segment.FooterSize)
	if size := fileSize(f); size >= segment.HeaderSize+segment.FooterSize {
		f.ReadAt(b, size-segment.FooterSize)
	}
	_, _, err := segment.ParseFooter(b, s.Size)
	switch {
	case err != nil && binary.LittleEndian.Uint32(b[60:]) != 0:
		p.c.plan.Update(func() { p.c.plan.Reseal[s.First] = true })
		p.c.find(Finding{Kind: SegmentTable, File: s.Path, Offset: s.Size - segment.FooterSize, First: s.First, Last: s.Next - 1, Message: err.Error()})
	case w.Last == s.Next-1 && !s.Oversized():
		p.later(s, Finding{Kind: Unsealed, File: s.Path, Offset: w.End, First: s.First, Last: w.Last, Message: "is full and not sealed: the daemon does that, or the next start"})
		if w.Torn > 0 {
			p.c.mu.Lock()
			p.c.torn(s, w)
			p.c.mu.Unlock()
		}
	}
}

// later makes the finding at the end, unless the file has changed by then.
func (p *pipeline) later(s *seg, f Finding) {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later = append(c.later, func() {
		if fi, err := os.Stat(s.Path); err == nil && fi.Size() == s.Size {
			c.find(f)
		}
	})
}

// unreadable makes the finding that a segment cannot be read.
func (p *pipeline) unreadable(s *seg, first, last uint64, err error) {
	p.c.plan.Rebuild(s.First)
	p.c.unreadable(s.Path, first, last, err)
}

var errStopped = errors.New("stopped")

func hex32(sum uint32) string { return fmt.Sprintf("%08x", sum) }

func fileSize(f *os.File) int64 {
	fi, err := f.Stat()
	if err != nil {
		return 0
	}
	return fi.Size()
}

// add adds a part of a segment to the current chunk.
func (p *pipeline) add(s *seg, t part, body []byte) {
	if p.cur == nil {
		select {
		case p.cur = <-p.free:
			k := p.cur
			k.buf, k.parts, k.hashes, k.sizes, k.bad, k.bytes = k.buf[:0], k.parts[:0], k.hashes[:0], k.sizes[:0], k.bad[:0], 0
		default:
			p.cur = &chunk{buf: make([]byte, 0, min(chunkSize, s.Size))}
		}
		p.cur.seg = s
	}
	k := p.cur
	t.lo = len(k.buf)
	k.buf = append(k.buf, body...)
	t.hi = len(k.buf)
	k.parts = append(k.parts, t)
	k.bytes += t.end - t.offset
	if len(k.buf) >= chunkSize*7/8 || len(k.parts) >= 4096 {
		p.flush()
	}
}

// flush hands on the current chunk.
func (p *pipeline) flush() {
	k := p.cur
	if k == nil {
		return
	}
	p.cur = nil
	k.done.Add(1)
	p.work <- k
	select {
	case p.ordered <- k:
	case <-p.stop:
	}
}

// recycle gives the memory of a chunk back.
func (p *pipeline) recycle(k *chunk) {
	if cap(k.buf) > 4*chunkSize {
		return
	}
	select {
	case p.free <- k:
	default:
	}
}

// hash hashes the entries of the chunk. Those that the index does not have,
// beyond indexed, have no other witness, so they are checked to be canonical.
func (k *chunk) hash(indexed uint64) {
	for _, t := range k.parts {
		var bad error
		index := t.first
		for body := k.buf[t.lo:t.hi]; len(body) > 0 && t.damage == nil; index++ {
			n := bytes.IndexByte(body, '\n')
			if n < 0 {
				bad = errors.New("the last entry has no newline")
				break
			}
			k.hashes = append(k.hashes, segment.Sum(body[:n]))
			k.sizes = append(k.sizes, uint32(n))
			if index > indexed && bad == nil {
				if err := canonical.CheckStored(body[:n]); err != nil {
					bad = fmt.Errorf("index %d: %w", index, err)
				}
			}
			body = body[n+1:]
		}
		if want := t.last - t.first + 1; bad == nil && t.hi > t.lo && index-t.first != want {
			bad = fmt.Errorf("%w: batch of %d entries has %d lines", segment.ErrDamaged, want, index-t.first)
		}
		// The walker counts on as many as the batch should have.
		for ; t.hi > t.lo && index <= t.last; index++ {
			k.hashes = append(k.hashes, segment.Hash{})
			k.sizes = append(k.sizes, 0)
		}
		for ; t.hi > t.lo && index > t.last+1; index-- {
			k.hashes, k.sizes = k.hashes[:len(k.hashes)-1], k.sizes[:len(k.sizes)-1]
		}
		k.bad = append(k.bad, bad)
	}
}
