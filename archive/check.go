package archive

import (
	"context"
	"fmt"
	"time"

	"tcp-log-server/fsck"
	"tcp-log-server/segment"
)

// CheckOptions says how to check an archive.
type CheckOptions struct {
	// Through is the last entry of the digest; 0 is the head.
	Through uint64
	// Quick compares only the names and the footers of segments, and leaves their contents unread.
	Quick bool
	// OnFinding, unless nil, gets each finding as it is made, one at a time.
	OnFinding func(fsck.Finding)
	// OnProgress, unless nil, gets the number of bytes of the segments that have been read.
	OnProgress func(done, total int64)
}

// Check verifies every byte of the archive, one segment after the other. The result is that of
// fsck.Check for a log in a directory, with the same digest. Findings are not errors: an error says
// that the check failed. It wraps fsck.ErrBeyond if the archive ends before options.Through, or is
// that of ctx or the bucket.
func (a *Archive) Check(ctx context.Context, options CheckOptions) (fsck.Summary, error) {
	started := time.Now()
	sum := fsck.Summary{Store: a.store.String(), First: 1, Segments: len(a.parts), Quick: options.Quick}
	find := func(f fsck.Finding) {
		f.Severity = f.Kind.Severity()
		if f.Severity == fsck.Error {
			sum.Errors++
		} else {
			sum.Hints++
		}
		if options.OnFinding != nil {
			options.OnFinding(f)
		}
	}
	if options.Through > a.Head() && a.damage == nil {
		return sum, fmt.Errorf("index %d %w: %d", options.Through, fsck.ErrBeyond, a.Head())
	}
	a.names(find)
	index := &indexFiles{has: a.hasIndex, read: func(first uint64) ([]byte, error) { return a.readIndex(ctx, first) }}
	v := newVerifier(ctx, a.store, index, a.path, find)
	if v.through = options.Through; v.through == 0 {
		v.through = a.Head()
	}
	total, done := int64(0), int64(0)
	for _, p := range a.parts {
		total += p.size
	}
	for _, p := range a.parts {
		if options.OnProgress != nil {
			options.OnProgress(done, total)
		}
		if err := a.checkPart(ctx, v, p, options.Quick); err != nil {
			return sum, err
		}
		if index.err != nil {
			return sum, index.err
		}
		done += p.size
	}
	sum.Entries, sum.Damaged, sum.Lost, sum.Through, sum.Digest = v.next-1, v.damaged, v.lost, v.through, v.sumText()
	sum.Bytes = total + a.list.bytes[indexDir]
	if sum.Indexed = a.indexed(); options.Quick {
		sum.Digest = ""
	}
	sum.Seconds = time.Since(started).Seconds()
	return sum, ctx.Err()
}

// checkPart checks one segment. If it is unreadable or missing, that is a finding.
func (a *Archive) checkPart(ctx context.Context, v *verifier, p part, quick bool) error {
	s := newStream(ctx, a.b, p)
	defer s.Close()
	var err error
	if quick {
		err = v.quick(p, s)
	} else {
		err = v.part(p, s)
	}
	if damaged(err) {
		v.bad(fsck.Unreadable, p, 0, max(p.first, v.next), p.last, err)
		v.missing(p.last)
		return nil
	}
	return err
}

// names makes the findings that need no contents.
func (a *Archive) names(find func(fsck.Finding)) {
	for _, o := range a.list.strays {
		find(fsck.Finding{Kind: fsck.StrayFile, File: a.path(o.Key), Message: "is no object of an archive"})
	}
	for _, o := range a.list.wrongSize {
		find(fsck.Finding{Kind: fsck.SegmentSize, File: a.path(o.Key), Message: fmt.Sprintf("has %d bytes, which is not what its name says", o.Size)})
	}
	if a.epochDamage != nil {
		find(fsck.Finding{Kind: fsck.Unreadable, File: a.path(epochKey), Message: a.epochDamage.Error()})
	}
	next := uint64(1)
	for _, first := range a.index {
		for ; next < first; next += segment.RecordsPerFile {
			find(fsck.Finding{Kind: fsck.IndexFile, File: a.path(IndexKey(next)), First: next, Last: next + segment.RecordsPerFile - 1, Message: "is missing, and later files of the index are there"})
		}
		if last := first + segment.RecordsPerFile - 1; last > a.Head() && a.damage == nil {
			find(fsck.Finding{Kind: fsck.IndexAhead, File: a.path(IndexKey(first)), First: a.Head() + 1, Last: last, Message: fmt.Sprintf("the segments end at %d", a.Head())})
		}
		next = first + segment.RecordsPerFile
	}
	for _, i := range a.orphans() {
		find(fsck.Finding{Kind: fsck.SegmentGap, File: a.path(i.Key()), Offset: i.Offset, Last: i.Last, First: max(a.Head()+1, i.First),
			Message: "does not follow what the archive has before it: an object is missing"})
	}
}

// orphans returns the increments after the head: they follow nothing.
func (a *Archive) orphans() (orphans []Increment) {
	for _, i := range a.list.increments {
		if i.Last > a.Head() {
			orphans = append(orphans, i)
		}
	}
	return orphans
}

// quick compares the header and the footer of a segment with those before it.
func (v *verifier) quick(p part, s *stream) error {
	if !v.follows(p) {
		return nil
	}
	if _, err := v.header(p, s); err != nil {
		return err
	}
	if !p.sealed() {
		v.next, v.sum, v.known = p.last+1, p.sum, true
		return nil
	}
	f, whole, err := v.footer(p, s)
	if v.next, v.sum, v.known = p.last+1, f.Sum, whole; whole {
		v.next = f.Last + 1
	}
	return err
}

func (a *Archive) path(key string) string { return objectPath(a.b, key) }

func (a *Archive) hasIndex(first uint64) bool {
	_, ok := a.list.index[first]
	return ok
}

func (a *Archive) readIndex(ctx context.Context, first uint64) ([]byte, error) {
	size := a.list.index[first]
	if size > 2*segment.RecordFileSize {
		return nil, fmt.Errorf("%w: has %d bytes, want %d", ErrDamaged, size, segment.RecordFileSize)
	}
	return getRange(ctx, a.b, IndexKey(first), 0, size)
}

// indexed returns the last entry before the first gap between the index files.
func (a *Archive) indexed() (last uint64) {
	for _, first := range a.index {
		if first != last+1 {
			break
		}
		last += segment.RecordsPerFile
	}
	return last
}
