package fsck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// checkedSegment is one segment, and what a check knows about it and the blobs of its entries.
type checkedSegment struct {
	*repair.Segment
	inBlobs uint64 // how many have an intact blob
	absent  uint64 // the first settled one that has none, 0 if there is none
	fresh   uint64 // the last entry that is the first to have its blob
	sum     uint32 // the checksum that the next segment should refer to
	summed  bool   // sum is known
}

// allInBlobs reports whether the segment has entries and all of them have intact blobs.
func (s *checkedSegment) allInBlobs() bool {
	return s.Readable && s.Last >= s.First && s.inBlobs == s.Last-s.First+1
}

// capture captures the segments and the index. segment.Capture examines the index before the segments, since
// records follow entries, and capture examines it again after them, since a segment is removed only when its
// entries have records.
func (c *checker) capture() error {
	store, err := segment.Capture(c.dirs())
	if errors.Is(err, fs.ErrPermission) {
		return err // without the segments, no check is possible
	}
	// Any other error is a finding of top and marks.
	for i, f := range store.Files {
		s := &checkedSegment{Segment: repair.NewSegment(f)}
		if i+1 < len(store.Files) {
			s.Next = store.Files[i+1].First
		}
		c.segs = append(c.segs, s)
	}
	for _, f := range store.Residues {
		c.unlessNew(f.Path, func(fs.FileInfo) {
			before, _ := store.Find(f.First)
			c.plan.Residues = append(c.plan.Residues, f.Path)
			c.find(Finding{Kind: Residue, File: f.Path, First: f.First, Message: "holds nothing, and " + before.Path + " has its indices: it was begun and never used"})
		})
	}
	c.index = c.listIndex()
	c.index.report(c)
	if !c.foreignIndex {
		c.index.before = store.Records
	}
	return nil
}

// extent determines the extent of the log from the captured files, and makes the findings on the segment files
// and on an index and segments that end at different entries.
func (c *checker) extent() error {
	if c.foreignIndex {
		c.index.Close()
		c.index = c.listIndex() // empty
	}
	for _, s := range c.segs {
		c.judge(s)
	}
	c.first, c.head = 1, 0
	if n := len(c.segs); n > 0 {
		c.first = c.segs[0].First
		last := c.segs[n-1]
		c.head = last.First - 1
		if last.Readable {
			c.head = max(c.head, last.Last)
		}
		if w := last.Walked; last.Readable && !last.Sealed && w.Torn > 0 && !w.Unwritten {
			c.head = max(c.head, w.Claimed) // entries that were there, but are altered
		}
		if c.index.before > c.head && (!last.Readable || last.Walked.Torn > 0 && !last.Walked.Unwritten) {
			c.head = c.index.before // these entries were there, but are damaged
		}
		if c.index.before > c.head && last.Readable {
			c.head = c.reached(last) // so were these, and those before them
		}
	} else {
		f := Finding{Kind: SegmentGap, File: segmentDir(c.Data)}
		if n := c.index.Last; n > 0 {
			c.first, c.head = n+1, n
			f.First, f.Last, f.Message = 1, n, fmt.Sprintf("there are no segments, and index records through %d", n)
		} else if c.anyBlobs() {
			f.Message = "there are no segments and no index, and there are blobs: what order they were in is not known"
		} else if c.idKnown {
			f.Message = fmt.Sprintf("there are no segments and no index, and the directories are marked as those of store %s", c.id)
		}
		if c.plan.NoSegments = f.Message != ""; c.plan.NoSegments {
			c.find(f)
		}
	}
	if c.index.before > c.head {
		n := c.index.before - c.head
		c.plan.Ahead = c.index.before
		c.find(Finding{Kind: IndexAhead, File: c.WAL, First: c.head + 1, Last: c.index.before,
			Message: fmt.Sprintf("the index has records through %d, the segments end at %d: %d entries have no content there", c.index.before, c.head, n)})
	}
	if !c.foreignIndex {
		c.index.judge(c)
	}
	return nil
}

