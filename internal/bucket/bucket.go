// Package bucket stores objects in a place that may be far away and may fail: a bucket of an
// S3 service, or a directory of a mounted share.
//
// Objects are written whole or not at all and are never changed afterwards. All methods
// retry what is worth retrying until the context ends or they give up; their errors wrap one
// of this package's where the caller can act on it.
package bucket

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("no such object")
	// ErrExists: Put was to make a new object, and there is one.
	ErrExists = errors.New("the object exists already")
	// ErrDenied: the service does not accept the credentials, or they do not allow this.
	ErrDenied = errors.New("access denied")
	// ErrNoBucket: the bucket or the directory does not exist.
	ErrNoBucket = errors.New("no such bucket")
)

// Object describes an object.
type Object struct {
	Key      string // relative to the bucket's prefix
	Size     int64  // bytes
	Modified time.Time
}

// Bucket is where objects are. Its methods may be called from any goroutine.
type Bucket interface {
	// Put stores the size bytes of content under key. When it returns nil, the object is
	// durable as the service promises it. If create is true and the key has an object, Put
	// changes nothing and returns ErrExists, also if an attempt of its own whose answer was
	// lost has put it there; otherwise it replaces that object.
	Put(ctx context.Context, key string, content io.ReaderAt, size int64, create bool) error

	// Get returns length bytes of the object from offset on; a negative length means to
	// its end. The reader fails if the connection ends before that; it does not retry what has
	// been handed out. The error is ErrNotFound if there is no such object.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat describes the object. The error is ErrNotFound if there is none.
	Stat(ctx context.Context, key string) (Object, error)

	// List calls fn with each object whose key begins with prefix and comes after the key
	// after, in ascending order of the keys. An error of fn ends it and is returned.
	List(ctx context.Context, prefix, after string, fn func(Object) error) error

	// Delete removes the object. It is no error if there is none.
	Delete(ctx context.Context, key string) error

	// String is the URL of the bucket and its prefix, without secrets.
	String() string
}
