package fsck

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// blobSet is what a check knows about the blobs: 64 bytes of memory for each.
type blobSet struct {
	c      *checker
	shards [256][]blob // by the first byte of the hash; ascending once they have been read
	// exists are the directories that exist, unreadable those that cannot be read to their end.
	exists, unreadable [256]bool

	mu  sync.Mutex
	got map[segment.Hash]segment.Hash // actual hashes of damaged blobs, by name
}

// blob is what a check knows about one blob.
type blob struct {
	hash        segment.Hash // by its name
	size        int64
	first, last uint64 // the entries that refer to it, 0 for none
	scattered   bool   // they are not all the entries from first through last
	whole       bool   // its hash matches its name, or it has not been read
	unread      bool   // it is large, and is read once an entry is known to have its size
	young       bool   // made since the check began
	needed      bool   // an entry can be read from nowhere else
}

// blobPath returns the path of the blob of hash.
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

// refer notes that the entry at index has the given hash and size, and returns its blob, nil if
// there is no such file, and whether the blob is intact. needed says that the entry is nowhere
// else.
func (s *blobSet) refer(hash segment.Hash, size uint32, index uint64, needed bool) (b *blob, whole bool) {
	if b = s.find(hash); b == nil {
		return nil, false
	}
	if b.first == 0 {
		b.first = index
	}
	b.scattered = b.scattered || b.last != 0 && index > b.last+1
	b.last, b.needed = index, b.needed || needed
	if b.size == int64(size) {
		s.readLarge(b)
	}
	b.whole = b.whole && b.size == int64(size)
	return b, b.whole
}

// referLost notes that the entry at index, which is recorded as lost, has the given hash, and
// reports whether there is an intact blob of it.
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

// readLarge reads a blob that was left for later, if an entry can be that large.
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

// report makes the findings on the blobs, after every entry has been seen. unknown says that
// some entry's hash is not known, so it is not known which blobs are orphans.
func (s *blobSet) report(unknown bool) {
	for _, shard := range s.shards {
		for _, b := range shard {
			switch {
			case b.first > 0 && !b.whole:
				s.damaged(b)
			case b.first == 0 && !unknown && !b.young:
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
		}
	}
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

// missing makes the finding that there is no blob of hash for the entry at w.next, and a single
// one for all such entries if whole directories are missing.
func (w *walker) missing(hash segment.Hash) {
	path, place := segment.Memory, segment.Memory
	if w.store != nil {
		path, place = w.blobPath(hash), w.store.String()
	}
	shard := filepath.Dir(path)
	switch {
	case w.foreignBlobs, w.blobs.unreadable[hash[0]]:
		return // reported for the directory
	case w.blobs.exists == [256]bool{}:
		w.extend(Finding{Kind: BlobMissing, File: place, First: w.next, Last: w.next, Message: "there are no blobs, and no segment holds the entries"})
	case !w.blobs.exists[hash[0]]:
		if w.shards[shard] == nil {
			w.shards[shard] = &group{}
		}
		if w.shards[shard].add(w.next) {
			w.flushShard(shard)
		}
	default:
		w.extend(Finding{Kind: BlobMissing, File: path, First: w.next, Last: w.next, Want: hash.String(), Message: "no such file, and no segment holds the entry"})
	}
	w.plan.AddBlob(repair.Blob{Hash: hash, Index: w.next, Needed: true})
}

// group is entries without blobs that share one finding.
type group struct {
	first, last, count uint64
	which              repair.Ranges
}

// add adds an entry, and reports whether there is no room for another.
func (g *group) add(index uint64) (full bool) {
	if g.count == 0 {
		g.first, g.which.Max = index, 512
	}
	g.last, g.count = index, g.count+1
	g.which.Add(index, index)
	return g.which.Full()
}

// flushShard makes the finding on the group of a directory.
func (w *walker) flushShard(shard string) {
	g := w.shards[shard]
	delete(w.shards, shard)
	w.find(Finding{Kind: BlobMissing, File: shard, First: g.first, Last: g.last,
		Message: fmt.Sprintf("no such directory, and no segment holds the entries whose blobs were in it, %d of them: %s", g.count, g.which)})
}

// seeBlob notes whether the entry at w.next, which is in a segment, has a blob.
func (w *walker) seeBlob(s *checkedSegment, hash segment.Hash, size uint32) {
	b, whole := w.blobs.refer(hash, size, w.next, false)
	switch {
	case b != nil:
		if whole {
			s.inBlobs++
		}
		if b.first == w.next {
			s.fresh = w.next
		}
	case s.absent == 0 && w.next <= w.index.Last:
		s.absent = w.next
	}
}

// absentBlobs reports which segments stay because blobs of their entries are gone: later
// entries got theirs, so lack of room is not the reason.
func (c *checker) absentBlobs(blobs *blobSet) {
	if c.store == nil || c.foreignBlobs {
		return
	}
	if _, err := os.Lstat(c.Blobs); c.BlobStore == nil && gone(err) {
		if last := min(c.head, c.index.Last); last >= c.first && c.index.Last > 0 {
			c.find(Finding{Kind: BlobAbsent, File: c.Blobs, First: c.first, Last: last,
				Message: "the directory is missing, although the index says that there was one: its entries are read from the segments, which are kept for them, and the next start makes an empty one; are the blobs elsewhere?"})
		}
		return
	}
	for i, s := range c.segs {
		through := s.fresh
		if i+1 < len(c.segs) && s.fresh > 0 && c.segs[i+1].fresh > 0 {
			through = s.Last
		}
		if s.absent > 0 && s.absent < through && c.ctx.Err() == nil {
			c.absentOf(blobs, s, min(through, c.index.Last))
		}
	}
}

// absentOf makes the findings on the segment's entries through last that have no blob.
func (c *checker) absentOf(blobs *blobSet, s *checkedSegment, last uint64) {
	var g group
	flush := func() {
		c.find(Finding{Kind: BlobAbsent, File: s.Path, First: g.first, Last: g.last,
			Message: fmt.Sprintf("%d entries have no blob, and later ones have: the segment stays for them; %s", g.count, g.which)})
		g = group{}
	}
	for index := s.absent; index <= last; index++ {
		rec, err := c.index.At(index)
		if err != nil || rec.Lost() {
			continue
		}
		if c.BlobStore != nil {
			if blobs.find(rec.Hash) != nil {
				continue
			}
		} else if _, err := os.Lstat(c.blobPath(rec.Hash)); !gone(err) {
			continue
		}
		c.plan.AddBlob(repair.Blob{Hash: rec.Hash, Index: index})
		if g.add(index) {
			flush()
		}
	}
	if g.count > 0 {
		flush()
	}
}
