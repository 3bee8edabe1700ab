// Package bucketblobs keeps the blobs of a log in a bucket. Each is an object whose key is the path
// of the blob in a directory, such as `3f/9ac1…`. One more object is the mark of the log: its name
// is `store-` and the log's ID.
package bucketblobs

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// markPrefix begins the key of the mark, as in a directory.
const (
	markPrefix = "store-"
	markText   = "The objects beside this one are blobs of the log that it is named after. See docs/FORMAT.md.\n"
)

// Store is a segment.BlobStore and a segment.BlobMarker in a bucket. Each Put is durable by itself.
// Several processes may use one store: an object is put under the hash of its bytes, only if there
// is none, and is never deleted.
type Store struct {
	url  string
	opts bucket.Options

	mu sync.Mutex
	b  bucket.Bucket // nil until it can be opened
}

// IsURL reports whether s, which may also be a directory, is the URL of a bucket.
func IsURL(s string) bool { return bucket.IsURL(s) }

// Open returns the store at the URL of a bucket, s3://… or file:///…. If the bucket does not exist
// or is not mounted, each later call looks for it again, and fails until it is there. Open returns
// other errors, such as an invalid URL.
func Open(ctx context.Context, url string) (*Store, error) {
	// The caller retries too, with growing waits, and logs that.
	s := &Store{url: url, opts: bucket.Options{Attempts: 4, Stall: 10 * time.Second}}
	if _, err := s.open(ctx); err != nil && !errors.Is(err, bucket.ErrNoBucket) {
		return nil, err
	}
	return s, nil
}

// New returns the store in the bucket.
func New(b bucket.Bucket) *Store { return &Store{url: b.String(), b: b} }

// open returns the bucket.
func (s *Store) open(ctx context.Context) (bucket.Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b == nil {
		b, err := bucket.Open(ctx, s.url, s.opts)
		if err != nil {
			return nil, err
		}
		s.b = b
	}
	return s.b, nil
}

// String returns the URL.
func (s *Store) String() string { return strings.TrimSuffix(s.url, "/") }

// Put puts an object if there is none. If there is one, Put compares it, and replaces it if it
// differs.
func (s *Store) Put(ctx context.Context, hash segment.Hash, blob []byte) (created bool, err error) {
	b, err := s.open(ctx)
	if err != nil {
		return false, err
	}
	key, size := segment.BlobKey(hash), int64(len(blob))
	err = b.Put(ctx, key, bytes.NewReader(blob), size, true)
	if !errors.Is(err, bucket.ErrExists) {
		return err == nil, err
	}
	there, err := s.Get(ctx, hash, size+1)
	if err != nil {
		return false, fmt.Errorf("compare what is there already: %w", err)
	}
	if bytes.Equal(there, blob) {
		return false, nil
	}
	return false, b.Put(ctx, key, bytes.NewReader(blob), size, false)
}

// Sync has nothing to do.
func (s *Store) Sync(context.Context) error { return nil }

// Get reads at most limit bytes of an object.
func (s *Store) Get(ctx context.Context, hash segment.Hash, limit int64) ([]byte, error) {
	b, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.Get(ctx, segment.BlobKey(hash), 0, -1)
	if err != nil {
		return nil, notFound(err)
	}
	blob, err := io.ReadAll(io.LimitReader(r, limit))
	r.Close() // the rest is not needed
	if err != nil {
		return nil, err
	}
	return blob, nil
}

// Has asks for the object's description.
func (s *Store) Has(ctx context.Context, hash segment.Hash) (bool, error) {
	b, err := s.open(ctx)
	if err != nil {
		return false, err
	}
	_, err = b.Stat(ctx, segment.BlobKey(hash))
	if errors.Is(err, bucket.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// List lists the objects whose key is that of a blob.
func (s *Store) List(ctx context.Context, prefix string, fn func(segment.BlobInfo) error) error {
	b, err := s.open(ctx)
	if err != nil {
		return err
	}
	if len(prefix) > 2 {
		prefix = prefix[:2] + "/" + prefix[2:]
	}
	return b.List(ctx, prefix, "", func(o bucket.Object) error {
		shard, name, _ := strings.Cut(o.Key, "/")
		hash, ok := segment.ParseBlobPath(shard, name)
		if !ok {
			return nil
		}
		return fn(segment.BlobInfo{Hash: hash, Size: o.Size, Modified: o.Modified})
	})
}

// FindMark finds the object that names the log. If there are two, the error wraps
// segment.ErrDamaged.
func (s *Store) FindMark(ctx context.Context) (id segment.StoreID, ok bool, err error) {
	b, err := s.open(ctx)
	if err != nil {
		return id, false, err
	}
	err = b.List(ctx, markPrefix, "", func(o bucket.Object) error {
		digits := strings.TrimPrefix(o.Key, markPrefix)
		raw, err := hex.DecodeString(digits)
		switch {
		case err != nil || len(raw) != len(id):
		case ok:
			return fmt.Errorf("%w: %s is marked as part of two stores, %s and %s", segment.ErrDamaged, s, id, digits)
		default:
			id, ok = segment.StoreID(raw), true
		}
		return nil
	})
	return id, ok, err
}

// Mark puts the object that names the log.
func (s *Store) Mark(ctx context.Context, id segment.StoreID) error {
	b, err := s.open(ctx)
	if err != nil {
		return err
	}
	err = b.Put(ctx, markPrefix+id.String(), strings.NewReader(markText), int64(len(markText)), true)
	if errors.Is(err, bucket.ErrExists) {
		return nil
	}
	return err
}

// notFound turns an error of the bucket into one of a blob store.
func notFound(err error) error {
	if errors.Is(err, bucket.ErrNotFound) {
		return fmt.Errorf("%w: %w", segment.ErrNotFound, err)
	}
	return err
}
