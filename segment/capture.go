package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"
)

// Store is what the directories of a log held at one moment, as Capture found
// them. Nothing in it changes, and nothing stays open.
type Store struct {
	Dirs Dirs
	// Records is the last record of the index that checks out, 0 if there is none.
	// It was looked for before the segments: records follow entries, so the segments
	// go at least as far.
	Records uint64
	// IndexErr says what is wrong with the files of the index, as OpenIndex would.
	IndexErr error
	// Files are the segments in ascending order, damaged ones included.
	Files []*File
	// Residues are what beginning a segment left when it failed, after which the log
	// went on in the one before: each has a header of the same store, as far as that is
	// known, and no batch, and the segment before holds its first index.
	Residues []*File
}

// captureTries bounds how often a file that a daemon is changing is read again.
const captureTries = 1000

// Capture looks at the directories of a log, which a daemon may be writing to
// meanwhile: a segment that it removes is no part of the result, one that it seals
// is read again, and what it appends may or may not be. It reads the segments that
// are not sealed, and of the others the header and the footer.
//
// Damage is noted in the result. An error is the file system's, of listing a
// directory.
func Capture(dirs Dirs) (*Store, error) { return capture(dirs, false) }

// CaptureLocked is Capture for the one process that writes to the log, before it
// does. What it reads of the segments comes from the disk, not from the page
// cache: after a failed sync the two can differ.
func CaptureLocked(dirs Dirs) (*Store, error) { return capture(dirs, true) }

func capture(dirs Dirs, locked bool) (*Store, error) {
	s := &Store{Dirs: dirs.WithDefaults()}
	for try := 0; ; try++ {
		s.Records, s.IndexErr = captureIndex(s.Dirs.WAL)
		err := s.captureFiles(locked)
		if errors.Is(err, errRemoved) && try < captureTries {
			continue
		}
		return s, err
	}
}

// captureIndex returns the last record that checks out, and what is wrong with the
// files of the index.
func captureIndex(dir string) (last uint64, err error) {
	if dir == Memory {
		return 0, nil
	}
	if last, err = LastRecord(dir); err != nil {
		last = FindLastRecord(dir)
	}
	return last, err
}

// FindLastRecord is the last record that checks out in whatever files of an index
// there are in dir, 0 if there is none: LastRecord for those who can do without.
func FindLastRecord(dir string) (last uint64) {
	if dir == Memory {
		return 0
	}
	files, _, _ := ListRecordFiles(dir)
	for _, f := range slices.Backward(files) {
		if last, _ = f.LastRecord(); last > 0 {
			break
		}
	}
	return last
}

// errRemoved: a segment that was listed is not there any more.
var errRemoved = errors.New("the segment has been removed")

func (s *Store) captureFiles(locked bool) error {
	dir := s.Dirs.Segments()
	firsts, err := List(dir)
	if err != nil {
		return err
	}
	s.Files, s.Residues = nil, nil
	for _, first := range firsts {
		f, err := captureFile(filepath.Join(dir, Name(first)), first, locked)
		if err != nil {
			return err
		}
		if n := len(s.Files); n > 0 && f.residueOf(s.Files[n-1]) {
			s.Residues = append(s.Residues, f)
			continue
		}
		s.Files = append(s.Files, f)
	}
	for i, f := range s.Files {
		f.Through = f.Last
		if i+1 == len(s.Files) {
			if w := f.Walked; locked && f.Damage == nil && w.Torn > 0 && !w.Unwritten {
				// Nobody writes to it, so this is not the middle of a write.
				f.Damage = &DamageError{Path: f.Path, Offset: w.End, First: w.Last + 1, Err: w.Why}
			}
			// Records follow entries: where they go on, the segment's end is damaged.
			f.Through = max(f.Last, s.Records)
		} else if next := s.Files[i+1].First; f.Err != nil || !f.Sealed || f.Last >= next {
			f.Through = next - 1
		}
	}
	return nil
}

// residueOf reports whether f is what beginning a segment left, with before as the
// segment before it. A damaged header there does not tell its store.
func (f *File) residueOf(before *File) bool {
	sameStore := before.Err == nil && (before.HeaderErr != nil || f.Header.Store == before.Header.Store)
	return f.Check() == nil && sameStore &&
		!f.Sealed && f.Walked.Batches == 0 && f.Walked.Torn == 0 && f.First <= before.Last
}

// First is the first index that a segment holds, or should hold; Head()+1 if there
// are no segments.
func (s *Store) First() uint64 {
	if len(s.Files) > 0 {
		return s.Files[0].First
	}
	return s.Records + 1
}

// Head is the index of the last entry, whole or damaged; 0 if there is none.
func (s *Store) Head() uint64 {
	head := s.Records
	for _, f := range s.Files {
		head = max(head, f.Through)
	}
	return head
}

// Find returns the segment that holds index, or should. Without one it returns nil
// and the first index after it that a segment holds, 0 if there is none.
func (s *Store) Find(index uint64) (f *File, next uint64) {
	i := sort.Search(len(s.Files), func(i int) bool { return s.Files[i].First > index })
	if i > 0 && index <= s.Files[i-1].Through {
		return s.Files[i-1], 0
	}
	if i < len(s.Files) {
		next = s.Files[i].First
	}
	return nil, next
}

