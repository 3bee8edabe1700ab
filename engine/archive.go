package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tcp-log-server/segment"
)

// Segments that are only in the archive: which they are, and reading them. evict.go removes them
// from the directory.

// ErrUnavailable: the entry is in the log's archive, or in a store of blobs, that cannot be
// reached now. It ends a read; the entry is not known to be damaged, and a later read may return
// it.
var ErrUnavailable = segment.ErrUnavailable

// Archive gives a log the sealed segments that it has removed from its directory because the
// archive has them. Its methods may be called from any goroutine.
type Archive interface {
	// String is the URL of the archive, as DATA/ARCHIVE has it.
	String() string
	// Open returns the archived segment that holds the entry of index, or should: the log checks
	// what it holds. The error is a *segment.DamageError if the archive has no such segment,
	// with the last index for which that is so; it wraps ErrUnavailable if that cannot be
	// determined now.
	Open(ctx context.Context, index uint64) (ArchivedSegment, error)
	// Same reads the archived copy of the segment that begins with index first, from the archive
	// itself, and compares it with local, which has size bytes. The error is nil if they are the
	// same, wraps ErrNotArchived if the archive does not have the segment yet, and ErrDamaged if
	// they differ.
	Same(ctx context.Context, first uint64, local io.ReaderAt, size int64) error
}

// ErrNotArchived: the archive does not have the segment yet.
var ErrNotArchived = errors.New("not in the archive yet")

// ArchivedSegment is a segment in an archive. Its methods may be called from any goroutine.
type ArchivedSegment interface {
	// Name is the URL of the segment, for errors.
	Name() string
	// First is the index of its first entry, by its name, and Through the last one that no
	// later segment of the archive holds. Size is its length in bytes.
	First() uint64
	Through() uint64
	Size() int64
	// ReadAt is like io.ReaderAt's. Its errors wrap ErrUnavailable, or ErrDamaged if the archive
	// no longer has the segment, and are otherwise ctx's or io.EOF.
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	// Forget drops cached bytes of the segment, which failed a check, so that they are read from
	// the archive again.
	Forget()
}

// archived is what a disk knows of the segments that are only in the archive.
type archived struct {
	archive Archive // nil if there is none
	store   segment.StoreID
	note    atomic.Pointer[segment.Archived] // content of DATA/ARCHIVE
	evicted atomic.Uint64                    // segments removed since the log was opened

	mu   sync.Mutex
	open []*archivedFile // most recently used last
}

const (
	// archivedOpen is how many archived segments are kept with their tables in memory, and
	// archivedRows how many rows, of 16 bytes, they have together; one is kept in any case.
	archivedOpen = 16
	archivedRows = 1 << 20
	// forgetEvery is the shortest time between two attempts to fetch a segment from the archive
	// again because some of its bytes failed a check.
	forgetEvery = 10 * time.Second
)

// archivedFile is an archived segment whose header and footer have been checked.
type archivedFile struct {
	remote ArchivedSegment
	file   *segment.File
	seg    *segment.Segment
	forgot time.Time // when its cached bytes were last dropped; guarded by archived.mu
}

// bytesOf reads an archived segment on behalf of the read with ctx.
type bytesOf struct {
	ctx    context.Context
	remote ArchivedSegment
	failed error // the first error of ReadAt that says nothing about the entries
}

func (b *bytesOf) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.remote.ReadAt(b.ctx, p, off)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, ErrDamaged) {
		if !errors.Is(err, ErrUnavailable) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if b.failed == nil {
			b.failed = err
		}
	}
	return n, err
}

func (b *bytesOf) Close() error { return nil }

// has reports whether the entry of index is in a segment that was removed because the archive
// has it, and returns the last index, at most limit, for which the answer is the same.
func (a *archived) has(index, limit uint64) (ok bool, last uint64) {
	return a.note.Load().Holds(index, limit)
}

// loose calls fn with each run of entries from first through last that the archive need not
// have: those before its first segment, which are in blobs.
func (a *archived) loose(first, last uint64, fn func(first, last uint64) error) error {
	return a.note.Load().Loose(first, last, fn)
}

