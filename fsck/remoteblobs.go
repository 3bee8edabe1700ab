package fsck

import (
	"fmt"
	"sync"

	"tcp-log-server/segment"
)

// remoteWorkers is how many blobs are read at a time from a store that is no directory: each
// waits for an answer from far away.
const remoteWorkers = 32

// readRemote lists the blobs of a store that is no directory, and reads them.
func (s *blobSet) readRemote() error {
	c, total := s.c, int64(0)
	err := c.store.List(c.ctx, "", func(b segment.BlobInfo) error {
		shard := &s.shards[b.Hash[0]]
		*shard = append(*shard, blob{hash: b.Hash, size: b.Size, whole: true, young: c.young(b.Modified)})
		total++
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the blobs: %w", segment.Unavailable(c.store, err))
	}
	for i := range s.exists {
		s.exists[i] = total > 0 // it has no directories
	}
	work := make(chan *blob)
	var workers sync.WaitGroup
	for range remoteWorkers {
		workers.Go(func() {
			for b := range work {
				switch {
				case c.Quick:
				case b.size >= largeBlob:
					b.unread = true
				default:
					s.get(b)
				}
				c.countBlobs(1, b.size)
				c.advance("blobs", 1, total)
			}
		})
	}
	for i := range s.shards {
		for j := range s.shards[i] {
			if s.failed() == nil {
				work <- &s.shards[i][j]
			}
		}
	}
	close(work)
	workers.Wait()
	return s.failed()
}

// get reads a blob from a store that is no directory and notes whether it is whole.
func (s *blobSet) get(b *blob) {
	entry, err := s.c.store.Get(s.c.ctx, b.hash, b.size+1)
	switch {
	case err != nil: // also where it was listed and is not there: the store contradicts itself
		b.whole = false
		s.fail(fmt.Errorf("%s: %w", s.c.blobPath(b.hash), segment.Unavailable(s.c.store, err)))
	case s.hashed(b, segment.Sum(entry)):
		s.c.checkCanonical(s.c.blobPath(b.hash), entry)
	}
}

// fail notes that the store cannot be read, so that the check comes to no result.
func (s *blobSet) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away == nil {
		s.away = err
	}
}

// failed is the first error of fail, or ctx's.
func (s *blobSet) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return s.away
	}
	return s.c.ctx.Err()
}
