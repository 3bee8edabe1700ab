package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Scan is what a pass over all batches of a segment found.
type Scan struct {
	Header Header
	// Rows has a row for each whole batch.
	Rows []Row
	// Last is the index of the last entry of the last whole batch, or
	// Header.First-1 when there is none.
	Last uint64
	// End is where the last whole batch ends.
	End int64
	// Sum is the checksum of the last whole batch, or the header's.
	Sum uint32
	// Torn is the number of bytes from End on up to the last one that is not
	// zero: what a crash left of a batch that was never acknowledged. Zeros
	// alone are space that was made ready.
	Torn int64
}

// ScanBatches reads the segment in r from its header to size, verifying every
// batch: its checksums, its place in the chain, its index. fn, unless nil, gets
// each batch in turn; its body is valid during the call only, and an error of
// fn ends the scan and is returned as it is.
//
// Where a batch does not check out there are two cases. If a whole batch header
// follows anywhere behind it, it had been durable: that is a *DamageError, and
// so is a whole header in its place that belongs somewhere else. If nothing follows, it is what a write left
// that a crash cut short: Torn counts its bytes and the error is nil. Whether
// an index or a later segment knows better is for the caller to say.
func ScanBatches(r io.ReaderAt, path string, size int64, fn func(off int64, h BatchHeader, body []byte) error) (Scan, error) {
	w := &window{r: r, size: size}
	s := Scan{}
	b, err := w.at(0, HeaderSize)
	if err != nil {
		return s, err
	}
	if s.Header, err = ParseHeader(b); err != nil {
		return s, headerError(path, err)
	}
	s.Last, s.End, s.Sum = s.Header.First-1, HeaderSize, Checksum(b[:60])
	for {
		h, body, err := w.batch(s.End, s.Last+1)
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err == nil && h.Prev != s.Sum {
			err = fmt.Errorf("%w: batch follows checksum %08x, want %08x", ErrDamaged, h.Prev, s.Sum)
		}
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				return s, err
			}
			return s.tail(w, path, err)
		}
		if fn != nil {
			if err := fn(s.End, h, body); err != nil {
				return s, err
			}
		}
		s.Rows = append(s.Rows, Row{Delta: uint32(h.First - s.Header.First), Offset: uint32(s.End)})
		s.Last, s.Sum = h.Last(), h.Sum
		s.End += BatchHeaderSize + int64(h.Size)
	}
}

// batch returns the batch at off, whose first index must be first. The error is
// io.EOF where the file ends exactly there or holds no more than zeros in place
// of a header, and wraps ErrDamaged where the bytes are no such batch.
func (w *window) batch(off int64, first uint64) (BatchHeader, []byte, error) {
	b, err := w.at(off, BatchHeaderSize)
	if err != nil {
		return BatchHeader{}, nil, err
	}
	if allZero(b) {
		// An end, unless something lies behind the zeros: only a scan can tell,
		// and recovery scans.
		rest, err := w.nonZero(off)
		if err != nil {
			return BatchHeader{}, nil, err
		}
		if rest < 0 {
			return BatchHeader{}, nil, io.EOF
		}
		return BatchHeader{}, nil, fmt.Errorf("%w: zeros in place of a batch, and other bytes at offset %d", ErrDamaged, rest)
	}
	h, err := ParseBatchHeader(b)
	if err != nil {
		return h, nil, err
	}
	if h.First != first {
		return h, nil, fmt.Errorf("%w: batch begins at index %d, want %d", ErrDamaged, h.First, first)
	}
	if h.Synced > uint64(off) {
		return h, nil, fmt.Errorf("%w: batch has synced offset %d beyond itself", ErrDamaged, h.Synced)
	}
	if rest := w.size - off - BatchHeaderSize; int64(h.Size) > rest {
		return h, nil, fmt.Errorf("%w: batch body of %d bytes is cut short at %d", ErrDamaged, h.Size, rest)
	}
	b, err = w.at(off, BatchHeaderSize+int(h.Size))
	if err != nil {
		return h, nil, err
	}
	if len(b) < BatchHeaderSize+int(h.Size) {
		return h, nil, fmt.Errorf("%w: the file was cut short while it was read", ErrDamaged)
	}
	body := b[BatchHeaderSize:]
	if got := Checksum(body); got != h.Body {
		return h, nil, fmt.Errorf("%w: batch checksum is %08x, want %08x", ErrDamaged, got, h.Body)
	}
	return h, body, nil
}

// tail judges the bytes from s.End on, where no batch checks out because of why.
func (s Scan) tail(w *window, path string, why error) (Scan, error) {
	damage := func(err error) (Scan, error) {
		return s, &DamageError{Path: path, Offset: s.End, First: s.Last + 1, Err: err}
	}
	last := s.End - 1
	for off := s.End; off < w.size; {
		b, err := w.at(off, readAhead)
		if err != nil {
			return s, err
		}
		if len(b) == 0 {
			break
		}
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], batchMagic[:])
			if i < 0 || at+i+BatchHeaderSize > len(b) {
				break
			}
			at += i
			h, err := ParseBatchHeader(b[at:])
			if err != nil || h.First <= s.Last {
				continue
			}
			if off+int64(at) > s.End {
				return damage(fmt.Errorf("%w (whole batch of index %d behind it at offset %d: this is no torn write)", why, h.First, off+int64(at)))
			}
			// A write that was cut short has the header that belongs here.
			if h.First != s.Last+1 || h.Prev != s.Sum || h.Synced > uint64(s.End) {
				return damage(why)
			}
		}
		if n := lastNonZero(b); n >= 0 {
			last = off + int64(n)
		}
		if off+int64(len(b)) >= w.size {
			break
		}
		// The next piece begins so that no header is cut in two.
		off += int64(max(len(b)-BatchHeaderSize+1, 1))
	}
	s.Torn = last + 1 - s.End
	return s, nil
}

// nonZero returns the offset of the first byte at or after off that is not
// zero, or -1.
func (w *window) nonZero(off int64) (int64, error) {
	for off < w.size {
		b, err := w.at(off, readAhead)
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			break
		}
		if i := firstNonZero(b); i >= 0 {
			return off + int64(i), nil
		}
		off += int64(len(b))
	}
	return -1, nil
}

func allZero(b []byte) bool { return firstNonZero(b) < 0 }

func firstNonZero(b []byte) int {
	const step = 4096
	for off := 0; off < len(b); off += step {
		piece := b[off:min(off+step, len(b))]
		if bytes.Equal(piece, zeros[:len(piece)]) {
			continue
		}
		for i, c := range piece {
			if c != 0 {
				return off + i
			}
		}
	}
	return -1
}

func lastNonZero(b []byte) int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return i
		}
	}
	return -1
}
