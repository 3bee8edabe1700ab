package segment

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// BlobStore keeps blobs: the canonical JSON of one entry each, under its hash. A blob never
// changes and the log never removes one. The directory of blobs is a BlobStore (OpenBlobs);
// other implementations use other places.
//
// The methods may be called from any goroutine. Whoever reads a blob checks its size and its
// hash, so a store need not, and nothing that a store alters is ever served. An error that
// wraps neither ErrNotFound nor ErrObstructed says that the store could not do what was asked
// at the moment: the caller tries again later, or reports it.
type BlobStore interface {
	// Put stores the blob with this hash unless it exists, and reports whether it stored it.
	// If other bytes are there, they are damaged, and Put replaces them. The caller does not
	// change the bytes until Put returns, and Put does not retain them.
	//
	// Several calls may be under way at a time, even with the same hash. The blob may be read
	// once Put has returned; it is durable once a later Sync has succeeded. If a store makes
	// each blob durable in Put, Sync has nothing to do.
	//
	// An error that wraps ErrObstructed concerns this blob alone: others can be stored.
	Put(ctx context.Context, hash Hash, blob []byte) (created bool, err error)

	// Sync makes every blob durable whose Put has returned before. After an error all blobs
	// since the last successful Sync are in doubt, and are put again.
	Sync(ctx context.Context) error

	// Get returns the blob, in memory that the caller may change. If it is longer than limit
	// bytes, which is more than 0, Get need return only the first limit bytes. The error
	// wraps ErrNotFound if there is none.
	Get(ctx context.Context, hash Hash, limit int64) ([]byte, error)

	// Has reports whether there is a blob with this hash, whatever its bytes.
	Has(ctx context.Context, hash Hash) (bool, error)

	// List calls fn with each blob whose hash in hexadecimal begins with prefix, in ascending
	// order of the hashes; an empty prefix means all. A blob that is put meanwhile may or may
	// not be listed. An error of fn ends the listing and is returned.
	List(ctx context.Context, prefix string, fn func(BlobInfo) error) error

	// String names the store in errors and logs: a path or a URL, without secrets.
	String() string
}

// BlobInfo is a BlobStore's description of a blob.
type BlobInfo struct {
	Hash     Hash      // from its name
	Size     int64     // bytes
	Modified time.Time // when it was stored, by the store's clock; zero if unknown
}

// BlobMarker is a BlobStore that can keep the id of the log that it belongs to. The log marks
// it, and refuses one that is marked as another's: with the blobs of two logs in one place,
// fsck could not tell which of them belong to no entry. A store that is not a BlobMarker is
// assumed to be the log's.
//
// It is not a lock, and none is needed: processes of one log that put the same blobs at once
// put the same bytes under the same names, in whatever order.
type BlobMarker interface {
	BlobStore
	// FindMark returns the id that the store is marked with; ok is false if it has no mark.
	FindMark(ctx context.Context) (id StoreID, ok bool, err error)
	// Mark marks a store that has no mark, durably. It is called only if there is none.
	Mark(ctx context.Context, id StoreID) error
}

// BlobName names a blob of the store in errors.
func BlobName(s BlobStore, h Hash) string {
	if d, ok := s.(*Blobs); ok {
		return filepath.Join(d.dir, BlobPath(h))
	}
	return s.String() + "/" + BlobKey(h)
}

// BlobKey returns the name of a blob in stores that are not directories: `3f/9ac1…`, as in
// one.
func BlobKey(h Hash) string {
	s := h.String()
	return s[:2] + "/" + s[2:]
}

// Unavailable wraps an error of s in ErrUnavailable if it comes from a store that is not a
// directory and is not one of those that BlobStore names. For a directory, the file system's
// error says enough.
func Unavailable(s BlobStore, err error) error {
	_, local := s.(*Blobs)
	switch {
	case err == nil, local, errors.Is(err, ErrNotFound), errors.Is(err, ErrObstructed), errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	}
	return fmt.Errorf("%w: blobs in %s: %w", ErrUnavailable, s, err)
}

// ReadBlob reads the blob of a record and verifies its size and its hash. The error wraps
// ErrNotFound if there is none, as in a nil store; is a *DamageError if the store has
// anything else; wraps ErrUnavailable if that cannot be determined; and is otherwise the file
// system's or ctx's.
func ReadBlob(ctx context.Context, s BlobStore, r Record) ([]byte, error) {
	if s == nil {
		return nil, fmt.Errorf("%w: the log keeps no blobs", ErrNotFound)
	}
	entry, err := s.Get(ctx, r.Hash, int64(r.Size)+1)
	return verifyBlob(s, r, entry, err)
}

// ProveBlob is ReadBlob, except that in a directory it reads from the disk rather than the
// page cache, which can show bytes that the disk has lost: use it before removing another
// copy of the entry.
func ProveBlob(ctx context.Context, s BlobStore, r Record) error {
	d, local := s.(*Blobs)
	if !local {
		_, err := ReadBlob(ctx, s, r)
		return err
	}
	entry, err := d.read(r.Hash, int64(r.Size)+1, true)
	_, err = verifyBlob(s, r, entry, err)
	return err
}

// verifyBlob checks what Get returned.
func verifyBlob(s BlobStore, r Record, entry []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, Unavailable(s, err)
	}
	// Reading one byte more than wanted shows whether a blob has grown.
	if len(entry) != int(r.Size) {
		return nil, &DamageError{Path: BlobName(s, r.Hash), Err: fmt.Errorf("%w: blob is not of the %d bytes that the index has", ErrDamaged, r.Size)}
	}
	if got := Sum(entry); got != r.Hash {
		return nil, &DamageError{Path: BlobName(s, r.Hash), Err: fmt.Errorf("%w: blob hashes to %s, want %s", ErrDamaged, got, r.Hash)}
	}
	return entry, nil
}
