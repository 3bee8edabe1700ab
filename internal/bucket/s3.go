package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"

	"tcp-log-server/internal/build"
)

// s3Bucket is a bucket of an S3 service. The library builds and signs requests and parses answers;
// this code decides what to retry, how often, and which answers to trust.
type s3Bucket struct {
	place
	opts   Options
	limit  *limiter
	client *minio.Core

	swept sync.Once // ends the uploads that crashes left, once per process

	mu          sync.Mutex
	createWorks bool // the service is known to honor If-None-Match
}

func openS3(p place, o Options) (*s3Bucket, error) {
	b := &s3Bucket{place: p, opts: o, limit: newLimiter(o.Rate)}
	s, err := readSettings()
	if err != nil {
		return nil, failed(b, "open", "", err)
	}
	base, err := minio.DefaultTransport(s.secure)
	if err != nil {
		return nil, failed(b, "open", "", err)
	}
	base.ResponseHeaderTimeout = 0 // an attempt has its own timeout
	b.client, err = minio.NewCore(s.host, &minio.Options{
		Creds:      s.credentials,
		Secure:     s.secure,
		Region:     s.region,
		Transport:  transport{base},
		MaxRetries: 1,
	})
	if err != nil {
		return nil, failed(b, "open", "", err)
	}
	b.client.SetAppInfo("tcp-log-server", build.This().Version)
	return b, nil
}

// do retries fn, one request about an object, and adds to its error what was asked.
func (b *s3Bucket) do(ctx context.Context, op, key string, fn func(a *attempt, name string) error) error {
	err := checkKey(key)
	if err == nil {
		err = retry(ctx, b.opts, func(a *attempt) error { return fn(a, b.prefix+key) })
	}
	if err != nil {
		return failed(b, op, key, err)
	}
	return nil
}

