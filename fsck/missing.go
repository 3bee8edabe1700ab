package fsck

import (
	"fmt"
	"os"
	"path/filepath"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// missing makes the finding that there is no blob of hash for the entry at w.next:
// one for all of them where whole directories are missing.
func (w *walker) missing(hash segment.Hash) {
	path, place := segment.Memory, segment.Memory
	if w.store != nil {
		path, place = w.blobPath(hash), w.store.String()
	}
	shard := filepath.Dir(path)
	switch {
	case w.foreignBlobs, w.blobs.unreadable[hash[0]]:
		return // said of the directory
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

// group is entries without blobs that one finding names.
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

// seeBlob notes whether the entry at w.next, which lies in a segment, has a blob.
func (w *walker) seeBlob(s *checkedSegment, hash segment.Hash, size uint32) {
	switch w.blobs.refer(hash, size, w.next, false) {
	case blobWhole:
		s.inBlobs++
		fallthrough
	case blobDamaged:
		if w.blobs.find(hash).first == w.next {
			s.fresh = max(s.fresh, w.next)
		}
	case absent:
		if w.next <= w.index.Last && (s.absent == 0 || w.next < s.absent) {
			s.absent = w.next
		}
	}
}

// absentBlobs says which segments stay because blobs of their entries are gone:
// later entries got theirs, so it is not that there was no room for more.
func (c *checker) absentBlobs(blobs *blobSet) {
	if c.store == nil || c.foreignBlobs {
		return
	}
	if _, err := os.Lstat(c.Blobs); c.BlobStore == nil && gone(err) {
		if last := min(c.head, c.index.Last); last >= c.first && c.index.Last > 0 {
			c.find(Finding{Kind: BlobAbsent, File: c.Blobs, First: c.first, Last: last,
				Message: "no such directory, and the index says that there was one: the entries are read from the segments, which stay for them, and the next start makes an empty one; are the blobs elsewhere?"})
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

// absentOf makes the findings on the segment's entries through last that have no
// blob.
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
