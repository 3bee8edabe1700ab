// Package archived gives a log the segments that are only in its archive: it implements
// engine.Archive for a bucket. It keeps blocks of the segments in a cache on disk. Nothing trusts
// the cache: the log verifies everything it reads.
package archived

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// CacheName is the name of the cache in a log's directory. A file of that name that is left over is
// stray.
const CacheName = "archive.cache"

// DefaultCache is the default of the setting ARCHIVE_CACHE in bytes, MinCache its smallest useful
// value.
const (
	DefaultCache = 1 << 30
	MinCache     = 64 << 20
)

// Config says where the segments are and how to read them.
type Config struct {
	Bucket bucket.Bucket
	// Cache is the cache file, and CacheSize its size in bytes, at least 4 MiB. The file is created
	// when the first block is read; Close removes it.
	Cache     string
	CacheSize int64
	// Logger logs cache errors; the zero Logger drops them.
	Logger zerolog.Logger
}

// Stats counts the reads since New.
type Stats struct {
	Hits, Misses uint64 // blocks found in the cache, and not found
	Fetched      int64  // bytes read from the bucket, including read-ahead
	Cached       int64  // bytes of the cache in use
}

// Archive reads segments from a bucket. Its methods may be called from any goroutine.
type Archive struct {
	config Config
	bucket bucket.Bucket
	cache  *cache

	ctx     context.Context // of the requests, which readers share
	cancel  context.CancelFunc
	running sync.WaitGroup
	ahead   chan struct{} // has room for each read-ahead request

	listing chan struct{} // has room for one goroutine that lists

	mu      sync.Mutex
	closed  bool
	listed  bool
	firsts  []uint64 // first indices of the archived segments, ascending
	sizes   map[uint64]int64
	flights map[blockKey]*flight

	hits, misses atomic.Uint64
	fetched      atomic.Int64
}

// New returns the Archive for config. It sends the bucket no request before the first read.
func New(config Config) *Archive {
	a := &Archive{
		config: config, bucket: config.Bucket, cache: newCache(config),
		listing: make(chan struct{}, 1), sizes: make(map[uint64]int64), flights: make(map[blockKey]*flight),
	}
	a.ahead = make(chan struct{}, a.cache.ahead())
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Close ends the requests and removes the cache. Later reads fail.
func (a *Archive) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.running.Wait()
	return a.cache.close()
}

// Stats returns the current counts.
func (a *Archive) Stats() Stats {
	return Stats{Hits: a.hits.Load(), Misses: a.misses.Load(), Fetched: a.fetched.Load(), Cached: a.cache.used()}
}

// String, Open and Same implement engine.Archive.
func (a *Archive) String() string { return a.bucket.String() }

