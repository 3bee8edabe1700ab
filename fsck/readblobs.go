package fsck

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"github.com/zeebo/blake3"

	"tcp-log-server/canonical"
	"tcp-log-server/segment"
)

const (
	// blobRun is how many blobs a worker takes at a time.
	blobRun = 64
	// largeBlob is the size in bytes from which on a blob is hashed while it is
	// read, and read only once an entry of that size is known to have it: a file
	// that has swollen may be larger than there is time to read.
	largeBlob = 16 << 20
)

// readBlobs lists the blobs and reads them, on all cores.
func (c *checker) readBlobs() (*blobSet, error) {
	s := &blobSet{c: c, got: map[segment.Hash]segment.Hash{}}
	if c.store == nil || c.foreignBlobs {
		return s, nil
	}
	if c.BlobStore != nil {
		return s, s.readRemote()
	}
	s.exists = c.readShards()
	total := int64(0)
	if c.OnProgress != nil {
		_ = segment.EachShard(c.Blobs, func(_ string, names []string, _ error) error {
			total += int64(len(names))
			return nil
		})
	}
	work := make(chan []*blob)
	var workers sync.WaitGroup
	for range c.Workers {
		workers.Go(func() {
			buf := make([]byte, 64<<10)
			for blobs := range work {
				bytes := int64(0)
				for _, b := range blobs {
					buf = s.read(b, buf)
					bytes += b.size
				}
				c.countBlobs(int64(len(blobs)), bytes)
				c.advance("blobs", int64(len(blobs)), total)
			}
		})
	}
	// The error is the context's: that of a directory is a finding.
	_ = segment.EachShard(c.Blobs, func(shard string, names []string, err error) error {
		number, _ := parseShard(shard)
		if !s.exists[number] {
			return nil // a finding has been made
		}
		if err != nil {
			s.unreadable[number] = true
			c.unreadable(filepath.Join(c.Blobs, shard), 0, 0, err)
		}
		for run := range slices.Chunk(s.listShard(shard, names), blobRun) {
			work <- run
		}
		return c.ctx.Err()
	})
	close(work)
	workers.Wait()
	return s, c.ctx.Err()
}

// countBlobs adds blobs to the summary.
func (c *checker) countBlobs(n, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.Blobs += n
	c.sum.Bytes += bytes
}

// read reads a blob and notes whether it is whole, and returns the buffer for the
// next. A large one is left for later.
func (s *blobSet) read(b *blob, buf []byte) []byte {
	if s.c.Quick {
		return buf
	}
	if b.size >= largeBlob {
		b.unread = true
		return buf
	}
	if int64(cap(buf)) < b.size {
		buf = make([]byte, b.size)
	}
	path := s.c.blobPath(b.hash)
	n, err := readFile(path, buf[:b.size])
	if err != nil {
		b.whole = false
		s.c.unreadable(path, 0, 0, err)
	} else if s.hashed(b, segment.Sum(buf[:n])) {
		s.c.checkCanonical(path, buf[:n])
	}
	return buf[:cap(buf)]
}

// hashed notes the hash of the bytes of a blob, and returns whether it is whole.
func (s *blobSet) hashed(b *blob, got segment.Hash) bool {
	b.whole = got == b.hash
	if !b.whole {
		s.mu.Lock()
		s.got[b.hash] = got
		s.mu.Unlock()
	}
	return b.whole
}

// readLarge reads a blob that read has left for later.
func (s *blobSet) readLarge(b *blob) {
	if !b.unread {
		return
	}
	b.unread = false
	if b.size > segment.MaxBody {
		b.whole = false // no entry is as large
		return
	}
	if s.c.BlobStore != nil {
		s.get(b)
		return
	}
	path := s.c.blobPath(b.hash)
	if err := s.stream(b, path); err != nil {
		b.whole = false
		s.c.unreadable(path, 0, 0, err)
	}
}

func (s *blobSet) stream(b *blob, path string) error {
	file, err := segment.OpenRegular(path)
	if err != nil {
		return err
	}
	defer file.Close()
	h := blake3.New()
	if _, err = io.Copy(h, io.NewSectionReader(file, 0, b.size)); err != nil {
		return err
	}
	if !s.hashed(b, segment.Hash(h.Sum(nil))) {
		return nil
	}
	entry := make([]byte, b.size)
	if _, err = file.ReadAt(entry, 0); err == nil {
		s.c.checkCanonical(path, entry)
	}
	return err
}

// checkCanonical makes the finding that a whole blob is not canonical JSON.
func (c *checker) checkCanonical(path string, entry []byte) {
	if err := canonical.CheckStored(entry); err != nil {
		c.find(Finding{Kind: NotCanonical, File: path, Message: fmt.Sprintf("hashes to its name, but is no entry in canonical form: %v", err)})
	}
}

// readFile reads as much of a file as buf has room for.
func readFile(path string, buf []byte) (int, error) {
	f, err := segment.OpenRegular(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}
