package fsck

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"tcp-log-server/canonical"
	"tcp-log-server/segment"
)

const (
	// blobRun is how many blobs a worker takes at a time.
	blobRun = 64
	// remoteWorkers is how many goroutines read from a store that is not a directory: each waits
	// for distant answers.
	remoteWorkers = 32
	// largeBlob is the size in bytes from which a blob is read only once an entry of that size is
	// known to have it: a swollen file may be larger than there is time to read.
	largeBlob = 16 << 20
)

// readBlobs lists the blobs and reads them, on all cores.
func (c *checker) readBlobs() (*blobSet, error) {
	s := &blobSet{c: c, got: map[segment.Hash]segment.Hash{}}
	if c.store == nil || c.foreignBlobs {
		return s, nil
	}
	list, workers := s.listDir, c.Workers
	if c.BlobStore != nil {
		list, workers = s.listStore, remoteWorkers
	}
	if err := list(); err != nil {
		return s, err
	}
	for _, shard := range s.shards {
		for _, b := range shard {
			c.sum.Blobs++
			c.sum.Bytes += b.size
		}
	}
	total := c.sum.Blobs
	work := make(chan []blob)
	var reading sync.WaitGroup
	for range workers {
		reading.Go(func() {
			for blobs := range work {
				for i := range blobs {
					if b := &blobs[i]; b.size >= largeBlob {
						b.unread = !c.Quick
					} else if !c.Quick {
						s.read(b)
					}
				}
				c.advance("blobs", int64(len(blobs)), total)
			}
		})
	}
	for _, shard := range s.shards {
		for run := range slices.Chunk(shard, blobRun) {
			if c.ctx.Err() == nil {
				work <- run
			}
		}
	}
	close(work)
	reading.Wait()
	for _, shard := range s.shards {
		slices.SortFunc(shard, func(a, b blob) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	}
	return s, c.ctx.Err()
}

// listStore lists the blobs of a store that is not a directory.
func (s *blobSet) listStore() error {
	any := false
	err := s.c.store.List(s.c.ctx, "", func(b segment.BlobInfo) error {
		shard := &s.shards[b.Hash[0]]
		*shard = append(*shard, blob{hash: b.Hash, size: b.Size, whole: true, young: s.c.young(b.Modified)})
		any = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the blobs: %w", segment.Unavailable(s.c.store, err))
	}
	for i := range s.exists {
		s.exists[i] = any // it has no directories
	}
	return nil
}

// listDir lists the directory of blobs, each of its 256 subdirectories in the order of the
// inodes, which is roughly the order of the files on the disk. It makes the findings on files
// that do not belong there.
func (s *blobSet) listDir() error {
	c := s.c
	entries, err := os.ReadDir(c.Blobs)
	if err != nil && !gone(err) {
		c.unreadable(c.Blobs, 0, 0, err)
	}
	for _, e := range entries {
		path := filepath.Join(c.Blobs, e.Name())
		number, ok := parseShard(e.Name())
		switch {
		case ok && e.IsDir():
			s.exists[number] = true
		case e.Name() == segment.LostFound, e.IsDir() && segment.IsMark(e.Name()):
		case ok, segment.IsMark(e.Name()):
			c.wrongType(path, e.Type(), "a directory")
		default:
			c.stray(path)
		}
	}
	return segment.EachShard(c.Blobs, func(shard string, names []string, err error) error {
		number, _ := parseShard(shard)
		if !s.exists[number] {
			return nil // a finding has been made
		}
		if err != nil {
			s.unreadable[number] = true
			c.unreadable(filepath.Join(c.Blobs, shard), 0, 0, err)
		}
		inodes := make(map[segment.Hash]uint64, len(names))
		blobs := make([]blob, 0, len(names))
		for _, name := range names {
			path := filepath.Join(c.Blobs, shard, name)
			hash, ok := segment.ParseBlobPath(shard, name)
			if !ok {
				c.stray(path)
				continue
			}
			fi, err := os.Lstat(path)
			switch {
			case gone(err):
			case err != nil:
				c.unreadable(path, 0, 0, err)
			case !fi.Mode().IsRegular():
				c.wrongType(path, fi.Mode(), "a file")
			default:
				inodes[hash] = inode(fi)
				blobs = append(blobs, blob{hash: hash, size: fi.Size(), whole: true, young: c.young(fi.ModTime())})
			}
		}
		slices.SortFunc(blobs, func(a, b blob) int { return cmp.Compare(inodes[a.hash], inodes[b.hash]) })
		s.shards[number] = blobs
		return c.ctx.Err()
	})
}

// parseShard returns the number of the blob subdirectory with the given name.
func parseShard(name string) (number byte, ok bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != 1 || name != strings.ToLower(name) {
		return 0, false
	}
	return b[0], true
}

// read reads a blob, and notes whether it is intact.
func (s *blobSet) read(b *blob) {
	path := s.c.blobPath(b.hash)
	entry, err := s.c.store.Get(s.c.ctx, b.hash, b.size+1)
	if err != nil { // also if it was listed and does not exist: the store contradicts itself
		b.whole = false
		if s.c.BlobStore != nil {
			s.c.stop(fmt.Errorf("%s: %w", path, segment.Unavailable(s.c.store, err)))
		} else {
			s.c.unreadable(path, 0, 0, err)
		}
		return
	}
	if got := segment.Sum(entry); got != b.hash {
		b.whole = false
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got[b.hash] = got
	} else if err := canonical.CheckStored(entry); err != nil {
		s.c.find(Finding{Kind: NotCanonical, File: path, Message: fmt.Sprintf("hashes to its name, but is no entry in canonical form: %v", err)})
	}
}
