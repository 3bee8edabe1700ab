package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// File is one segment as Capture found it.
type File struct {
	Path string
	// First is the first index, by the name of the file. Last is the last one that the file
	// holds: by the footer, or of the last intact batch; First-1 if it holds none. Through is
	// how far it should go, also according to the next segment and the index.
	First, Last, Through uint64
	// Size is the length of the file in bytes, and Modified the time of its last change.
	Size     int64
	Modified time.Time

	// Err says why nothing in the file is usable: it cannot be read, is not a regular file,
	// belongs to another index, or has another version.
	Err error
	// HeaderErr says why the header cannot be used. The batches may be intact.
	HeaderErr error
	// Damage is the first error in the footer or, where the file was read, in the batches. It
	// is a *DamageError.
	Damage error

	// Header is the file's header, and HeaderSum its checksum, which is the predecessor of
	// the first batch. Both are zero with HeaderErr.
	Header    Header
	HeaderSum uint32
	// Footer is the file's footer if it is Sealed, and zero otherwise.
	Footer Footer
	Sealed bool
	// Walked is the result of a walk through the batches of a file that is not sealed.
	Walked Walked

	// End is the offset at which the batches end, in bytes.
	End int64
	// Sum is the checksum that the next segment refers to, and LastSum that of the last
	// batch. They differ if fsck has repaired the segment.
	Sum, LastSum uint32

	rows []Row // of a file that is not sealed
}

// Known reports whether the header is valid and belongs to the file.
func (f *File) Known() bool { return f.Err == nil && f.HeaderErr == nil }

// Empty reports whether the file holds no entry.
func (f *File) Empty() bool { return f.Last < f.First }

// Check returns the first error of the file itself, nil if there is none: Err, HeaderErr or
// Damage.
func (f *File) Check() error {
	for _, err := range []error{f.Err, f.HeaderErr, f.Damage} {
		if err != nil {
			return err
		}
	}
	return nil
}

// Follows returns why the segment does not continue the one before, nil if it does; before is
// nil for the first. The error is a *DamageError, or the reason why the header is not known.
func (f *File) Follows(before *File) error {
	if !f.Known() {
		return f.Check()
	}
	if before == nil {
		return nil
	}
	damage := func(format string, args ...any) error {
		return &DamageError{Path: f.Path, First: f.First, Err: fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)}
	}
	switch {
	case f.Header.Store != before.Header.Store:
		return damage("segment belongs to store %s, want %s", f.Header.Store, before.Header.Store)
	case f.First != before.Last+1:
		return damage("segment begins at index %d, want %d: %s ends there", f.First, before.Last+1, filepath.Base(before.Path))
	case f.Header.Prev != before.Sum:
		return damage("segment follows checksum %08x, want %08x", f.Header.Prev, before.Sum)
	}
	return nil
}

// Segment returns the file for reading its batches, and for Resume.
func (f *File) Segment() *Segment {
	return &Segment{
		Path: f.Path, Header: f.Header, sealed: f.Sealed, footer: f.Footer, rows: f.rows,
		last: f.Last, end: f.End, sum: f.Sum,
	}
}

// CaptureFile examines only the segment at path, as Capture does. The error wraps
// fs.ErrNotExist if there is none; anything wrong with it is in the result.
func CaptureFile(path string) (*File, error) {
	first, ok := ParseName(filepath.Base(path))
	if !ok {
		return nil, fmt.Errorf("%s is not the name of a segment", path)
	}
	f, err := captureFile(path, first, false)
	if errors.Is(err, errRemoved) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return f, err
}

// captureFile examines one segment. The error is errRemoved.
func captureFile(path string, first uint64, locked bool) (*File, error) {
	f := &File{Path: path, First: first, Last: first - 1, End: HeaderSize}
	file, err := OpenRegular(path)
	if err != nil {
		if _, lerr := os.Lstat(path); errors.Is(lerr, fs.ErrNotExist) {
			return nil, errRemoved
		}
		if f.Err = err; errors.Is(err, errNotRegular) {
			f.Err = &DamageError{Path: path, Err: fmt.Errorf("%w: %w", ErrDamaged, err)}
		}
		return f, nil
	}
	defer file.Close()
	if locked {
		dropCache(file)
	}
	// A server may be working on the file: a batch may be missing because it was not there
	// yet when its place was read, while a later one is there; a footer may be half written.
	// So apparent damage is read again until it no longer changes.
	for try, before, waits := 0, int64(-1), 5; ; try++ {
		f.Err = f.read(file)
		wrong := f.wrongAt()
		switch {
		case wrong < 0, locked, try == captureTries:
			return f, nil
		case wrong != before:
		case f.Walked.Torn > 0 && !f.Walked.Unwritten && waits > 0:
			// It looks altered, or a long write is under way.
			waits--
			time.Sleep(20 * time.Millisecond)
		default:
			return f, nil
		}
		before = wrong
	}
}

// wrongAt returns the offset of the first error in the file, including torn bytes, or -1.
func (f *File) wrongAt() int64 {
	var d *DamageError
	switch {
	case errors.As(f.Check(), &d):
		return d.Offset
	case f.Check() != nil:
		return 0
	case f.Walked.Torn > 0:
		return f.Walked.End
	}
	return -1
}

// read sets everything that is read from the file. The error is f.Err.
func (f *File) read(file *os.File) error {
	*f = File{Path: f.Path, First: f.First, Last: f.First - 1, End: HeaderSize}
	fi, err := file.Stat()
	if err != nil {
		return err
	}
	f.Size, f.Modified = fi.Size(), fi.ModTime()
	if err := f.readHeader(file); err != nil {
		return err
	}
	if err := f.readFooter(file); err != nil {
		return err
	}
	if f.Sealed {
		return nil
	}
	if f.Oversized() && f.Damage == nil {
		f.Damage = &DamageError{Path: f.Path, Offset: MaxSize, Err: fmt.Errorf("%w: the file has %d bytes, want at most %d: offsets in a segment have 32 bits", ErrDamaged, f.Size, int64(MaxSize))}
	}
	return f.walk(file)
}

