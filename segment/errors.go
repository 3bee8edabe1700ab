package segment

import (
	"errors"
	"fmt"
)

// Errors when reading.
var (
	// ErrDamaged: bytes that were durable are not what was written. Nothing that wraps it is
	// ever served or cut off.
	ErrDamaged = errors.New("damaged")
	// ErrVersion: the file is intact but its format is too new for this program.
	ErrVersion = errors.New("unknown format version")
	// ErrNotFound: the index has no such record, or the directory no such blob.
	ErrNotFound = errors.New("not found")
)

// ErrUnavailable: the bytes are in a place that cannot be reached now, such as an archive.
// It says nothing about the entries in them: a later attempt may read them.
var ErrUnavailable = errors.New("not available now")

// ErrObstructed: something else is in the place of one blob, or of its shard directory: a
// directory instead of a file, or the reverse. Other blobs can still be written.
var ErrObstructed = errors.New("something else is in its place")

// ErrLocked: another process has the store open for writing.
var ErrLocked = errors.New("locked by another process")

// Errors when writing.
var (
	// ErrNotWritten: the write failed and was undone. The file ends where it ended before,
	// and the same batch may be tried again.
	ErrNotWritten = errors.New("not written")
	// ErrSync: a sync, or undoing a failed write, failed. The disk's content after the last
	// durable batch is unknown until a new process scans the file again; this one must not
	// write to it any more.
	ErrSync = errors.New("sync failed")
)

// DamageError says which file, where in it, and which entries are affected. It wraps
// ErrDamaged.
type DamageError struct {
	Path   string
	Offset int64
	// First and Last are the affected indices; Last is 0 if it is not known how far the
	// damage goes.
	First, Last uint64
	Err         error
}

// Error reads `segments/00…17.seg, offset 4096, indices 17 to 44: …`.
func (e *DamageError) Error() string {
	switch {
	case e.First == 0:
		return fmt.Sprintf("%s, offset %d: %v", e.Path, e.Offset, e.Err)
	case e.Last == 0:
		return fmt.Sprintf("%s, offset %d, indices from %d: %v", e.Path, e.Offset, e.First, e.Err)
	case e.Last == e.First:
		return fmt.Sprintf("%s, offset %d, index %d: %v", e.Path, e.Offset, e.First, e.Err)
	}
	return fmt.Sprintf("%s, offset %d, indices %d to %d: %v", e.Path, e.Offset, e.First, e.Last, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

// Is makes every DamageError an ErrDamaged, whatever it wraps.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// headerError returns the error for a file whose header could not be used because of err:
// damage, unless the header is intact and of another version.
func headerError(path string, err error) error {
	if errors.Is(err, ErrVersion) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return &DamageError{Path: path, Err: err}
}
