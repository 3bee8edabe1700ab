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

// seg is one segment as a check sees it. Capture sets the fields of File. The
// pipeline sets Last, and more of them where a daemon has sealed the file since.
type seg struct {
	*segment.File
	Next uint64 // the first index of the next file, 0 for the last
	// Readable says that there are batches of this store to read. HeaderOK says
	// that the header checks out too, and belongs to the file.
	Readable, HeaderOK bool

	inBlobs uint64 // how many of its entries have a whole blob
	absent  uint64 // the first settled one that has none, 0 if there is none
	fresh   uint64 // the last one that is the first to have its blob
}

func newSeg(f *segment.File) *seg {
	// A bad sector is no reason to give up what comes before it.
	return &seg{File: f, Readable: f.Err == nil || f.Walked.End > 0, HeaderOK: f.Known()}
}

// batchesEnd is where in the file the batches end at the latest.
func (s *seg) batchesEnd() int64 {
	if s.Sealed {
		return int64(s.Footer.Table)
	}
	return s.Size
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
	before := c.listIndex(false).last
	store, err := segment.Capture(segment.Dirs{Data: c.Data, WAL: c.WAL, Blobs: c.Blobs})
	if errors.Is(err, fs.ErrPermission) {
		return err // nothing can be told without the segments
	}
	// Any other error is a finding of top and marks.
	for i, f := range store.Files {
		s := newSeg(f)
		if i+1 < len(store.Files) {
			s.Next = store.Files[i+1].First
		}
		c.segs = append(c.segs, s)
	}
	c.residues(store)
	c.index = c.listIndex(true)
	c.index.before = before
	return nil
}

// residues makes the findings on what beginning a segment left when it failed,
// unless a daemon turns out to be beginning one, or to have removed it.
func (c *checker) residues(store *segment.Store) {
	for _, f := range store.Residues {
		c.later = append(c.later, func() {
			if fi, err := os.Lstat(f.Path); err != nil || c.young(fi.ModTime()) {
				return
			}
			before, _ := store.Find(f.First)
			c.plan.residues = append(c.plan.residues, f.Path)
			c.find(Finding{Kind: Residue, File: f.Path, First: f.First, Message: "holds nothing, and " + before.Path + " has its indices: it was begun and never used"})
		})
	}
}