// Chain says why the segments are not one unbroken chain of undamaged files, as
// far as they were read: nil if they are. The error is a *DamageError, wraps
// ErrVersion, or is the file system's.
func (s *Store) Chain() error {
	var before *File
	for _, f := range s.Files {
		if err := f.Follows(before); err != nil {
			return err
		}
		if err := f.Check(); err != nil {
			return err
		}
		before = f
	}
	return nil
}

// File is one segment as Capture found it.
type File struct {
	Path string
	// First is the first index, by the name of the file. Last is the last one that
	// the file holds: by the footer, or of the last whole batch; First-1 if it holds
	// none. Through is how far it should go, by what the next segment and the index
	// say as well.
	First, Last, Through uint64
	// Size is the length of the file in bytes, and Modified when it was last changed.
	Size     int64
	Modified time.Time

	// Err says why nothing in the file is of use: it cannot be read, is no regular
	// file, belongs to another index, or has another version.
	Err error
	// HeaderErr says why the header cannot be used. The batches may be whole.
	HeaderErr error
	// Damage is the first thing that is wrong with the footer or, where the file was
	// read, with the batches. It is a *DamageError.
	Damage error

	// Header is that of the file, and HeaderSum its checksum, which the first batch
	// follows. Both are zero with HeaderErr.
	Header    Header
	HeaderSum uint32
	// Footer is that of a file that is Sealed, and zero otherwise.
	Footer Footer
	Sealed bool
	// Walked is what a walk through the batches found of a file that is not sealed.
	Walked Walked

	// End is the offset at which the batches end, in bytes.
	End int64
	// Sum is the checksum that the next segment follows, and LastSum that of the last
	// batch. They differ where fsck has repaired the segment.
	Sum, LastSum uint32

	rows []Row // of a file that is not sealed
}

// Known reports whether the header checks out and belongs to the file.
func (f *File) Known() bool { return f.Err == nil && f.HeaderErr == nil }

// Empty reports whether the file holds no entry.
func (f *File) Empty() bool { return f.Last < f.First }

// Check returns the first thing that is wrong with the file itself, nil if nothing
// is: Err, HeaderErr or Damage.
func (f *File) Check() error {
	for _, err := range []error{f.Err, f.HeaderErr, f.Damage} {
		if err != nil {
			return err
		}
	}
	return nil
}

// Follows says why the segment does not continue the one before, nil if it does;
// before is nil for the first. The error is a *DamageError, or the one because of
// which the header is not known.
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

// captureFile looks at one segment. The error is errRemoved.
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
	// A daemon may be at work on the file: a batch may be missing where it was not
	// there yet when its place was read, and a later one be there; a footer may be
	// half written. So what looks wrong is read again until it stays as it is.
	for try, before, waits := 0, int64(-1), 5; ; try++ {
		f.Err = f.read(file)
		wrong := f.wrongAt()
		switch {
		case wrong < 0, locked, try == captureTries:
			return f, nil
		case wrong != before:
		case f.Walked.Torn > 0 && !f.Walked.Unwritten && waits > 0:
			// It looks altered, or a write that takes long is under way.
			waits--
			time.Sleep(20 * time.Millisecond)
		default:
			return f, nil
		}
		before = wrong
	}
}

// wrongAt is the offset of the first thing that is wrong with the file, torn bytes
// included, or -1.
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

// read sets all that is read from the file. The error is f.Err.
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
		f.Last, f.End, f.Sum, f.LastSum = f.Footer.Last, int64(f.Footer.Table), f.Footer.Sum, f.Footer.Chain()
		return nil
	}
	return f.walk(file)
}

func (f *File) readHeader(file *os.File) error {
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

// readFooter reads the footer. One whose checksum is wrong counts as none: a crash
// while the segment was being sealed can leave a part of it, and a walk finds all
// that it said.
func (f *File) readFooter(file *os.File) (err error) {
	var b [FooterSize]byte
	if f.Size, err = readEnd(file, b[:]); err != nil || f.Size < HeaderSize+FooterSize {
		return err
	}
	footer, ok, err := ParseFooter(b[:], f.Size)
	if !ok {
		return nil
	}
	if err == nil && footer.First != f.First {
		err = fmt.Errorf("%w: footer has first index %d, the header %d", ErrDamaged, footer.First, f.First)
	}
	if err != nil {
		f.Damage = &DamageError{Path: f.Path, Offset: f.Size - FooterSize, First: f.First, Err: err}
		return nil
	}
	f.Footer, f.Sealed = footer, true
	return nil
}

// walk goes through the batches of a file that is not sealed.
func (f *File) walk(file *os.File) (err error) {
	damage := func(p Piece, err error) {
		if f.Damage == nil && err != nil {
			f.Damage = &DamageError{Path: f.Path, Offset: p.Offset, First: p.First, Err: err}
		}
	}
	f.Walked, err = Walk(file, f.First, f.HeaderSum, f.HeaderErr == nil, f.Size, func(p Piece) error {
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