// Get implements Bucket.
func (b *s3Bucket) Get(ctx context.Context, key string, offset, length int64) (r io.ReadCloser, err error) {
	if offset < 0 || length > math.MaxInt64-offset {
		return nil, failed(b, "get", key, shortObject(offset, length, 0))
	}
	if length == 0 {
		return b.getNothing(ctx, key, offset)
	}
	err = b.do(ctx, "get", key, func(a *attempt, name string) error {
		a.pause() // get makes its own attempt
		r, err = b.get(ctx, a.retryAfter.Store, name, key, offset, length)
		return err
	})
	if errors.Is(err, errRange) {
		if length < 0 {
			return b.getNothing(ctx, key, offset)
		}
		err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// getNothing is Get of no bytes, for which there is no Range header.
func (b *s3Bucket) getNothing(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	o, err := b.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if offset > o.Size {
		return nil, failed(b, "get", key, shortObject(offset, 0, o.Size))
	}
	return io.NopCloser(strings.NewReader("")), nil
}

// get makes one request. The reader it returns has its own attempt, which lasts until it is closed.
func (b *s3Bucket) get(ctx context.Context, retryAfter func(int64), name, key string, offset, length int64) (io.ReadCloser, error) {
	a := newAttempt(ctx, b.opts.Stall)
	body, left, err := b.request(a, name, offset, length)
	if err != nil {
		err = a.explain(err)
		retryAfter(a.retryAfter.Load())
		a.end()
		return nil, err
	}
	a.pause()
	return &s3Reader{body: body, a: a, b: b, key: key, left: left}, nil
}

// request requests the range, and returns the body and the length that it must have.
func (b *s3Bucket) request(a *attempt, name string, offset, length int64) (io.ReadCloser, int64, error) {
	var o minio.GetObjectOptions
	ranged := offset > 0 || length > 0
	if ranged {
		to := fmt.Sprint(offset + length - 1)
		if length < 0 {
			to = ""
		}
		o.Set("Range", fmt.Sprintf("bytes=%d-%s", offset, to))
	}
	body, info, header, err := b.client.GetObject(a.ctx, b.bucket, name, o)
	if err != nil {
		return nil, 0, s3Error(err)
	}
	got := info.Size
	switch {
	case header.Get("Content-Length") == "":
		err = fmt.Errorf("the answer does not say how long it is")
	case ranged:
		got, err = checkRange(header, offset, length)
	}
	if err != nil {
		body.Close()
		return nil, 0, err
	}
	return body, got, nil
}

// checkRange returns the length of the range in an answer, or an error if it is not the requested
// range. A service may cut a range at the end of the object, or ignore the Range header.
func checkRange(header http.Header, offset, length int64) (int64, error) {
	said := header.Get("Content-Range")
	var first, last, size int64
	if n, err := fmt.Sscanf(said, "bytes %d-%d/%d", &first, &last, &size); err != nil || n != 3 ||
		first != offset || last < first || last >= size {
		return 0, fmt.Errorf("asked for %d bytes from %d on, the answer has the range %q", length, offset, said)
	}
	want := length
	if length < 0 {
		want = size - offset
	}
	got := last - first + 1
	if got != want || header.Get("Content-Length") != fmt.Sprint(got) {
		err := fmt.Errorf("%w; the answer has the range %q and %s bytes", shortObject(offset, want, size), said, header.Get("Content-Length"))
		if offset+want > size {
			err = permanent{err}
		}
		return 0, err
	}
	return got, nil
}

// s3Reader reads the body of an answer, and counts its bytes.
type s3Reader struct {
	body io.ReadCloser
	a    *attempt
	b    *s3Bucket
	key  string
	left int64
}

func (r *s3Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	r.a.touch() // the clock runs only during a Read
	n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
	r.a.pause()
	r.left -= int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return 0, failed(r.b, "read", r.key, fmt.Errorf("%w (%d bytes are missing)", r.a.explain(err), r.left))
}

func (r *s3Reader) Close() error {
	r.a.end()
	return r.body.Close()
}

// Stat implements Bucket.
func (b *s3Bucket) Stat(ctx context.Context, key string) (Object, error) {
	info, err := b.stat(ctx, key)
	return Object{Key: key, Size: info.Size, Modified: info.LastModified}, err
}

func (b *s3Bucket) stat(ctx context.Context, key string) (info minio.ObjectInfo, err error) {
	err = b.do(ctx, "stat", key, func(a *attempt, name string) error {
		info, err = b.client.StatObject(a.ctx, b.bucket, name, minio.StatObjectOptions{})
		if err = s3ErrorOrNil(err); !errors.Is(err, ErrNotFound) {
			return err
		}
		// The answer to HEAD has no body that says whether the object or its bucket is missing.
		if there, bucketErr := b.client.BucketExists(a.ctx, b.bucket); bucketErr == nil && !there {
			return permanent{fmt.Errorf("%w: 404", ErrNoBucket)}
		}
		return err
	})
	return info, err
}

func s3ErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return s3Error(err)
}

// Delete implements Bucket.
func (b *s3Bucket) Delete(ctx context.Context, key string) error {
	return b.do(ctx, "delete", key, func(a *attempt, name string) error {
		err := s3ErrorOrNil(b.client.RemoveObject(a.ctx, b.bucket, name, minio.RemoveObjectOptions{}))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	})
}

// List implements Bucket.
func (b *s3Bucket) List(ctx context.Context, prefix, after string, fn func(Object) error) error {
	var stopped error // by this error of fn
	err := retry(ctx, b.opts, func(a *attempt) error {
		o := minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}
		if after != "" {
			o.StartAfter = b.prefix + after
		}
		for info := range b.client.ListObjectsIter(a.ctx, b.bucket, o) {
			if info.Err != nil {
				return s3Error(info.Err)
			}
			key, ok := strings.CutPrefix(info.Key, b.prefix)
			if !ok || !strings.HasPrefix(key, prefix) || key <= after {
				return fmt.Errorf("the listing of %s after %s has %q", b.prefix+prefix, b.prefix+after, info.Key)
			}
			after = key // the next attempt continues from here
			a.progressed = true
			if checkKey(key) != nil {
				continue // not ours
			}
			a.pause()
			stopped = fn(Object{Key: key, Size: info.Size, Modified: info.LastModified})
			a.touch()
			if stopped != nil {
				return permanent{stopped}
			}
		}
		return a.ctx.Err()
	})
	switch {
	case stopped != nil:
		return stopped
	case err != nil:
		return failed(b, "list", prefix, err)
	}
	return nil
}
