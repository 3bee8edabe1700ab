package fsck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tcp-log-server/fsck/internal/repair"

	"tcp-log-server/segment"
)

// checkedSegment is one segment, and what a check knows of the blobs of its entries.
type checkedSegment struct {
	*repair.Segment
	inBlobs uint64 // how many have a whole blob
	absent  uint64 // the first settled one that has none, 0 if there is none
	fresh   uint64 // the last one that is the first to have its blob
}

// top makes the findings on the entries of the log's directory.
func (c *checker) top() error {
	entries, err := os.ReadDir(c.Data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(c.Data, e.Name())
		switch e.Name() {
		case segment.EpochName, segment.ReplicaName, segment.FencedName:
			if err := segment.CheckMarker(path); err != nil {
				c.unreadable(path, 0, 0, err)
			}
		case segment.ArchiveName:
			if c.archived, err = segment.ReadArchived(c.Data); err != nil {
				c.unreadable(path, 0, 0, err)
			}
		case "LOCK", archiveCache, segment.BackupMark, segment.LostFound, "segments", "wal", "blobs", "lookup":
		default:
			if path != filepath.Clean(c.WAL) && path != filepath.Clean(c.Blobs) {
				c.stray(path)
			}
		}
	}
	for _, dir := range []string{segmentDir(c.Data), c.WAL, c.Blobs, segment.Dirs{Data: c.Data}.Lookup()} {
		if dir != segment.Memory {
			c.directory(dir)
		}
	}
	c.misplaced()
	return nil
}

// archiveCache is the file in which a server keeps what it has read from the log's archive: one
// that is not running has left it.
const archiveCache = "archive.cache"

// directory makes the finding that something else lies in place of the directory dir.
func (c *checker) directory(dir string) {
	fi, err := os.Stat(dir)
	link, lerr := os.Lstat(dir)
	switch {
	case lerr != nil && gone(lerr), err == nil && fi.IsDir():
	case gone(err) && lerr == nil && link.IsDir(): // a daemon has just made it
	case err == nil:
		c.wrongType(dir, fi.Mode(), "a directory")
	case lerr == nil && link.Mode()&fs.ModeSymlink != 0:
		to, _ := os.Readlink(dir)
		c.plan.Links = append(c.plan.Links, dir)
		c.find(Finding{Kind: WrongType, File: dir, Message: fmt.Sprintf("is a link to %s, which does not exist, want a directory: is a disk not mounted? Mount it, or remove the link", to)})
	default:
		c.unreadable(dir, 0, 0, err)
	}
}

// wrongType makes the finding that something else lies in place of want.
func (c *checker) wrongType(path string, mode fs.FileMode, want string) {
	c.plan.Wrong = append(c.plan.Wrong, path)
	c.find(Finding{Kind: WrongType, File: path, Message: fmt.Sprintf("is %s, want %s", repair.TypeName(mode), want)})
}

// stray makes the finding that a file does not belong to the log.
func (c *checker) stray(path string) {
	c.unlessNew(path, func(fi fs.FileInfo) {
		c.plan.Strays = append(c.plan.Strays, path)
		c.find(Finding{Kind: StrayFile, File: path, Message: repair.TypeName(fi.Mode()) + " that does not belong to the log"})
	})
}

// capture captures the segments and the index. It looks at the index before the segments,
// since records follow entries, and again after them, since a segment goes only
// when the records of its entries are there.
func (c *checker) capture() error {
	before := c.listIndex().Last
	store, err := segment.Capture(c.dirs())
	if errors.Is(err, fs.ErrPermission) {
		return err // nothing can be told without the segments
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
	c.index.before = before
	return nil
}