// Oversized reports whether the file is longer than a segment can be.
func (f *File) Oversized() bool { return !f.Sealed && f.Size > MaxSize }

// BatchesEnd returns the greatest offset at which the batches can end.
func (f *File) BatchesEnd() int64 {
	if f.Sealed {
		return int64(f.Footer.Table)
	}
	return min(f.Size, MaxSize)
}

func (f *File) readHeader(file io.ReaderAt) error {
	b := make([]byte, HeaderSize)
	n, err := file.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	h, err := ParseHeader(b[:n])
	if err != nil {
		if f.HeaderErr = headerError(f.Path, err); errors.Is(err, ErrVersion) {
			return f.HeaderErr
		}
		return nil
	}
	f.Header, f.HeaderSum = h, Checksum(b[:60])
	f.Sum, f.LastSum = f.HeaderSum, f.HeaderSum
	if h.First != f.First {
		return &DamageError{Path: f.Path, Err: fmt.Errorf("%w: header has first index %d, the name says %d", ErrDamaged, h.First, f.First)}
	}
	return nil
}

// readFooter reads the footer. One with a wrong checksum counts as none: a crash while the
// segment was being sealed can leave a part of it, and a walk recovers everything that it
// said.
func (f *File) readFooter(file *os.File) (err error) {
	var b [FooterSize]byte
	if f.Size, err = readEnd(file, b[:]); err != nil || f.Size < HeaderSize+FooterSize {
		return err
	}
	f.setFooter(b[:])
	return nil
}

// setFooter takes over the footer in the last FooterSize bytes of the file, if there is one.
func (f *File) setFooter(b []byte) {
	footer, ok, err := ParseFooter(b, f.Size)
	if !ok {
		return
	}
	if err == nil && footer.First != f.First {
		err = fmt.Errorf("%w: footer has first index %d, the header %d", ErrDamaged, footer.First, f.First)
	}
	if err != nil {
		f.Damage = &DamageError{Path: f.Path, Offset: f.Size - FooterSize, First: f.First, Err: err}
		return
	}
	f.Footer, f.Sealed = footer, true
	f.Last, f.End, f.Sum, f.LastSum = footer.Last, int64(footer.Table), footer.Sum, footer.Chain()
}

// ReadTable reads the rows of the table that footer f describes, and computes their checksum,
// which equals f.Rows unless the table is damaged.
func ReadTable(r io.ReaderAt, f Footer) (rows []Row, sum uint32, err error) {
	b := make([]byte, int(f.Batches)*RowSize)
	if n, err := r.ReadAt(b, int64(f.Table)); n < len(b) {
		return nil, 0, err
	}
	rows = make([]Row, f.Batches)
	for i := range rows {
		rows[i] = ParseRow(b[i*RowSize:])
	}
	return rows, Checksum(b), nil
}

// CaptureSealed examines a copy of the sealed segment that begins with index first, of which
// src has size bytes, and reads its table into memory: 8 bytes a batch. name stands for it in
// errors. Anything wrong with it is in the result, even that it is not sealed; the error is
// one of src.
func CaptureSealed(name string, first uint64, src io.ReaderAt, size int64) (*File, error) {
	f := &File{Path: name, First: first, Last: first - 1, End: HeaderSize, Size: size}
	if err := f.readHeader(src); err != nil {
		f.Err = err
		return f, unavailable(err)
	}
	var footer [FooterSize]byte
	if size >= HeaderSize+FooterSize {
		if _, err := src.ReadAt(footer[:], size-FooterSize); err != nil && !errors.Is(err, io.EOF) {
			return f, err
		}
		f.setFooter(footer[:])
	}
	f.Through = f.Last
	if !f.Sealed {
		if f.Damage == nil {
			f.Damage = &DamageError{Path: name, Offset: max(size-FooterSize, 0), First: first, Err: fmt.Errorf("%w: the segment has no footer", ErrDamaged)}
		}
		return f, nil
	}
	rows, sum, err := ReadTable(src, f.Footer)
	if err != nil && !errors.Is(err, io.EOF) {
		return f, err
	}
	if sum == f.Footer.Rows { // otherwise the batches are read instead, where needed
		f.rows = rows
	}
	return f, nil
}

// unavailable returns err if it says that bytes cannot be read now, else nil.
func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return nil
}

// walk goes through the batches of a file that is not sealed.
func (f *File) walk(file *os.File) (err error) {
	damage := func(p Piece, err error) {
		if f.Damage == nil && err != nil {
			f.Damage = &DamageError{Path: f.Path, Offset: p.Offset, First: p.First, Err: err}
		}
	}
	f.Walked, err = Walk(file, f.First, f.HeaderSum, f.HeaderErr == nil, f.BatchesEnd(), func(p Piece) error {
		if damage(p, p.wrong()); p.Damage == nil {
			f.rows = append(f.rows, Row{Delta: uint32(p.First - f.First), Offset: uint32(p.Offset)})
		}
		return nil
	})
	if f.Walked.Misplaced {
		damage(Piece{Offset: f.Walked.End, First: f.Walked.Last + 1}, f.Walked.Why)
	}
	f.Last, f.End, f.Sum, f.LastSum = f.Walked.Last, f.Walked.End, f.Walked.Sum, f.Walked.Sum
	return err
}
