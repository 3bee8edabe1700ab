package fsck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tcp-log-server/segment"
)

// seg is one file in the directory of segments.
type seg struct {
	path  string
	first uint64 // by its name
	next  uint64 // the first index of the file behind it, 0 for the last
	size  int64
	mtime time.Time

	readable bool // a regular file, or a link to one, with a header of this store or a damaged one
	header   segment.Header
	known    bool   // the header checks out and belongs to the file
	sum      uint32 // its checksum
	why      error  // why it does not
	footer   segment.Footer
	sealed   bool

	walked  segment.Walked // of the last segment, at the start
	inBlobs uint64         // how many of its entries have a whole blob
	absent  uint64         // the first settled one that has none, 0 if there is none
	fresh   uint64         // the last one that is the first to have its blob
	last    uint64         // the last index that it holds
}

// top looks at what lies in the log's directory.
func (c *checker) top() error {
	entries, err := os.ReadDir(c.Data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(c.Data, e.Name())
		switch e.Name() {
		case "LOCK", segment.LostFound, "segments", "wal", "blobs":
		default:
			if path != filepath.Clean(c.WAL) && path != filepath.Clean(c.Blobs) {
				c.stray(path)
			}
		}
	}
	for _, dir := range []string{segmentDir(c.Data), c.WAL, c.Blobs} {
		if dir != segment.Memory {
			c.directory(dir)
		}
	}
	c.misplaced()
	return nil
}

// directory makes the finding that dir is there and is no directory.
func (c *checker) directory(dir string) {
	fi, err := os.Stat(dir)
	link, lerr := os.Lstat(dir)
	switch {
	case lerr != nil && gone(lerr), err == nil && fi.IsDir():
	case err == nil:
		c.wrongType(dir, fi.Mode(), "a directory")
	case lerr == nil && link.Mode()&fs.ModeSymlink != 0:
		to, _ := os.Readlink(dir)
		c.plan.links = append(c.plan.links, dir)
		c.find(Finding{Kind: WrongType, File: dir, Message: fmt.Sprintf("is a link to %s, where nothing can be found, want a directory: is a disk not mounted? Mount it, or remove the link", to)})
	default:
		c.unreadable(dir, 0, 0, err)
	}
}

// wrongType makes the finding that something else lies in place of want.
func (c *checker) wrongType(path string, mode fs.FileMode, want string) {
	c.plan.wrongType(path)
	c.find(Finding{Kind: WrongType, File: path, Message: fmt.Sprintf("is %s, want %s", typeName(mode), want)})
}

// typeName says in words what kind of file mode is of.
func typeName(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "a file"
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "a device, pipe or socket"
}

// stray makes the finding that a file is no part of the log, unless it turns
// out at the end that a running daemon had just made it.
func (c *checker) stray(path string) {
	c.later = append(c.later, func() {
		fi, err := os.Lstat(path)
		if err != nil || c.young(fi.ModTime()) {
			return
		}
		c.plan.stray(path)
		c.find(Finding{Kind: StrayFile, File: path, Message: typeName(fi.Mode()) + " that is no part of the log"})
	})
}

// young says that a file was made after the check began, give or take the
// grain of clocks: what the log captured cannot tell of it.
func (c *checker) young(modified time.Time) bool {
	return !c.alone && modified.After(c.started.Add(-time.Second))
}

// capture notes how far the log goes. It looks at the index before the segments,
// since records follow entries, and again after them, since a segment goes only
// when the records of its entries are there.
func (c *checker) capture() error {
	for try := 0; ; try++ {
		ahead := c.listIndex(false)
		segs, err := c.listSegments()
		if errors.Is(err, fs.ErrNotExist) && try < 1000 {
			continue // it was removed just now
		}
		if err != nil {
			return err
		}
		c.segs = segs
		c.index = c.listIndex(true)
		c.index.before = ahead.last
		return nil
	}
}

