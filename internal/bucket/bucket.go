// Package bucket stores objects in a place that may be remote and may fail: a bucket of an S3
// service, or a directory on a mounted share. Open opens either by its URL.
//
// Objects are written completely or not at all. A key consists of ASCII letters, digits, '-', '_',
// '.', and '/' between its elements. No element is empty, begins with '.' or has more than 255
// bytes; a key has at most 512 bytes.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// The errors of a Bucket wrap one of these if the caller can act on it.
var (
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("no such object")
	// ErrExists: Put had to create the object, and another's is there.
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

// Bucket stores objects. Its methods may be called from any goroutine. They retry temporary
// failures with a backoff, as often as Options.Attempts says or until the context ends. They return
// any other error, and the last temporary one. The error says what was asked of which bucket and
// what happened, and wraps the context's error if that ended the call.
type Bucket interface {
	// Put stores the size bytes of content under key. When it returns nil, the object is complete
	// and as durable as the service promises. If create is true and another's object is there, Put
	// changes nothing and returns ErrExists; an object put by an attempt of the same call, whose
	// answer was lost, is not another's. If create is false, Put replaces the object. After any
	// other error the object may be there, and then it is complete.
	Put(ctx context.Context, key string, content io.ReaderAt, size int64, create bool) error

	// Get returns length bytes of the object from offset on; a negative length means to the end. If
	// the object is too short, Get or a Read fails, and no Read returns io.EOF before the last
	// byte. Reads are not retried: they fail if the connection breaks or stalls, or the context
	// ends. The caller must close the reader and verify the content. The error is ErrNotFound if
	// there is no such object.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat describes the object. The error is ErrNotFound if there is none.
	Stat(ctx context.Context, key string) (Object, error)

	// List calls fn with each object whose key has the prefix and follows the key after, in
	// ascending byte order of the keys. If fn returns an error, List returns it unchanged. Objects
	// that are put or deleted during the call may be listed or not.
	List(ctx context.Context, prefix, after string, fn func(Object) error) error

	// Delete removes the object. It is not an error if there is none.
	Delete(ctx context.Context, key string) error

	// String is the URL of the bucket and its prefix, without secrets.
	String() string
}

// failed returns the error of op on key of b.
func failed(b Bucket, op, key string, err error) error {
	if key == "" {
		return fmt.Errorf("%s: %s: %w", b, op, err)
	}
	return fmt.Errorf("%s: %s %s: %w", b, op, key, err)
}
