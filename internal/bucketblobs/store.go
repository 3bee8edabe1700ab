// Package bucketblobs keeps the blobs of a log in a bucket: an object each, whose key is the
// path that the blob would have in a directory, such as `3f/9ac1…`, and one object whose
// name is the mark of the log, `store-` and its id.
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

// markPrefix begins the key of the mark, as it does the name of the one of a directory.
const (
	markPrefix = "store-"
	markText   = "The objects beside this one are blobs of the log that it is named after. See docs/FORMAT.md.\n"
)

// Store is a segment.BlobStore in a bucket, and a segment.BlobMarker. Each Put is durable by
// itself. Several processes may use one store: an object is put under the hash of its bytes,
// only if there is none, and never deleted.
type Store struct {
	url  string
	opts bucket.Options

	mu sync.Mutex
	b  bucket.Bucket // nil until it can be opened
}

// IsURL reports whether s, where a directory may be named too, is the URL of a bucket.
func IsURL(s string) bool { return bucket.IsURL(s) }

// Open returns the store at the URL of a bucket, s3://… or file:///…. A bucket that does not
// exist, or is not mounted, is looked for again by each call; until then each fails. Other
// errors, such as of a URL that cannot be one, are Open's.
func Open(ctx context.Context, url string) (*Store, error) {
	// The caller tries again itself, after longer and longer, and says so.
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

// String is the URL.
func (s *Store) String() string { return strings.TrimSuffix(s.url, "/") }

// Put puts an object if there is none. If there is one, it is read and compared.
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

// Get reads an object, and no more than limit bytes of it.
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
	r.Close() // what it did not read is of no interest
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

// List lists the objects that have the key of a blob.
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

// FindMark finds the object that names the log. Two are an error that wraps
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

// notFound makes an error of the bucket one of a store of blobs.
func notFound(err error) error {
	if errors.Is(err, bucket.ErrNotFound) {
		return fmt.Errorf("%w: %w", segment.ErrNotFound, err)
	}
	return err
}
