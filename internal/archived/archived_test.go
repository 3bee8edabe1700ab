package archived

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/bucket/buckettest"
	"tcp-log-server/segment"
)

// testBucket is a directory whose reads can fail.
type testBucket struct {
	bucket.Bucket
	gets    atomic.Int64
	running atomic.Int64
	most    atomic.Int64 // the most requests running at once
	// get, unless nil, replaces the directory, which is get's last argument.
	get atomic.Pointer[func(ctx context.Context, key string, offset, length int64, b bucket.Bucket) (io.ReadCloser, error)]
}

func (b *testBucket) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.gets.Add(1)
	n := b.running.Add(1)
	defer b.running.Add(-1)
	for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); most = b.most.Load() {
	}
	if get := b.get.Load(); get != nil {
		return (*get)(ctx, key, offset, length, b.Bucket)
	}
	return b.Bucket.Get(ctx, key, offset, length)
}

func (b *testBucket) onGet(get func(ctx context.Context, key string, offset, length int64, b bucket.Bucket) (io.ReadCloser, error)) {
	b.get.Store(&get)
}

const (
	segments = 3
	blocks   = 6
	size     = (blocks-1)*blockSize + 12345
)

// first returns the first index of the n-th segment, counted from 0.
func first(n int) uint64 { return uint64(1 + 1000*n) }

// newTest makes an archive of three objects that are not segments: the code here does not parse
// them.
func newTest(t *testing.T, cacheSize int64) (a *Archive, b *testBucket, contents [][]byte) {
	t.Helper()
	dir := t.TempDir()
	inner, err := bucket.Open(t.Context(), "file://"+filepath.ToSlash(dir), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range segments {
		contents = append(contents, buckettest.Content(uint64(n), size))
		buckettest.Put(t, inner, archive.SegmentKey(first(n)), contents[n])
	}
	b = &testBucket{Bucket: inner}
	a = New(Config{Bucket: b, Cache: filepath.Join(t.TempDir(), CacheName), CacheSize: cacheSize})
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a, b, contents
}

func open(t *testing.T, a *Archive, index uint64) engine.ArchivedSegment {
	t.Helper()
	s, err := a.Open(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readAll reads the segment in steps.
func readAll(t *testing.T, s engine.ArchivedSegment, step int) []byte {
	t.Helper()
	var all []byte
	for off := int64(0); off < s.Size(); off += int64(step) {
		b := make([]byte, step)
		n, err := s.ReadAt(t.Context(), b, off)
		if err != nil && (err != io.EOF || off+int64(step) <= s.Size()) {
			t.Fatal(err)
		}
		all = append(all, b[:n]...)
	}
	return all
}

func TestOpen(t *testing.T) {
	a, _, _ := newTest(t, DefaultCache)
	for _, tt := range []struct{ index, first, through uint64 }{{1, 1, 1000}, {1000, 1, 1000}, {1001, 1001, 2000}, {9999, 2001, 1<<64 - 1}} {
		s := open(t, a, tt.index)
		if s.First() != tt.first || s.Through() != tt.through || s.Size() != size {
			t.Errorf("index %d is in the segment of %d to %d with %d bytes", tt.index, s.First(), s.Through(), s.Size())
		}
	}
}

// TestOpenInAnEmptyBucket: an empty directory is most likely an unmounted share. Once it is
// mounted, its segments are found.
func TestOpenInAnEmptyBucket(t *testing.T) {
	b, err := bucket.Open(t.Context(), "file://"+filepath.ToSlash(t.TempDir()), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{Bucket: b, Cache: filepath.Join(t.TempDir(), CacheName), CacheSize: DefaultCache})
	defer a.Close()
	if _, err := a.Open(t.Context(), 1); !errors.Is(err, engine.ErrUnavailable) || errors.Is(err, segment.ErrDamaged) {
		t.Errorf("a bucket without segments: %v", err)
	}
	buckettest.Put(t, b, archive.SegmentKey(1), []byte("segment"))
	if s := open(t, a, 1); s.First() != 1 {
		t.Errorf("the segment of entry 1 is that of %d", s.First())
	}
}

// TestContents: many readers read three times as much as the cache holds, in order and at random,
// and get the right bytes.
func TestContents(t *testing.T) {
	a, _, contents := newTest(t, 5*blockSize)
	var readers sync.WaitGroup
	for r := range 8 {
		readers.Go(func() {
			for i := range 60 {
				n := rand.IntN(segments)
				s := open(t, a, first(n))
				if r == 0 && i%20 == 0 {
					if !bytes.Equal(readAll(t, s, 300_000), contents[n]) {
						t.Error("a segment reads as something else")
					}
					continue
				}
				off := rand.Int64N(size)
				p := make([]byte, rand.IntN(2*blockSize))
				got, err := s.ReadAt(t.Context(), p, off)
				if want := min(int64(len(p)), size-off); int64(got) != want || err != nil && (err != io.EOF || got == len(p)) {
					t.Errorf("read %d of %d bytes at %d: %v", got, len(p), off, err)
				} else if !bytes.Equal(p[:got], contents[n][off:off+int64(got)]) {
					t.Errorf("%d bytes at %d are others", got, off)
				}
				if i == 30 {
					s.Forget()
				}
			}
		})
	}
	readers.Wait()
	if fi, err := os.Stat(a.config.Cache); err != nil || fi.Size() > 5*blockSize {
		t.Errorf("the cache: %v, %v, want at most 5 MiB", fi.Size(), err)
	}
	if s := a.Stats(); s.Hits == 0 || s.Misses == 0 || s.Fetched == 0 || s.Cached == 0 || s.Cached > 5*blockSize {
		t.Errorf("%+v", s)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.config.Cache); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cache is still there: %v", err)
	}

}

// TestOneRequest: however many readers want a block, it is requested once, and then it is in the
// cache.
func TestOneRequest(t *testing.T) {
	a, b, contents := newTest(t, DefaultCache)
	let := make(chan struct{})
	b.onGet(func(ctx context.Context, key string, offset, length int64, b bucket.Bucket) (io.ReadCloser, error) {
		<-let
		return b.Get(ctx, key, offset, length)
	})
	s := open(t, a, 1)
	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() {
			p := make([]byte, 100)
			if _, err := s.ReadAt(t.Context(), p, 3*blockSize+5); err != nil || !bytes.Equal(p, contents[0][3*blockSize+5:][:100]) {
				t.Errorf("the bytes are others, %v", err)
			}
		})
	}
	for a.Stats().Misses < 20 {
		time.Sleep(time.Millisecond)
	}
	close(let)
	readers.Wait()
	if n := b.gets.Load(); n != 1 {
		t.Errorf("%d requests for one block", n)
	}
	if _, err := s.ReadAt(t.Context(), make([]byte, 1), 3*blockSize); err != nil || b.gets.Load() != 1 || a.Stats().Hits != 1 {
		t.Errorf("read again: %v, %d requests", err, b.gets.Load())
	}
}

