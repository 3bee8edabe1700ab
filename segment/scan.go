package segment

import (
	"bytes"
	"io"
)

// Scan is the result of a pass over all batches of a segment.
type Scan struct {
	Header Header
	// Rows has a row for each intact batch.
	Rows []Row
	// Last is the index of the last entry of the last intact batch, or Header.First-1 if
	// there is none.
	Last uint64
	// End is where the last intact batch ends.
	End int64
	// Sum is the checksum of the last intact batch, or the header's.
	Sum uint32
	// Torn is the number of bytes from End up to the last one that is not zero, if there
	// is more than a proof of the end. Zeros alone are preallocated space.
	Torn int64
	// Damage says why the torn bytes are not what a crash leaves of a write; nil if they
	// may be. It is a *DamageError.
	Damage error
	// Proved says that there is a proof at End: everything before it was durable.
	Proved bool
}

// ScanBatches reads the segment in r from its header to size, and verifies every batch.
// It is Walk for callers that cannot use anything after damage: it ends there. fn, unless
// nil, gets each batch in turn, whose body is valid only during the call; an error of fn
// ends the scan and is returned as it is.
//
// If a batch is invalid there are two cases. If an intact batch header or a proof follows
// anywhere after it, it had been durable: that is a *DamageError, and so is an intact
// header in its place that belongs elsewhere. If nothing follows, Torn counts its bytes,
// Damage says whether they can be what a crash left of a write, and the error is nil. The
// caller must check whether the index or a later segment knows better.
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
	end, err := w.walk(s.Header.First, s.Sum, true, func(p Piece) error {
		if err := p.wrong(); err != nil {
			return &DamageError{Path: path, Offset: p.Offset, First: s.Last + 1, Err: err}
		}
		if fn != nil {
			if err := fn(p.Offset, p.header, p.Entries); err != nil {
				return err
			}
		}
		s.Rows = append(s.Rows, Row{Delta: uint32(p.First - s.Header.First), Offset: uint32(p.Offset)})
		s.Last, s.End, s.Sum = p.Last, p.End, p.Sum
		return nil
	})
	if err == nil && end.Misplaced {
		err = &DamageError{Path: path, Offset: s.End, First: s.Last + 1, Err: end.Why}
	}
	if err == nil {
		s.Torn, s.Proved = end.Torn, end.Proved > 0
		if s.Torn > 0 && !end.Unwritten {
			s.Damage = &DamageError{Path: path, Offset: s.End, First: s.Last + 1, Err: end.Why}
		}
	}
	return s, err
}

// nonZero returns the offset of the first byte at or after off that is not zero, or -1.
func (w *window) nonZero(off int64) (int64, error) {
	for off = skipHole(w.r, off); off < w.size; off = skipHole(w.r, off) {
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
