package segment

import (
	"errors"
	"path/filepath"
	"slices"
	"sort"
)

// Store is the content of a log's directories at one moment, as Capture found it. Nothing
// in it changes, and nothing stays open.
type Store struct {
	Dirs Dirs
	// Records is the last valid record of the index, 0 if there is none. It was read
	// before the segments: records follow entries, so the segments go at least as far.
	Records uint64
	// IndexErr says what is wrong with the files of the index, as OpenIndex would.
	IndexErr error
	// Files are the segments in ascending order, damaged ones included.
	Files []*File
	// Residues are left by failed attempts to begin a segment, after which the log
	// continued in the segment before: each has a header of the same store, as far as is
	// known, and no batch, and the segment before holds its first index.
	Residues []*File
}

// captureTries bounds how often a file that a server is changing is read again.
const captureTries = 1000

// Capture examines the directories of a log, which a server may be writing to meanwhile:
// a segment that the server removes is not part of the result, one that it seals is read
// again, and what it appends may or may not be included. Capture reads the segments that
// are not sealed, and the header and the footer of the others.
//
// Damage is noted in the result. An error is the file system's, from listing a directory.
func Capture(dirs Dirs) (*Store, error) { return capture(dirs, false) }

// CaptureLocked is Capture for the one process that writes to the log, before it writes.
// It reads the segments from the disk, not from the page cache: after a failed sync the
// two can differ.
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

// captureIndex returns the last valid record, and what is wrong with the files of the
// index.
func captureIndex(dir string) (last uint64, err error) {
	if dir == Memory {
		return 0, nil
	}
	if last, err = LastRecord(dir); err != nil {
		last = FindLastRecord(dir)
	}
	return last, err
}

// FindLastRecord returns the last valid record in whatever index files there are in dir,
// 0 if there is none: LastRecord for callers that can do without.
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

// errRemoved: a segment that was listed no longer exists.
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
				// Nobody is writing to it, so this is not a write in progress.
				f.Damage = &DamageError{Path: f.Path, Offset: w.End, First: w.Last + 1, Err: w.Why}
			}
			// Records follow entries: if they go further, the segment's end is damaged.
			f.Through = max(f.Last, s.Records)
		} else if next := s.Files[i+1].First; f.Err != nil || !f.Sealed || f.Last >= next {
			f.Through = next - 1
		}
	}
	return nil
}

// residueOf reports whether f is left from beginning a segment that failed, with before
// as the segment before it. If its header is damaged, its store is unknown.
func (f *File) residueOf(before *File) bool {
	sameStore := before.Err == nil && (before.HeaderErr != nil || f.Header.Store == before.Header.Store)
	return f.Check() == nil && sameStore &&
		!f.Sealed && f.Walked.Batches == 0 && f.Walked.Torn == 0 && f.First <= before.Last
}

// First returns the first index that a segment holds, or should hold; Head()+1 if there
// are no segments.
func (s *Store) First() uint64 {
	if len(s.Files) > 0 {
		return s.Files[0].First
	}
	return s.Records + 1
}

// Head returns the index of the last entry, intact or damaged; 0 if there is none.
func (s *Store) Head() uint64 {
	head := s.Records
	for _, f := range s.Files {
		head = max(head, f.Through)
	}
	return head
}

// Find returns the segment that holds index, or should. If there is none it returns nil
// and the next index that a segment holds, 0 if there is none.
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

// Chain returns why the segments are not one unbroken chain of undamaged files, as far as
// they were read, or nil if they are. The error is a *DamageError, wraps ErrVersion, or
// is the file system's.
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
