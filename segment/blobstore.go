package segment

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// BlobStore keeps blobs: the canonical JSON of one entry each, under its hash. A blob never
// changes and is never removed by the log. The directory of blobs is one (OpenBlobs);
// other places are whatever implements this.
//
// The methods may be called from any goroutine. Whoever reads a blob checks its size and its
// hash, so a store need not, and nothing that a store alters is ever served. An error that
// wraps neither ErrNotFound nor ErrObstructed says that the store could not do what was asked
// at the moment: the caller tries again later, or says so.
type BlobStore interface {
	// Put stores the blob with this hash unless it is there already, and reports whether it
	// was not. If other bytes are there, they are damaged, and Put replaces them.
	// The caller does not change the bytes until Put returns, and Put keeps none of them.
	//
	// Several calls may be under way at a time, also with one hash. The blob may be read
	// once Put has returned; it is durable once a Sync that begins after that has succeeded.
	// A store that makes each blob durable by itself has nothing left to do in Sync.
	//
	// An error that wraps ErrObstructed is of this blob alone: others can be stored.
	Put(ctx context.Context, hash Hash, blob []byte) (created bool, err error)

	// Sync makes every blob durable whose Put has returned before. After an error all those
	// since the last Sync that succeeded are in doubt, and are put again.
	Sync(ctx context.Context) error

	// Get returns the blob, in memory that the caller may change. Of one that is longer than
	// limit bytes, which is more than 0, it needs to return no more than the first limit
	// bytes. The error wraps ErrNotFound if there is none.
	Get(ctx context.Context, hash Hash, limit int64) ([]byte, error)

	// Has reports whether there is a blob with this hash, whatever bytes it has.
	Has(ctx context.Context, hash Hash) (bool, error)

	// List calls fn with each blob whose hash in hexadecimal begins with prefix, in ascending
	// order of the hashes; an empty prefix means all. A blob that is put meanwhile may be among
	// them or not. An error of fn ends it and is returned.
	List(ctx context.Context, prefix string, fn func(BlobInfo) error) error

	// String names the store in errors and logs: a path or a URL, without secrets.
	String() string
}

// BlobInfo is what a BlobStore lists of a blob.
type BlobInfo struct {
	Hash     Hash      // by its name
	Size     int64     // bytes
	Modified time.Time // when it was stored, by the store's clock; zero if it does not know
}

// BlobMarker is a BlobStore that can keep the id of the log that it belongs to. The log marks
// it, and refuses one that is marked as another's: with the blobs of two logs in one place,
// fsck could not tell which of them belong to no entry. A store that is not a BlobMarker is
// taken to be the log's.
//
// It is no lock, and none is needed: processes of one log that put the same blobs at once put
// the same bytes under the same names, whichever comes first.
type BlobMarker interface {
	BlobStore
	// FindMark returns the id that the store is marked with; ok is false if there is none.
	FindMark(ctx context.Context) (id StoreID, ok bool, err error)
	// Mark marks a store that has no mark, durably. It may do so only if there is none.
	Mark(ctx context.Context, id StoreID) error
}

// BlobName names a blob of the store in errors.
func BlobName(s BlobStore, h Hash) string {
	if d, ok := s.(*Blobs); ok {
		return filepath.Join(d.dir, BlobPath(h))
	}
	return s.String() + "/" + BlobKey(h)
}

// BlobKey is the name of a blob in stores that are no directory: `3f/9ac1…`, as in one.
func BlobKey(h Hash) string {
	s := h.String()
	return s[:2] + "/" + s[2:]
}

// Unavailable wraps an error of s in ErrUnavailable where it is one of the store's, and of
// another kind than those that BlobStore names. What a directory lacks, the file system says.
func Unavailable(s BlobStore, err error) error {
	_, local := s.(*Blobs)
	switch {
	case err == nil, local, errors.Is(err, ErrNotFound), errors.Is(err, ErrObstructed), errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	}
	return fmt.Errorf("%w: blobs in %s: %w", ErrUnavailable, s, err)
}

// ReadBlob reads the blob of a record and verifies it: its size and its hash. The error wraps
// ErrNotFound where there is none, as in a nil store, is a *DamageError where the store has
// anything else, wraps ErrUnavailable where that cannot be told, and is otherwise the file
// system's or ctx's.
func ReadBlob(ctx context.Context, s BlobStore, r Record) ([]byte, error) {
	if s == nil {
		return nil, fmt.Errorf("%w: the log keeps no blobs", ErrNotFound)
	}
	entry, err := s.Get(ctx, r.Hash, int64(r.Size)+1)
	return verifyBlob(s, r, entry, err)
}

// ProveBlob is ReadBlob, in a directory from the disk rather than the page cache, which can
// show what the disk has lost: for when another copy of the entry is to go.
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
	// One byte more than wanted tells a blob that has grown from one that has not.
	if len(entry) != int(r.Size) {
		return nil, &DamageError{Path: BlobName(s, r.Hash), Err: fmt.Errorf("%w: blob is not of the %d bytes that the index has", ErrDamaged, r.Size)}
	}
	if got := Sum(entry); got != r.Hash {
		return nil, &DamageError{Path: BlobName(s, r.Hash), Err: fmt.Errorf("%w: blob hashes to %s, want %s", ErrDamaged, got, r.Hash)}
	}
	return entry, nil
}
