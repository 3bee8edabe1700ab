// Package bucket stores objects in a place that may be far away and may fail: a bucket of an
// S3 service, or a directory of a mounted share. Open opens either by its URL.
//
// Objects are written whole or not at all. A key is made of ASCII letters, digits, '-', '_',
// '.' and '/', which separates its elements; no element is empty or begins with '.', none has
// more than 255 bytes, and a key has no more than 512.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// What the errors of a Bucket wrap where the caller can act on it.
var (
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("no such object")
	// ErrExists: Put was to make a new object, and another's is there.
	ErrExists = errors.New("the object exists already")
	// ErrDenied: the service does not accept the credentials, or they do not allow this.
	ErrDenied = errors.New("access denied")
	// ErrNoBucket: the bucket or the directory does not exist, or the share is not mounted.
	ErrNoBucket = errors.New("no such bucket")
)

// Object describes an object.
type Object struct {
	Key      string // relative to the bucket's prefix
	Size     int64  // bytes
	Modified time.Time
}

// Bucket is where objects are. Its methods may be called from any goroutine. They try again,
// after a while, what failed for a reason that may pass, as often as Options.Attempts says or
// until the context ends. Any other error, and the last one, is returned; it says what was
// asked of which bucket and what came of it, and wraps the context's error if that ended it.
type Bucket interface {
	// Put stores the size bytes of content under key. When it returns nil, the object is whole
	// and durable as the service promises it. If create is true and another's object is there,
	// Put changes nothing and returns ErrExists; an object that an attempt of this call has put
	// there, and whose answer was lost, is its own. If create is false, Put replaces the
	// object. After any other error the object may be there, and is then whole.
	Put(ctx context.Context, key string, content io.ReaderAt, size int64, create bool) error

	// Get returns length bytes of the object from offset on; a negative length means to its
	// end. If the object ends before that, Get or a Read fails, and no Read returns io.EOF
	// before the last byte. What has been handed out is not tried again: a Read fails when the
	// connection breaks or stalls, or the context ends. The caller closes the reader, and
	// verifies what it read. The error is ErrNotFound if there is no such object.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat describes the object. The error is ErrNotFound if there is none.
	Stat(ctx context.Context, key string) (Object, error)

	// List calls fn with each object whose key begins with prefix and comes after the key
	// after, in ascending order of the keys' bytes. An error of fn ends it and is returned as
	// it is. Objects put or deleted meanwhile may be listed or not.
	List(ctx context.Context, prefix, after string, fn func(Object) error) error

	// Delete removes the object. It is no error if there is none.
	Delete(ctx context.Context, key string) error

	// String is the URL of the bucket and its prefix, without secrets.
	String() string
}

// failed is the error of op on key of b.
func failed(b Bucket, op, key string, err error) error {
	if key == "" {
		return fmt.Errorf("%s: %s: %w", b, op, err)
	}
	return fmt.Errorf("%s: %s %s: %w", b, op, key, err)
}
