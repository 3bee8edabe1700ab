package archived

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tcp-log-server/archive"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// blockSize is how many bytes of a segment are read from the bucket and cached at a time.
const blockSize = 1 << 20

// wholeRead is the length from which a read counts as part of a replay: reads of headers and tables
// are shorter, or elsewhere.
const wholeRead = 64 << 10

// aheadMost is the maximum number of concurrent read-ahead requests for a replay.
const aheadMost = 16

// flight is a pending request for a block. Several readers may wait for it.
type flight struct {
	done chan struct{}
	data []byte
	err  error
}

// read reads bytes of a block of the segment into p, from the cache or from the bucket, and returns
// how many bytes of p are in the block.
func (a *Archive) read(ctx context.Context, first uint64, size int64, block int64, p []byte, off int64) (n int, err error) {
	p = p[:min(int64(len(p)), blockSize-off)]
	key := a.cache.key(first, block)
	if a.cache.read(key, p, off) {
		a.hits.Add(1)
		return len(p), nil
	}
	a.misses.Add(1)
	f, err := a.fetch(key, size, false)
	if err != nil {
		return 0, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return 0, unavailable(ctx.Err())
	}
	if f.err != nil {
		return 0, f.err
	}
	return copy(p, f.data[off:]), nil
}

// fetch starts a request for a block, or returns the pending one. A read-ahead request has no
// reader yet; fetch returns nil if there are too many of them.
func (a *Archive) fetch(key blockKey, size int64, ahead bool) (*flight, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, unavailable(errors.New("it has been closed"))
	}
	if f := a.flights[key]; f != nil {
		return f, nil
	}
	if ahead {
		select {
		case a.ahead <- struct{}{}:
		default:
			return nil, nil
		}
	}
	f := &flight{done: make(chan struct{})}
	a.flights[key] = f
	a.running.Go(func() {
		a.run(f, key, size)
		if ahead {
			<-a.ahead
		}
	})
	return f, nil
}

// run runs the request for a block.
func (a *Archive) run(f *flight, key blockKey, size int64) {
	off := key.block * blockSize
	r := &rangeReader{ctx: a.ctx, bucket: a.bucket, key: archive.SegmentKey(key.first), at: off, end: min(off+blockSize, size)}
	f.data = make([]byte, r.end-r.at)
	f.err = r.read(f.data)
	r.close()
	switch {
	case f.err == nil:
		a.fetched.Add(int64(len(f.data)))
		a.cache.put(key, f.data)
	case errors.Is(f.err, bucket.ErrNotFound), errors.Is(f.err, io.ErrUnexpectedEOF) && a.shorter(r.key, r.end):
		f.err = fmt.Errorf("%w: the archive no longer has it: %w", segment.ErrDamaged, f.err)
	default:
		f.err = unavailable(f.err)
	}
	a.mu.Lock()
	delete(a.flights, key) // it is in the cache now
	a.mu.Unlock()
	close(f.done)
}

// shorter reports whether the object key is shorter than size.
func (a *Archive) shorter(key string, size int64) bool {
	o, err := a.bucket.Stat(a.ctx, key)
	return err == nil && o.Size < size
}

// readAhead reads the blocks after last, if from..last are part of a replay: one that continues
// from the block or the segment before.
func (a *Archive) readAhead(first uint64, from, last int64) {
	if from > 0 && !a.cache.has(a.cache.key(first, from-1)) {
		return
	}
	for range cap(a.ahead) {
		a.mu.Lock()
		size := a.sizes[first]
		if last++; last*blockSize >= size {
			i := a.before(first) + 1
			if i >= len(a.firsts) {
				a.mu.Unlock()
				return
			}
			first, last = a.firsts[i], 0
			size = a.sizes[first]
		}
		a.mu.Unlock()
		a.prepare(first, last, size)
		if end := (size - 1) / blockSize; last == 0 && end > 0 {
			a.prepare(first, end, size) // which has the table
		}
	}
}

// prepare reads a block ahead, unless it is in the cache or too many are being read.
func (a *Archive) prepare(first uint64, block, size int64) {
	if key := a.cache.key(first, block); !a.cache.has(key) {
		_, _ = a.fetch(key, size, true) // a reader that needs the block gets the error
	}
}