// listSegments lists the segments and reads the headers and footers, and the
// whole of the last. The error wraps fs.ErrNotExist if one has gone meanwhile.
func (c *checker) listSegments() ([]*seg, error) {
	dir := segmentDir(c.Data)
	firsts, err := segment.List(dir)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, err // nothing can be told without them
		}
		return nil, nil // said by top, or for strays
	}
	var segs []*seg
	for i, first := range firsts {
		s := &seg{path: filepath.Join(dir, segment.Name(first)), first: first, last: first - 1}
		if i+1 < len(firsts) {
			s.next = firsts[i+1]
		}
		if err := s.stat(); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				if _, err := os.Lstat(s.path); err != nil {
					return nil, err
				}
			}
			s.why = err
		}
		segs = append(segs, s)
	}
	if n := len(segs); n > 0 && segs[n-1].readable {
		err = segs[n-1].walkLast()
	}
	return segs, err
}

// stat reads the header and the footer. An error means that the file cannot be
// read at all.
func (s *seg) stat() error {
	fi, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return nil
	}
	f, err := segment.OpenRegular(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	// A footer is written while others read: it is taken for damaged only when
	// the file stays as it is.
	for {
		before, err := f.Stat()
		if err != nil {
			return err
		}
		s.size, s.mtime = before.Size(), before.ModTime()
		b := make([]byte, segment.HeaderSize)
		n, _ := f.ReadAt(b, 0)
		s.header, s.why = segment.ParseHeader(b[:n])
		s.known = s.why == nil
		if s.known {
			s.sum = segment.Checksum(b[:segment.HeaderSize-4])
		}
		s.footer, s.sealed, err = readFooter(f, s.size)
		if err == nil {
			break
		}
		if after, serr := f.Stat(); serr != nil || after.Size() == s.size && after.ModTime().Equal(s.mtime) {
			break
		}
	}
	s.readable = true
	if s.known && s.header.First != s.first {
		s.why = fmt.Errorf("header has first index %d, the name says %d", s.header.First, s.first)
		s.known, s.readable = false, false
	}
	return nil
}

// readFooter reads the footer of a file of the given size.
func readFooter(f *os.File, size int64) (segment.Footer, bool, error) {
	if size < segment.HeaderSize+segment.FooterSize {
		return segment.Footer{}, false, nil
	}
	b := make([]byte, segment.FooterSize)
	if _, err := f.ReadAt(b, size-segment.FooterSize); err != nil {
		return segment.Footer{}, false, err
	}
	footer, ok, err := segment.ParseFooter(b, size)
	return footer, ok && err == nil, err
}

// walkLast finds the end of the last segment: the head of the log. A daemon that
// is at work on it moves that end, so a tail that is not whole is looked at
// again until the file stands still.
func (s *seg) walkLast() error {
	f, err := segment.OpenRegular(s.path)
	if err != nil {
		s.readable, s.why = false, err
		return err
	}
	defer f.Close()
	end := s.end()
	for try := 0; ; try++ {
		s.walked, err = segment.Walk(f, s.first, s.sum, s.known, end, func(segment.Piece) error { return nil })
		fi, serr := f.Stat()
		if err != nil || serr != nil {
			break
		}
		moved := fi.Size() != s.size || !fi.ModTime().Equal(s.mtime)
		s.size, s.mtime = fi.Size(), fi.ModTime()
		if s.walked.Torn > 0 && !s.walked.Unwritten && !moved && try < 5 {
			// A daemon may be in the middle of a write, whose time is that of its beginning.
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if s.walked.Torn == 0 || !moved || try >= 1000 {
			break
		}
		if s.footer, s.sealed, _ = readFooter(f, s.size); s.sealed {
			end = int64(s.footer.Table)
		} else {
			end = s.size
		}
	}
	if err != nil {
		s.why = err
	}
	return nil
}

// end is where the batches of the segment end at the latest.
func (s *seg) end() int64 {
	if s.sealed {
		return int64(s.footer.Table)
	}
	return s.size
}
