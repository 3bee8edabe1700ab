package segment

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sort"
	"sync"
)

// Segment is one segment file as its readers see it. All methods may be called from any goroutine; while the
// segment is open, its Writer moves the end.
type Segment struct {
	Path   string
	Header Header

	mu     sync.RWMutex
	sealed bool
	footer Footer // if sealed
	rows   []Row  // while open, or if a sealed table turned out to be damaged
	last   uint64 // index of the last durable entry, Header.First-1 if empty
	end    int64  // end of the last durable batch
	sum    uint32 // checksum of the last durable batch, or of the header
}

// readEnd reads the last len(b) bytes of a segment, unless it is too short to hold them after a header, and
// returns its size. A server that seals the segment cuts off the preallocated space: the former end may now be
// beyond the file.
func readEnd(f *os.File, b []byte) (size int64, err error) {
	for before := int64(math.MaxInt64); ; before = size {
		fi, err := f.Stat()
		if err != nil {
			return 0, err
		}
		size = fi.Size()
		if size < HeaderSize+int64(len(b)) {
			return size, nil
		}
		switch _, err := f.ReadAt(b, size-int64(len(b))); {
		case err == nil:
			return size, nil
		case !errors.Is(err, io.EOF):
			return 0, err
		case size >= before:
			return 0, &DamageError{Path: f.Name(), Offset: size - int64(len(b)), Err: fmt.Errorf("%w: the file has %d bytes and ends before: %w", ErrDamaged, size, io.ErrUnexpectedEOF)}
		}
	}
}

// Sealed reports whether the segment takes no more appends.
func (s *Segment) Sealed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sealed
}

// Last returns the index of the segment's last durable entry, Header.First-1 while it has none.
func (s *Segment) Last() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// Sum returns the checksum of the last durable batch, or of the header while there is none: what the next
// segment's Header.Prev must be.
func (s *Segment) Sum() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sum
}

// End returns where the last durable batch ends, in bytes.
func (s *Segment) End() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.end
}

// Lost reports whether fsck has recorded the entry of index, which must be one of the segment's, as permanently
// lost after it had a record. In a segment that fsck has not rewritten, the record says so itself: an entry
// there was lost before it arrived, see Writer.CommitAll. An error that wraps fs.ErrNotExist means that the
// segment has been removed.
func (s *Segment) Lost(index uint64) (bool, error) {
	s.mu.RLock()
	inMemory, whole := s.rows != nil, s.sealed && !s.footer.Repaired
	s.mu.RUnlock()
	if whole {
		return false, nil
	}
	var f *os.File
	if !inMemory {
		var err error
		if f, err = openFile(s.Path, os.O_RDONLY, 0); err != nil {
			return false, err
		}
		defer f.Close()
	}
	off, next, _, _, err := s.extent(f, index)
	return next == off+BatchHeaderSize, err // a batch without a body
}

// extent returns where the batch that holds index is and what it should hold: its offset, the offset after it,
// its first and its last index. The caller has checked that the segment holds index.
func (s *Segment) extent(f io.ReaderAt, index uint64) (off, next int64, first, last uint64, err error) {
	s.mu.RLock()
	rows, n, end, lastIndex := s.rows, int(s.footer.Batches), s.end, s.last
	s.mu.RUnlock()
	row := func(i int) (Row, error) { return rows[i], nil }
	if rows != nil {
		n = len(rows)
	} else {
		var b [RowSize]byte
		row = func(i int) (Row, error) {
			if _, err := f.ReadAt(b[:], end+int64(i)*RowSize); err != nil {
				return Row{}, fmt.Errorf("%w: table: %w", ErrDamaged, err)
			}
			return ParseRow(b[:]), nil
		}
	}
	delta := uint32(index - s.Header.First)
	// The last row whose delta is not beyond index.
	lo, hi := 0, n
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		r, err := row(mid)
		if err != nil {
			return 0, 0, 0, 0, err
		}
		if r.Delta <= delta {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0, 0, 0, 0, fmt.Errorf("%w: table has no batch for index %d", ErrDamaged, index)
	}
	at, err := row(lo - 1)
	if err != nil {
		return 0, 0, 0, 0, err
	}
	off, first, next, last = int64(at.Offset), s.Header.First+uint64(at.Delta), end, lastIndex
	if lo < n {
		after, err := row(lo)
		if err != nil {
			return 0, 0, 0, 0, err
		}
		next, last = int64(after.Offset), s.Header.First+uint64(after.Delta)-1
	}
	if off < HeaderSize || next < off+BatchHeaderSize || next > end || last < first {
		return 0, 0, 0, 0, fmt.Errorf("%w: table has a batch from offset %d to %d, the segment ends at %d", ErrDamaged, off, next, end)
	}
	return off, next, first, last, nil
}

// mendTable replaces the table of a sealed segment, if its checksum is wrong, by one made from the batches, as
// far as they can be read, so that the rest of the segment stays readable.
func (s *Segment) mendTable(f io.ReaderAt) error {
	s.mu.RLock()
	sealed, rows, footer, end := s.sealed, s.rows, s.footer, s.end
	s.mu.RUnlock()
	if !sealed || rows != nil {
		return nil
	}
	_, sum, err := ReadTable(f, footer)
	if err != nil && !errors.Is(err, io.EOF) || err == nil && sum == footer.Rows {
		return err
	}
	scan, err := ScanBatches(f, s.Path, end, nil)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if len(scan.Rows) > 0 {
		s.mu.Lock()
		s.rows = slices.Clip(scan.Rows)
		s.mu.Unlock()
	}
	return nil
}

// LostRuns returns the runs of the entries first..last, all of which must be the segment's, that are recorded
// as lost in it although they may have records that are not. An error that wraps fs.ErrNotExist means that the
// segment has been removed.
func (s *Segment) LostRuns(first, last uint64) (lost []Run, err error) {
	s.mu.RLock()
	rows, end, lastIndex, whole := s.rows, s.end, s.last, s.sealed && !s.footer.Repaired
	s.mu.RUnlock()
	if whole {
		return nil, nil
	}
	if rows == nil {
		if rows, err = s.table(); err != nil {
			return nil, err
		}
	}
	start := sort.Search(len(rows), func(i int) bool { return s.Header.First+uint64(rows[i].Delta) > first })
	for i := max(start-1, 0); i < len(rows); i++ {
		batch, next := Run{s.Header.First + uint64(rows[i].Delta), lastIndex}, end
		if i+1 < len(rows) {
			batch[1], next = s.Header.First+uint64(rows[i+1].Delta)-1, int64(rows[i+1].Offset)
		}
		if batch[0] > last {
			break
		}
		if next == int64(rows[i].Offset)+BatchHeaderSize {
			lost = append(lost, Run{max(batch[0], first), min(batch[1], last)})
		}
	}
	return lost, nil
}

// table reads the table of a sealed segment, or makes it from the batches if it is damaged.
func (s *Segment) table() ([]Row, error) {
	f, err := openFile(s.Path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := s.mendTable(f); err != nil {
		return nil, err
	}
	s.mu.RLock()
	rows, footer := s.rows, s.footer
	s.mu.RUnlock()
	if rows == nil {
		rows, _, err = ReadTable(f, footer)
	}
	return rows, err
}