// reached returns the last entry that the index proves in the bytes after the last batch of s, the last
// segment, or else the head.
func (c *checker) reached(s *checkedSegment) uint64 {
	if s.Walked.Torn == 0 {
		return c.head
	}
	f, err := segment.OpenRegular(s.Path)
	if err != nil {
		return c.head
	}
	defer f.Close()
	m := segment.NewSalvager(f, s.Walked.End, s.Walked.End+s.Walked.Torn)
	return max(c.head, m.Reach(s.Walked.Last+1, c.index.before, func(index uint64) (segment.Record, bool) {
		rec, err := c.index.At(index)
		return rec, err == nil && !rec.Lost()
	}))
}

// anyBlobs reports whether there are any blobs.
func (c *checker) anyBlobs() bool {
	any := errors.New("any")
	return c.store != nil && errors.Is(c.store.List(c.ctx, "", func(segment.BlobInfo) error { return any }), any)
}

// judge makes the findings on a segment's file and header.
func (c *checker) judge(s *checkedSegment) {
	fi, err := os.Lstat(s.Path)
	if err == nil && !fi.Mode().IsRegular() {
		c.wrongType(s.Path, fi.Mode(), "a file")
		c.plan.Rebuild(s.First)
		if to, err := os.Stat(s.Path); err == nil && !to.Mode().IsRegular() {
			return
		}
	}
	var damage *segment.DamageError
	switch {
	case errors.Is(s.HeaderErr, segment.ErrVersion):
		s.Readable = false
		c.plan.Manual = append(c.plan.Manual, s.Path)
		c.find(Finding{Kind: Version, File: s.Path, First: s.First, Message: s.HeaderErr.Error()})
	case s.HeaderOK && s.Header.Store != c.id:
		s.Readable, s.HeaderOK = false, false
		c.fault(s, Finding{Kind: Foreign, First: s.First, Want: c.id.String(), Got: s.Header.Store.String(),
			Message: fmt.Sprintf("segment belongs to store %s, want %s", s.Header.Store, c.id)})
	case errors.As(s.HeaderErr, &damage), !s.Readable && errors.As(s.Err, &damage):
		c.fault(s, Finding{Kind: SegmentHeader, First: s.First, Message: damage.Err.Error()})
	case !s.Readable:
		c.plan.Rebuild(s.First)
		c.unreadable(s.Path, s.First, 0, s.Err)
	case s.Oversized():
		c.fault(s, Finding{Kind: SegmentSize, Offset: segment.MaxSize, First: s.First,
			Message: fmt.Sprintf("has %d bytes, want at most %d: offsets in a segment have 32 bits", s.Size, int64(segment.MaxSize))})
	case s.Next == 0 && s.Walked.Torn > 0 && s.Walked.Unwritten && c.index.before <= s.Last && s.Err == nil:
		c.torn(s, s.Walked)
	}
}

// torn makes the finding on bytes after the last batch.
func (c *checker) torn(s *checkedSegment, w segment.Walked) {
	c.unlessChanged(s.Path, s.Size, s.Modified, func() {
		c.plan.Tails[s.Path] = w.End
		c.find(Finding{Kind: TornTail, File: s.Path, Offset: w.End, First: w.Last + 1,
			Message: fmt.Sprintf("%d bytes of what looks like a write that was cut short before it was acknowledged: %v", w.Torn, w.Why)})
	})
}

// leftovers makes the findings on gaps whose entries are all in blobs. If the entries of all segments before
// the gap are in blobs too, those segments were about to be removed, and the server removes them: a copy of a
// running log can have them. Otherwise a segment is missing.
func (c *checker) leftovers() {
	for _, g := range c.gaps {
		if c.index.Last >= g.Last && !slices.ContainsFunc(c.segs, func(s *checkedSegment) bool { return s.First < g.First && !s.allInBlobs() }) {
			g.Kind = Leftover
			g.Message = "no segment holds these entries, and none is needed: they, and all before them, are in the index and in blobs; the server removes the segments before them"
		} else {
			c.plan.Gaps[g.First] = g.Last
		}
		c.find(g)
	}
}

// settledSegments makes the findings on segments that are no longer needed.
func (c *checker) settledSegments() {
	for _, s := range c.segs {
		if !s.Sealed || s.Next == 0 || s.Last > c.index.Last || !s.allInBlobs() {
			return
		}
		c.find(Finding{Kind: Settled, File: s.Path, First: s.First, Last: s.Last,
			Message: "all its entries are in the index and in blobs: the server removes it in time"})
	}
}
