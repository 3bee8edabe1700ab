package segment

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Segment is one segment file as its readers see it. All methods may be called
// from any goroutine; while the segment is open, its Writer moves the end.
type Segment struct {
	Path   string
	Header Header

	mu     sync.RWMutex
	sealed bool
	footer Footer // when sealed
	rows   []Row  // while open, and when a sealed table turned out damaged
	last   uint64 // index of the last durable entry, Header.First-1 when empty
	end    int64  // end of the last durable batch
	sum    uint32 // checksum of the last durable batch, or of the header
}

// Stat reads the header of the file at path and, where it is sealed, the
// footer, and checks them against its name. It does not read any batch: a
// segment that is not sealed must be scanned before it can be used. A footer
// whose checksum is wrong counts as none: a crash while the segment was being
// sealed can leave a part of it, and the scan finds all that it said. The error
// is a *DamageError, or wraps ErrVersion, or is the file system's.
func Stat(path string) (*Segment, error) {
	// Before it is opened: opening a pipe waits for its other end.
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &DamageError{Path: path, Err: fmt.Errorf("%w: not a regular file but %s", ErrDamaged, fi.Mode().Type())}
	}
	f, err := openFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, HeaderSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	s := &Segment{Path: path}
	if s.Header, err = ParseHeader(b[:n]); err != nil {
		return nil, headerError(path, err)
	}
	if first, ok := ParseName(filepath.Base(path)); ok && first != s.Header.First {
		return nil, &DamageError{Path: path, Err: fmt.Errorf("%w: header has first index %d, the name says %d", ErrDamaged, s.Header.First, first)}
	}
	s.last, s.end, s.sum = s.Header.First-1, HeaderSize, Checksum(b[:60])
	size, err := readEnd(f, b[:FooterSize])
	if err != nil {
		return nil, err
	}
	if size < HeaderSize+FooterSize {
		return s, nil
	}
	at := size - FooterSize
	s.footer, s.sealed, err = ParseFooter(b[:FooterSize], size)
	if !s.sealed {
		return s, nil
	}
	if err == nil && s.footer.First != s.Header.First {
		err = fmt.Errorf("%w: footer has first index %d, the header %d", ErrDamaged, s.footer.First, s.Header.First)
	}
	if err != nil {
		return nil, &DamageError{Path: path, Offset: at, First: s.Header.First, Err: err}
	}
	s.last, s.end, s.sum = s.footer.Last, int64(s.footer.Table), s.footer.Sum
	return s, nil
}

// readEnd reads the last len(b) bytes of a segment, unless it is too short to
// hold them after a header, and returns its size. A daemon that seals the segment
// cuts off the space that it had filled ahead: what was the end a moment ago may
// lie past it now.
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

// Scan reads the whole of a segment that is not sealed, from the disk and not
// from the page cache, and takes what it finds for the segment's contents. See
// ScanBatches for what it returns.
func (s *Segment) Scan() (Scan, error) {
	f, err := openFile(s.Path, os.O_RDONLY, 0)
	if err != nil {
		return Scan{}, err
	}
	defer f.Close()
	dropCache(f)
	fi, err := f.Stat()
	if err != nil {
		return Scan{}, err
	}
	scan, err := ScanBatches(f, s.Path, fi.Size(), nil)
	if err != nil {
		return scan, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows, s.last, s.end, s.sum = scan.Rows, scan.Last, scan.End, scan.Sum
	return scan, nil
}

// Sealed reports whether the segment takes no more appends.
func (s *Segment) Sealed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sealed
}

// Last is the index of the segment's last durable entry, Header.First-1 while
// it has none.
func (s *Segment) Last() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// Sum is the checksum of the last durable batch, or of the header while there
// is none: what the next segment's Header.Prev must be.
func (s *Segment) Sum() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sum
}

// End is where the last durable batch ends, in bytes.
func (s *Segment) End() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.end
}

// extent returns where the batch that holds index lies and what it should hold:
// its offset, the offset after it, its first and its last index. The caller
// has checked that the segment holds index.
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

// mendTable replaces the table of a sealed segment, if its checksum is wrong, by
// what the batches say, as far as they can be read, so that the rest of the
// segment stays readable.
func (s *Segment) mendTable(f io.ReaderAt) error {
	s.mu.RLock()
	sealed, rows, footer, end := s.sealed, s.rows, s.footer, s.end
	s.mu.RUnlock()
	if !sealed || rows != nil {
		return nil
	}
	table := make([]byte, int(footer.Batches)*RowSize)
	if n, err := f.ReadAt(table, end); n < len(table) && !errors.Is(err, io.EOF) {
		return err
	}
	if Checksum(table) == footer.Rows {
		return nil
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
