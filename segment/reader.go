package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Batch is one batch as returned by a Reader.
type Batch struct {
	BatchHeader
	// Offset is where in the file the batch begins.
	Offset int64
	// Entries is the body: Count canonical entries, each followed by a newline.
	// It is valid until the Reader's next call, Close included.
	Entries []byte
}

// Reader reads the batches of one segment in order, in large reads, and verifies each. Not
// for concurrent use; any number of Readers may share a Segment.
type Reader struct {
	seg  *Segment
	f    Source
	w    window
	off  int64  // where the batch that Next returns begins
	next uint64 // its first index
	from uint64 // batches that end before this index are skipped

	pooled *[]byte // the buffer that w began with, or nil
}

// readBuffers holds buffers of readAhead bytes.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, readAhead); return &b }}

// NewReader opens the segment for reading from the batch that holds index, which must be one
// of the segment's. An error that wraps fs.ErrNotExist means that the segment has been
// removed: its entries are in the blobs. A table that cannot be read is a *DamageError;
// batches are read by Next.
func (s *Segment) NewReader(index uint64) (*Reader, error) {
	f, err := openFile(s.Path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return s.NewReaderOf(f, index)
}

// Source provides the bytes of a segment: its file, or a copy elsewhere. Errors of ReadAt
// that wrap ErrUnavailable end a read; all others count as damage.
type Source interface {
	io.ReaderAt
	io.Closer
}

// NewReaderOf is NewReader for a segment whose bytes come from src, which the Reader closes,
// even if NewReaderOf fails. Its errors are those of NewReader, and those of the source that
// wrap ErrUnavailable.
func (s *Segment) NewReaderOf(src Source, index uint64) (*Reader, error) {
	r := &Reader{seg: s, f: src, w: window{r: src}, from: index}
	if s.End() >= readAhead {
		r.pooled = readBuffers.Get().(*[]byte)
		r.w.buf = (*r.pooled)[:0]
	}
	if err := r.seek(index); err != nil {
		r.Close()
		if errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnavailable) {
			err = &DamageError{Path: s.Path, Offset: s.End(), First: index, Last: index, Err: err}
		}
		return nil, err
	}
	return r, nil
}

// seek goes to the batch that holds index. If the table disagrees with what is there, one of
// them is damaged: the table's checksum tells which.
func (r *Reader) seek(index uint64) error {
	off, _, first, _, err := r.seg.extent(r.f, index)
	if err == nil {
		r.w.size = r.seg.End()
		var h BatchHeader
		b, err := r.w.at(off, BatchHeaderSize)
		if err == nil {
			h, err = ParseBatchHeader(b)
		}
		if err == nil && h.First == first && h.Last() >= index {
			r.off, r.next = off, first
			return nil
		}
		if errors.Is(err, ErrUnavailable) {
			return err
		}
	}
	if err := r.seg.mendTable(r.f); err != nil {
		return fmt.Errorf("%w: table: %w", ErrDamaged, err)
	}
	r.off, _, r.next, _, err = r.seg.extent(r.f, index)
	return err
}

// Next returns the next batch. At the end of the durable bytes it returns io.EOF, and may be
// called again once more has been appended. An invalid batch is a *DamageError with the
// affected indices; the next call continues after the damage. If the error's Last is the
// segment's, there is nothing more to read. An error that wraps ErrUnavailable moves
// nothing: the next call tries again.
func (r *Reader) Next() (Batch, error) {
	for {
		b, last, err := r.advance()
		if last < r.from && (err == nil || errors.Is(err, ErrDamaged)) && !errors.Is(err, ErrUnavailable) {
			continue // a damaged table, or none, led to a batch before the wanted one
		}
		return b, err
	}
}

// advance returns the batch at the cursor, or its error and the last affected index, and
// moves the cursor past it.
func (r *Reader) advance() (b Batch, last uint64, err error) {
	// In this order: a commit in between moves both the end and the last index.
	last = r.seg.Last()
	r.w.size = r.seg.End()
	if r.next > last {
		return b, last, io.EOF
	}
	h, body, err := r.w.batch(r.off)
	switch {
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: zeros in place of a batch", ErrDamaged)
	case errors.Is(err, ErrUnavailable):
		return b, last, err
	case err == nil:
		err = h.check(r.off, r.next)
	}
	if err == nil {
		b = Batch{BatchHeader: h, Offset: r.off, Entries: body}
		r.off += BatchHeaderSize + int64(h.Size)
		r.next = h.Last() + 1
		return b, h.Last(), nil
	}
	// Bytes that the disk cannot return are as good as altered.
	d := &DamageError{Path: r.seg.Path, Offset: r.off, First: r.next, Last: last, Err: err}
	if err := r.seg.mendTable(r.f); errors.Is(err, ErrUnavailable) {
		return b, last, err
	} else if err != nil {
		r.next = last + 1 // and nothing says where the next batch is
		return b, last, d
	}
	if _, next, first, batchLast, err := r.seg.extent(r.f, r.next); err == nil && first == r.next {
		d.Last = batchLast
		r.off = next
	}
	r.next = d.Last + 1
	return b, d.Last, d
}

// Close closes the file, or the source. The Reader must not be used after it.
func (r *Reader) Close() error {
	if r.pooled != nil {
		readBuffers.Put(r.pooled)
		r.w, r.pooled = window{}, nil
	}
	return r.f.Close()
}