// Open returns the segment that holds index. The first call lists the archive.
func (a *Archive) Open(ctx context.Context, index uint64) (engine.ArchivedSegment, error) {
	if err := a.list(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.before(index)
	if i < 0 {
		return nil, &segment.DamageError{Path: a.bucket.String(), First: index, Last: a.through(i),
			Err: fmt.Errorf("%w: the archive has no segment that holds the entry", segment.ErrDamaged)}
	}
	first := a.firsts[i]
	return &file{a: a, first: first, through: a.through(i), size: a.sizes[first]}, nil
}

// before returns the number of the last segment that begins at or before index, or -1. The caller
// holds mu.
func (a *Archive) before(index uint64) int {
	return sort.Search(len(a.firsts), func(i int) bool { return a.firsts[i] > index }) - 1
}

// through returns the last index before segment number i+1. The caller holds mu.
func (a *Archive) through(i int) uint64 {
	if i+1 < len(a.firsts) {
		return a.firsts[i+1] - 1
	}
	return math.MaxUint64
}

// list lists the segments of the archive, once it has any. Same adds those that are archived later.
func (a *Archive) list(ctx context.Context) error {
	select {
	case a.listing <- struct{}{}:
		defer func() { <-a.listing }()
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	a.mu.Lock()
	listed := a.listed
	a.mu.Unlock()
	if listed {
		return nil
	}
	sizes := make(map[uint64]int64)
	err := archive.Segments(ctx, a.bucket, func(first uint64, size int64) { sizes[first] = size })
	if err != nil {
		return unavailable(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for first, size := range a.sizes {
		sizes[first] = size // added by Same
	}
	if len(sizes) == 0 { // it had the removed segments, so this is another directory or bucket
		return unavailable(fmt.Errorf("%s has no segments: is it mounted, and the right one?", a.bucket))
	}
	a.sizes, a.listed = sizes, true
	a.firsts = a.firsts[:0]
	for first := range sizes {
		a.firsts = append(a.firsts, first)
	}
	slices.Sort(a.firsts)
	return nil
}

// add notes that the archive has the segment first.
func (a *Archive) add(first uint64, size int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.sizes[first]; !ok {
		a.firsts = slices.Insert(a.firsts, a.before(first)+1, first)
	}
	a.sizes[first] = size
}

// unavailable wraps err in an error that says nothing about the entries.
func unavailable(err error) error {
	return fmt.Errorf("%w: the archive: %w", segment.ErrUnavailable, err)
}

// Same compares the archive's copy of a segment with local. It does not use the cache.
func (a *Archive) Same(ctx context.Context, first uint64, local io.ReaderAt, size int64) error {
	key := archive.SegmentKey(first)
	o, err := a.bucket.Stat(ctx, key)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return fmt.Errorf("%s/%s: %w", a.bucket, key, engine.ErrNotArchived)
	case err != nil:
		return err
	case o.Size != size:
		return fmt.Errorf("%w: %s/%s has %d bytes, the segment here %d", segment.ErrDamaged, a.bucket, key, o.Size, size)
	}
	far, near := make([]byte, compareSize), make([]byte, compareSize)
	r := &rangeReader{ctx: ctx, bucket: a.bucket, key: key, at: 0, end: size}
	defer r.close()
	for at := int64(0); at < size; {
		n := int(min(size-at, compareSize))
		if err := r.read(far[:n]); err != nil {
			return err
		}
		if _, err := local.ReadAt(near[:n], at); err != nil {
			return err
		}
		if !bytes.Equal(far[:n], near[:n]) {
			return fmt.Errorf("%w: %s/%s differs from the segment here after offset %d", segment.ErrDamaged, a.bucket, key, at)
		}
		at += int64(n)
	}
	a.add(first, size)
	return nil
}

// compareSize is how many bytes are compared at a time.
const compareSize = 256 << 10

// file is one segment in the archive.
type file struct {
	a              *Archive
	first, through uint64
	size           int64
}

// Name, First, Through, Size, ReadAt and Forget implement engine.ArchivedSegment.
func (f *file) Name() string    { return f.a.bucket.String() + "/" + archive.SegmentKey(f.first) }
func (f *file) First() uint64   { return f.first }
func (f *file) Through() uint64 { return f.through }
func (f *file) Size() int64     { return f.size }
func (f *file) Forget()         { f.a.cache.forget(f.first) }

func (f *file) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if rest := f.size - off; int64(len(p)) > rest {
		p, err = p[:max(rest, 0)], io.EOF
	}
	for n < len(p) {
		block := (off + int64(n)) / blockSize
		m, rerr := f.a.read(ctx, f.first, f.size, block, p[n:], off+int64(n)-block*blockSize)
		if n += m; rerr != nil {
			return n, rerr
		}
	}
	if len(p) >= wholeRead {
		f.a.readAhead(f.first, off/blockSize, (off+int64(len(p))-1)/blockSize)
	}
	return n, err
}

// rangeReader reads the bytes at..end of an object in order, and continues after a connection
// breaks.
type rangeReader struct {
	ctx     context.Context
	bucket  bucket.Bucket
	key     string
	at, end int64
	body    io.ReadCloser
}

// reconnects is how often in a row a read reconnects without a single new byte.
const reconnects = 5

// read fills p.
func (r *rangeReader) read(p []byte) error {
	for tries := 0; len(p) > 0; {
		if r.body == nil {
			body, err := r.bucket.Get(r.ctx, r.key, r.at, r.end-r.at)
			if err != nil {
				return err // the bucket has retried already
			}
			r.body = body
		}
		n, err := r.body.Read(p)
		p, r.at = p[n:], r.at+int64(n)
		if n > 0 {
			tries = 0
		}
		if err == nil || len(p) == 0 {
			continue
		}
		r.close()
		if tries++; tries > reconnects {
			return err
		}
		select {
		case <-time.After(time.Duration(tries*tries) * 50 * time.Millisecond):
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	return nil
}

func (r *rangeReader) close() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}
