package fsck

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// blobSet is what a check knows of the blobs: 64 bytes of memory for each.
type blobSet struct {
	c      *checker
	shards [256][]blob // by the first byte of the hash; ascending once they have been read
	// exists are the directories that are there, unreadable those of them that
	// cannot be read to their end.
	exists, unreadable [256]bool

	mu   sync.Mutex
	away error                         // why a blob could not be read from a store that is no directory
	got  map[segment.Hash]segment.Hash // what damaged blobs hash to, by name
}

// blob is what a check knows of one blob.
type blob struct {
	hash        segment.Hash // by its name
	size        int64
	first, last uint64 // the entries that refer to it, 0 for none
	scattered   bool   // they are not all of those from first through last
	whole       bool   // it hashes to its name, or has not been read
	unread      bool   // it is large, and read once an entry is known to have its size
	young       bool   // made since the check began
	needed      bool   // an entry can be read from nowhere else
}

// blobPath is the path of the blob of hash.
func (c *checker) blobPath(hash segment.Hash) string { return segment.BlobName(c.store, hash) }

// find returns the blob of hash, nil if there is none.
func (s *blobSet) find(hash segment.Hash) *blob {
	shard := s.shards[hash[0]]
	i, ok := slices.BinarySearchFunc(shard, hash, func(b blob, h segment.Hash) int { return bytes.Compare(b.hash[:], h[:]) })
	if !ok {
		return nil
	}
	return &shard[i]
}

// blobState is what a check knows of the blob that an entry refers to.
type blobState int

const (
	absent      blobState = iota // no such file
	blobDamaged                  // a file with other bytes
	blobWhole
)

// refer notes that the entry at index has the given hash and size, and returns the
// state of its blob. needed says that the entry is nowhere else.
func (s *blobSet) refer(hash segment.Hash, size uint32, index uint64, needed bool) blobState {
	b := s.find(hash)
	if b == nil {
		return absent
	}
	if b.first == 0 {
		b.first = index
	}
	b.scattered = b.scattered || b.last != 0 && index > b.last+1
	b.last, b.needed = index, b.needed || needed
	if b.size == int64(size) {
		s.readLarge(b)
	}
	if !b.whole || b.size != int64(size) {
		b.whole = false
		return blobDamaged
	}
	return blobWhole
}

// referLost notes that the entry at index, which is recorded as lost, has the
// given hash, and reports whether there is a whole blob of it.
func (s *blobSet) referLost(hash segment.Hash, index uint64) bool {
	b := s.find(hash)
	if b == nil {
		return false
	}
	if b.first == 0 {
		b.first, b.last = index, index
	}
	s.readLarge(b)
	return b.whole
}

// readLarge reads a blob that has been left for later, if an entry can be as large.
func (s *blobSet) readLarge(b *blob) {
	if !b.unread {
		return
	}
	if b.unread = false; b.size > segment.MaxBody {
		b.whole = false
	} else {
		s.read(b)
	}
}

// report makes the findings on the blobs, after every entry has been seen. With
// unknown, not every entry's hash is known, and so not which blobs are orphans.
func (s *blobSet) report(unknown bool) {
	for _, shard := range s.shards {
		for _, b := range shard {
			switch {
			case b.first == 0 && (unknown || b.young):
			case b.first == 0:
				s.orphan(b)
			case !b.whole:
				s.damaged(b)
			}
		}
	}
}

func (s *blobSet) orphan(b blob) {
	path := s.c.blobPath(b.hash)
	if s.c.BlobStore == nil {
		s.c.plan.AddOrphan(path)
	}
	note := ""
	if !b.whole {
		note = ", and does not hash to its name"
	}
	s.c.find(Finding{Kind: BlobOrphan, File: path, Message: "no entry has this hash" + note})
}

func (s *blobSet) damaged(b blob) {
	f := Finding{Kind: BlobDamaged, File: s.c.blobPath(b.hash), First: b.first, Last: b.last, Want: b.hash.String()}
	if b.scattered {
		f.Last = b.first
	}
	got := s.got[b.hash]
	if got != (segment.Hash{}) {
		f.Got = got.String()
		f.Message = fmt.Sprintf("%d bytes hash to %s, want %s", b.size, got, b.hash)
	} else {
		f.Message = fmt.Sprintf("%d bytes do not match the index", b.size)
	}
	if b.first > s.c.index.Last && !b.needed {
		f.Kind = BlobTorn
		f.Message += "; the index does not have the entry yet, so a crash may have come before the sync of the blob: the server writes it again from the segment"
	}
	if b.scattered {
		f.Message += fmt.Sprintf("; other entries have this blob too, the last of them at index %d", b.last)
	}
	s.c.plan.AddBlob(repair.Blob{Hash: b.hash, Index: b.first, Exists: true, Needed: b.needed, Got: got})
	s.c.find(f)
}
