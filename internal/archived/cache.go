package archived

import (
	"container/list"
	"errors"
	"os"
	"sync"

	"github.com/rs/zerolog"
)

// blockKey names a block of a segment. age counts how often the segment was forgotten.
type blockKey struct {
	first uint64
	age   uint32
	block int64
}

// cache keeps blocks in one file, in slots of blockSize bytes. The index is only in memory, so to
// the next process the file is empty. All methods may be called from any goroutine.
type cache struct {
	path string
	most int // maximum number of slots
	log  zerolog.Logger

	mu     sync.Mutex
	f      *os.File // nil before the first block
	closed bool
	failed bool // storing the last block failed, and that was logged
	made   int  // slots used so far
	free   []int
	index  map[blockKey]*list.Element // of *slot
	recent list.List                  // most recently used first
	ages   map[uint64]uint32          // of the forgotten segments
}

// slot is a part of the file that holds a block.
type slot struct {
	key     blockKey
	number  int
	readers int
	dropped bool // no longer in the index; free once it has no readers
}

func newCache(config Config) *cache {
	return &cache{
		path: config.Cache, most: int(max(config.CacheSize/blockSize, 4)), log: config.Logger,
		index: make(map[blockKey]*list.Element), ages: make(map[uint64]uint32),
	}
}

// ahead is how many blocks can be read ahead without evicting one another.
func (c *cache) ahead() int { return min(aheadMost, c.most/4) }

// key returns the current key of a block.
func (c *cache) key(first uint64, block int64) blockKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return blockKey{first, c.ages[first], block}
}

// has reports whether the block is in the cache.
func (c *cache) has(key blockKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index[key] != nil
}

// used returns how many bytes the cached blocks take.
func (c *cache) used() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.index)) * blockSize
}

// read fills p with the bytes of the block from off on, and reports whether the block is in the
// cache.
func (c *cache) read(key blockKey, p []byte, off int64) bool {
	c.mu.Lock()
	e := c.index[key]
	if e == nil {
		c.mu.Unlock()
		return false
	}
	c.recent.MoveToFront(e)
	s := e.Value.(*slot)
	s.readers++
	f := c.f
	c.mu.Unlock()
	_, err := f.ReadAt(p, int64(s.number)*blockSize+off)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.readers--; s.dropped {
		c.release(s)
	} else if err != nil {
		c.drop(s)
	}
	return err == nil
}

// put stores the block, and evicts the least recently used ones to make room.
func (c *cache) put(key blockKey, data []byte) {
	c.mu.Lock()
	s := c.take(key)
	f := c.f
	c.mu.Unlock()
	if s == nil {
		return
	}
	_, err := f.WriteAt(data, int64(s.number)*blockSize)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.fail(err)
	} else {
		c.failed = false
	}
	if err != nil || key.age != c.ages[key.first] || c.index[key] != nil {
		c.free = append(c.free, s.number)
		return
	}
	c.index[key] = c.recent.PushFront(s)
}

// take returns a slot for the block, which is not in the index yet, or nil if there is none. The
// caller holds mu.
func (c *cache) take(key blockKey) *slot {
	if c.closed || key.age != c.ages[key.first] || c.index[key] != nil {
		return nil
	}
	if c.f == nil {
		f, err := os.OpenFile(c.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			c.fail(err)
			return nil
		}
		c.f = f
	}
	for e := c.recent.Back(); len(c.free) == 0 && c.made == c.most && e != nil; {
		before := e.Prev()
		if s := e.Value.(*slot); s.readers == 0 {
			c.drop(s)
		}
		e = before
	}
	s := &slot{key: key}
	switch n := len(c.free); {
	case n > 0:
		s.number, c.free = c.free[n-1], c.free[:n-1]
	case c.made < c.most:
		s.number = c.made
		c.made++
	default:
		return nil
	}
	return s
}

// fail notes that storing a block failed. The caller holds mu.
func (c *cache) fail(err error) {
	if !c.failed {
		c.failed = true
		c.log.Error().Err(err).Str("event", "cache").Str("file", c.path).
			Msg("blocks of the archive cannot be cached, so every read downloads them again")
	}
}

// drop removes a slot from the index. The caller holds mu.
func (c *cache) drop(s *slot) {
	if s.dropped {
		return
	}
	s.dropped = true
	c.recent.Remove(c.index[s.key])
	delete(c.index, s.key)
	c.release(s)
}

// release frees a dropped slot once it has no readers. The caller holds mu.
func (c *cache) release(s *slot) {
	if s.readers == 0 {
		c.free = append(c.free, s.number)
	}
}

// forget drops all blocks of a segment, including those being fetched.
func (c *cache) forget(first uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ages[first]++
	for e := c.recent.Front(); e != nil; {
		next := e.Next()
		if s := e.Value.(*slot); s.key.first == first {
			c.drop(s)
		}
		e = next
	}
}

// close closes and removes the file. There must be no more reads and writes.
func (c *cache) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.f == nil {
		return nil
	}
	f := c.f
	c.f = nil
	clear(c.index)
	return errors.Join(f.Close(), os.Remove(c.path))
}