// enter returns the archived segment that holds index, and its bytes for a read with ctx. Errors
// are those of Archive.Open, or say that the segment is not the right one.
func (a *archived) enter(ctx context.Context, index, last uint64) (*archivedFile, *bytesOf, error) {
	if f := a.kept(index); f != nil {
		return f, &bytesOf{ctx: ctx, remote: f.remote}, nil
	}
	remote, err := a.archive.Open(ctx, index)
	if err != nil {
		return nil, nil, err
	}
	src := &bytesOf{ctx: ctx, remote: remote}
	f, err := a.capture(src, index, last)
	if errors.Is(err, ErrDamaged) && src.failed == nil {
		remote.Forget() // perhaps the bytes were altered outside the archive
		f, err = a.capture(src, index, last)
	}
	if err != nil {
		return nil, nil, errors.Join(src.failed, err)
	}
	a.keep(f)
	return f, src, nil
}

// capture reads header, footer and table of the segment in src, which should hold index.
func (a *archived) capture(src *bytesOf, index, last uint64) (*archivedFile, error) {
	remote := src.remote
	f, err := segment.CaptureSealed(remote.Name(), remote.First(), src, remote.Size())
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if err = errors.Join(err, f.Check()); err == nil {
		switch {
		case f.Header.Store != a.store:
			err = fmt.Errorf("%w: it belongs to store %s, want %s", ErrDamaged, f.Header.Store, a.store)
		case f.Last < index:
			err = fmt.Errorf("%w: it ends with entry %d", ErrDamaged, f.Last)
		}
	}
	if err != nil {
		return nil, &segment.DamageError{Path: remote.Name(), First: index, Last: min(last, remote.Through()), Err: err}
	}
	return &archivedFile{remote: remote, file: f, seg: f.Segment()}, nil
}

// kept returns the segment that holds index if it is among those that are kept.
func (a *archived) kept(index uint64) *archivedFile {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, f := range a.open {
		if f.file.First <= index && index <= f.file.Last {
			a.open = append(slices.Delete(a.open, i, i+1), f)
			return f
		}
	}
	return nil
}

// keep keeps f, and drops the least recently used segments.
func (a *archived) keep(f *archivedFile) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = slices.DeleteFunc(a.open, func(o *archivedFile) bool { return o.file.First == f.file.First })
	a.open = append(a.open, f)
	rows := 0
	for i := len(a.open) - 1; i >= 0; i-- {
		rows += int(a.open[i].file.Footer.Batches)
		if kept := len(a.open) - i; kept > archivedOpen || kept > 1 && rows > archivedRows {
			a.open = slices.Delete(a.open, 0, i+1)
			return
		}
	}
}

// forget makes the bytes of f be read from the archive again, since some of them failed a check.
// It returns false if that was done recently: then the archive's own copy is damaged.
func (a *archived) forget(f *archivedFile) bool {
	a.mu.Lock()
	if !f.forgot.IsZero() && time.Since(f.forgot) < forgetEvery {
		a.mu.Unlock()
		return false
	}
	f.forgot = time.Now()
	a.mu.Unlock()
	f.remote.Forget()
	return true
}

// add notes in DATA/ARCHIVE, durably, that the archive has the entries first to last.
func (a *archived) add(data string, first, last uint64) error {
	note, err := segment.ReadArchived(data)
	if err != nil {
		return err
	}
	if !a.claimed(note) {
		return fmt.Errorf("the file is of the archive at %s, want that of %s", note.URL, a.archive)
	}
	note = note.Add(first, last)
	if err := segment.WriteArchived(data, note); err != nil {
		return err
	}
	a.note.Store(&note)
	return nil
}

// claimed reports whether the note is of the archive given to the log, by a server that archives
// there: nothing else writes it then.
func (a *archived) claimed(note segment.Archived) bool {
	return note.URL == a.archive.String() && note.Instance != ""
}

// load takes over DATA/ARCHIVE for a store whose entries 1 to need have no segment here.
func (a *archived) load(data string, archive Archive, id segment.StoreID, need uint64) error {
	note, err := segment.ReadArchived(data)
	if err != nil {
		return err
	}
	a.archive, a.store = archive, id
	a.note.Store(&note)
	if len(note.Removed) > 0 && note.Removed[0][0] <= need && archive == nil {
		return fmt.Errorf("entries %d to %d have been removed here and are in the archive at %s: Config.Archive is nil, want that archive",
			note.Removed[0][0], min(need, note.Through), note.URL)
	}
	return nil
}