// TestReadAhead: a replay has many requests in progress, requests each block once, and continues
// into the next segment. Random reads cause no read-ahead.
func TestReadAhead(t *testing.T) {
	a, b, contents := newTest(t, DefaultCache)
	b.onGet(func(ctx context.Context, key string, offset, length int64, b bucket.Bucket) (io.ReadCloser, error) {
		time.Sleep(10 * time.Millisecond) // the latency
		return b.Get(ctx, key, offset, length)
	})
	for n := range segments {
		if !bytes.Equal(readAll(t, open(t, a, first(n)), 512<<10), contents[n]) {
			t.Error("a segment reads as something else")
		}
	}
	if n := b.gets.Load(); n != segments*blocks {
		t.Errorf("%d requests for %d blocks", n, segments*blocks)
	}
	if n := b.most.Load(); n < 4 {
		t.Errorf("at most %d requests at the same time", n)
	}
	a, b, _ = newTest(t, DefaultCache)
	for _, block := range []int64{4, 2} {
		if _, err := open(t, a, 1).ReadAt(t.Context(), make([]byte, 512<<10), block*blockSize); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.gets.Load(); n != 2 {
		t.Errorf("%d requests for two reads", n)
	}
}

// TestFaults: faults of the bucket, and the error of a read for each.
func TestFaults(t *testing.T) {
	type get = func(ctx context.Context, key string, offset, length int64, b bucket.Bucket) (io.ReadCloser, error)
	down := errors.New("the bucket is down")
	for _, tt := range []struct {
		name string
		get  get
		want error // of the read, nil if it succeeds
		not  error
	}{
		{"down", func(context.Context, string, int64, int64, bucket.Bucket) (io.ReadCloser, error) { return nil, down }, segment.ErrUnavailable, segment.ErrDamaged},
		{"denied", func(context.Context, string, int64, int64, bucket.Bucket) (io.ReadCloser, error) {
			return nil, bucket.ErrDenied
		}, segment.ErrUnavailable, segment.ErrDamaged},
		{"no bucket", func(context.Context, string, int64, int64, bucket.Bucket) (io.ReadCloser, error) {
			return nil, bucket.ErrNoBucket
		}, segment.ErrUnavailable, segment.ErrDamaged},
		{"no object", func(context.Context, string, int64, int64, bucket.Bucket) (io.ReadCloser, error) {
			return nil, bucket.ErrNotFound
		}, segment.ErrDamaged, segment.ErrUnavailable},
		{"connections end early", func(ctx context.Context, key string, offset, length int64, b bucket.Bucket) (io.ReadCloser, error) {
			return b.Get(ctx, key, offset, min(length, 200_000))
		}, nil, nil},
		{"connections end at once", func(context.Context, string, int64, int64, bucket.Bucket) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(nil)), nil
		}, segment.ErrUnavailable, segment.ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b, contents := newTest(t, DefaultCache)
			b.onGet(tt.get)
			s := open(t, a, 1)
			p := make([]byte, 100_000)
			_, err := s.ReadAt(t.Context(), p, blockSize-50_000)
			if tt.want == nil && (err != nil || !bytes.Equal(p, contents[0][blockSize-50_000:][:100_000])) {
				t.Errorf("read: %v", err)
			}
			if !errors.Is(err, tt.want) || tt.not != nil && errors.Is(err, tt.not) {
				t.Errorf("read: %v, want %v", err, tt.want)
			}
			b.get.Store(nil) // repaired
			if !bytes.Equal(readAll(t, s, 1<<19), contents[0]) {
				t.Error("it does not go on by itself")
			}
		})
	}
}

