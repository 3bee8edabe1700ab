package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Batch is one batch as a Reader hands it out.
type Batch struct {
	BatchHeader
	// Offset is where in the file the batch begins.
	Offset int64
	// Entries is the body: Count canonical entries, each followed by a newline.
	// It is valid until the Reader's next call.
	Entries []byte
}

// Reader reads the batches of one segment in order, in large reads, verifying
// each. Not for concurrent use; any number of Readers may share a Segment.
type Reader struct {
	seg  *Segment
	f    *os.File
	w    window
	off  int64  // the batch that Next returns begins here
	next uint64 // its first index
}

// NewReader opens the segment for reading from the batch that holds index,
// which must be one of the segment's. An error that wraps fs.ErrNotExist means
// that the segment has been removed: its entries are in the blobs.
func (s *Segment) NewReader(index uint64) (*Reader, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, err
	}
	off, _, first, _, err := s.extent(f, index)
	if errors.Is(err, ErrDamaged) {
		s.rebuild(f)
		off, _, first, _, err = s.extent(f, index)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, ErrDamaged) {
			err = &DamageError{Path: s.Path, Offset: s.End(), First: index, Last: index, Err: err}
		}
		return nil, err
	}
	return &Reader{seg: s, f: f, w: window{r: f}, off: off, next: first}, nil
}

// Next returns the next batch. At the end of what is durable it returns io.EOF,
// and may be called again once more has been appended. A batch that does not
// check out is a *DamageError with the indices concerned; the call after it
// goes on behind the damage. Where the error's Last is the segment's, there is
// nothing more to read.
func (r *Reader) Next() (Batch, error) {
	end, last := r.seg.End(), r.seg.Last()
	if r.next > last {
		return Batch{}, io.EOF
	}
	r.w.size = end
	h, body, err := r.w.batch(r.off, r.next)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: zeros in place of a batch", ErrDamaged)
	}
	if err == nil {
		b := Batch{BatchHeader: h, Offset: r.off, Entries: body}
		r.off += BatchHeaderSize + int64(h.Size)
		r.next = h.Last() + 1
		return b, nil
	}
	if !errors.Is(err, ErrDamaged) {
		return Batch{}, err
	}
	d := &DamageError{Path: r.seg.Path, Offset: r.off, First: r.next, Last: last, Err: err}
	if _, next, first, batchLast, err := r.seg.extent(r.f, r.next); err == nil && first == r.next {
		d.Last = batchLast
		r.off = next
	}
	r.next = d.Last + 1
	return Batch{}, d
}

// Raw returns the bytes that lie between the header of the batch that holds
// index and the batch behind it, verified by nothing: what is left to look for
// entries in after a *DamageError. It returns the first index of the batch.
func (r *Reader) Raw(index uint64) (first uint64, body []byte, err error) {
	off, next, first, _, err := r.seg.extent(r.f, index)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, next-off-BatchHeaderSize)
	n, err := r.f.ReadAt(body, off+BatchHeaderSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	return first, body[:n], nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }
