package fsck

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"tcp-log-server/canonical"
	"tcp-log-server/segment"
)

// chunkSize is how many bytes of batches the reader of the segments hands at a time to the
// workers that hash them.
const chunkSize = 256 << 10

// chunk is a run of stretches of a segment in the order of the log. The reader fills it, a
// worker hashes its entries, and the walker then processes it.
type chunk struct {
	seg       *checkedSegment
	buf       []byte // the bodies of the batches
	stretches []stretch
	// Of the entries of all batches, in order.
	hashes []segment.Hash
	sizes  []uint32
	done   chan struct{} // closed when the entries are hashed
	bytes  int64         // of the file that the chunk covers
}

// stretch is a batch, or whatever is in place of some batches.
type stretch struct {
	segment.Piece
	lo, hi  int   // the body in buf, as Entries is valid only while it is read
	bad     error // why the body does not match the header, once it has been hashed
	missing bool  // no segment holds the entries any more: they are loose
	gap     bool  // the place of these entries is in no file
	unread  bool  // a quick check has not read it
}

// count returns how many entries of the stretch are hashed.
func (t stretch) count() int {
	if t.hi == t.lo {
		return 0
	}
	return int(t.Last - t.First + 1)
}

// pipeline reads the segments in order, ahead of the hashing, which runs on all cores. Memory
// is bounded by the number of chunks.
type pipeline struct {
	*checker
	work    chan *chunk
	ordered chan *chunk // in the order of the log
	used    sync.Pool   // of chunks
	size    int64       // of all segments
	cur     *chunk
	running sync.WaitGroup
}

// start starts the pipeline. The caller takes chunks from p.ordered, waits for each to be done,
// gives it to recycle, and in the end waits for p.running: everything has been read then, or
// the check's context is done.
func (c *checker) start() *pipeline {
	n := 2*c.Workers + 2
	p := &pipeline{checker: c, work: make(chan *chunk, n), ordered: make(chan *chunk, n)}
	for _, s := range c.segs {
		p.size += s.Size
	}
	indexed := c.index.Last
	for range c.Workers {
		p.running.Go(func() {
			for k := range p.work {
				k.hash(indexed)
				close(k.done)
			}
		})
	}
	p.running.Go(func() {
		defer close(p.ordered)
		defer close(p.work)
		var before *checkedSegment
		for _, s := range c.segs {
			if c.ctx.Err() != nil {
				return
			}
			p.segment(s, before)
			p.flush()
			before = s
		}
	})
	return p
}

// add adds a stretch of a segment to the current chunk.
func (p *pipeline) add(s *checkedSegment, t stretch) {
	if p.cur == nil {
		k, ok := p.used.Get().(*chunk)
		if !ok {
			k = &chunk{buf: make([]byte, 0, min(chunkSize, s.Size))}
		}
		k.seg, k.done = s, make(chan struct{})
		p.cur = k
	}
	k := p.cur
	t.lo = len(k.buf)
	k.buf = append(k.buf, t.Entries...)
	t.hi, t.Entries = len(k.buf), nil
	k.stretches = append(k.stretches, t)
	k.bytes += t.End - t.Offset
	if len(k.buf) >= chunkSize*7/8 || len(k.stretches) >= 4096 {
		p.flush()
	}
}

// flush passes on the current chunk.
func (p *pipeline) flush() {
	if k := p.cur; k != nil {
		p.cur = nil
		p.work <- k
		select {
		case p.ordered <- k:
		case <-p.ctx.Done():
		}
	}
}

// recycle returns the memory of a chunk.
func (p *pipeline) recycle(k *chunk) {
	if cap(k.buf) <= 4*chunkSize {
		p.used.Put(&chunk{buf: k.buf[:0], stretches: k.stretches[:0], hashes: k.hashes[:0], sizes: k.sizes[:0]})
	}
}

// hash hashes the entries of the chunk, as many of each batch as its header says. Entries
// without an index record, beyond indexed, have no other witness, so they are checked to be
// canonical.
func (k *chunk) hash(indexed uint64) {
	for i := range k.stretches {
		t := &k.stretches[i]
		n, want := 0, t.count()
		for body := k.buf[t.lo:t.hi]; len(body) > 0; n++ {
			line, rest, whole := bytes.Cut(body, []byte{'\n'})
			if !whole {
				t.bad = errors.New("the last entry has no newline")
				break
			}
			if n < want {
				k.hashes, k.sizes = append(k.hashes, segment.Sum(line)), append(k.sizes, uint32(len(line)))
			}
			if index := t.First + uint64(n); index > indexed && t.bad == nil {
				if err := canonical.CheckStored(line); err != nil {
					t.bad = fmt.Errorf("index %d: %w", index, err)
				}
			}
			body = rest
		}
		if t.bad == nil && n != want {
			t.bad = fmt.Errorf("%w: batch of %d entries has %d lines", segment.ErrDamaged, want, n)
		}
		for ; n < want; n++ {
			k.hashes, k.sizes = append(k.hashes, segment.Hash{}), append(k.sizes, 0)
		}
	}
}