// TestForget: bytes that were altered in transit are read again.
func TestForget(t *testing.T) {
	a, b, contents := newTest(t, DefaultCache)
	b.onGet(func(_ context.Context, _ string, _, length int64, _ bucket.Bucket) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(make([]byte, length))), nil
	})
	s := open(t, a, 1)
	if bytes.Equal(readAll(t, s, 1<<19), contents[0]) {
		t.Fatal("the bytes were not altered")
	}
	b.get.Store(nil)
	s.Forget()
	if !bytes.Equal(readAll(t, s, 1<<19), contents[0]) {
		t.Error("altered bytes were kept")
	}
}

// TestGivenUp: a reader whose context ends does not wait for the bucket, nor does Close.
func TestGivenUp(t *testing.T) {
	a, b, _ := newTest(t, DefaultCache)
	b.onGet(func(ctx context.Context, _ string, _, _ int64, _ bucket.Bucket) (io.ReadCloser, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	s := open(t, a, 1)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := s.ReadAt(ctx, make([]byte, 10), 0); !errors.Is(err, context.Canceled) || !errors.Is(err, segment.ErrUnavailable) {
		t.Errorf("read: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.ReadAt(t.Context(), make([]byte, 10), 0); !errors.Is(err, segment.ErrUnavailable) {
		t.Errorf("read after Close: %v", err)
	}
}

// TestNoCache: without room for the cache, everything is readable all the same.
func TestNoCache(t *testing.T) {
	a, _, contents := newTest(t, DefaultCache)
	a.cache.path = filepath.Join(t.TempDir(), "missing", "cache")
	if !bytes.Equal(readAll(t, open(t, a, 1), 1<<19), contents[0]) {
		t.Error("a segment reads as something else")
	}
}

func TestSame(t *testing.T) {
	a, b, contents := newTest(t, DefaultCache)
	same := func(index uint64, local []byte) error {
		return a.Same(t.Context(), index, bytes.NewReader(local), int64(len(local)))
	}
	if err := same(1, contents[0]); err != nil {
		t.Error(err)
	}
	altered := bytes.Clone(contents[0])
	altered[size-1]++
	if err := same(1, altered); !errors.Is(err, segment.ErrDamaged) {
		t.Errorf("another last byte: %v", err)
	}
	if err := same(1, contents[0][:size-1]); !errors.Is(err, segment.ErrDamaged) {
		t.Errorf("a byte less: %v", err)
	}
	if err := same(5001, contents[0]); !errors.Is(err, engine.ErrNotArchived) {
		t.Errorf("not archived: %v", err)
	}
	open(t, a, 1)
	buckettest.Put(t, b.Bucket, archive.SegmentKey(5001), contents[1]) // after the archive was listed
	if err := same(5001, contents[1]); err != nil {
		t.Error(err)
	}
	if s := open(t, a, 6000); s.First() != 5001 || !bytes.Equal(readAll(t, s, 1<<20), contents[1]) {
		t.Errorf("what was compared is found at %d", s.First())
	}
	if n := a.Stats().Fetched; n > size+2*blockSize {
		t.Errorf("%d bytes in the cache's account: comparing does not go through it", n)
	}
	b.onGet(func(ctx context.Context, key string, offset, length int64, b bucket.Bucket) (io.ReadCloser, error) {
		return b.Get(ctx, key, offset, min(length, 3<<20)) // connections end early
	})
	if err := same(1, contents[0]); err != nil {
		t.Error(err)
	}
	b.onGet(func(context.Context, string, int64, int64, bucket.Bucket) (io.ReadCloser, error) {
		return nil, fmt.Errorf("down")
	})
	if err := same(1, contents[0]); err == nil || errors.Is(err, segment.ErrDamaged) || errors.Is(err, engine.ErrNotArchived) {
		t.Errorf("down: %v", err)
	}
}
