package fsck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

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
		case "LOCK", "archive.cache", segment.BackupMark, segment.LostFound, "segments", "wal", "blobs", "lookup":
		default:
			if path != filepath.Clean(c.WAL) && path != filepath.Clean(c.Blobs) {
				c.stray(path)
			}
		}
	}
	for _, dir := range []string{segmentDir(c.Data), c.WAL, c.Blobs, c.dirs().Lookup()} {
		if dir != segment.Memory {
			c.directory(dir)
		}
	}
	c.misplaced()
	return nil
}

// directory makes the finding that something else is in place of the directory dir.
func (c *checker) directory(dir string) {
	fi, err := os.Stat(dir)
	link, lerr := os.Lstat(dir)
	switch {
	case gone(lerr), err == nil && fi.IsDir():
	case gone(err) && lerr == nil && link.IsDir(): // the server has just made it
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

// wrongType makes the finding that something else is in place of want.
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

// misplaced makes the finding that the directory of the index or of the blobs is something
// else: that of the other, with the settings swapped, the log's own, or one that has
// nothing to do with the log. Then everything in it is ignored, and a repair moves nothing:
// files that do not belong to an index may be all that is left of the blobs.
func (c *checker) misplaced() {
	for _, dir := range []struct {
		path, flag, usual string
		want              segment.Part
		foreign           *bool
	}{
		{c.WAL, "--wal", "wal", segment.IndexPart, &c.foreignIndex},
		{c.Blobs, "--blobs", "blobs", segment.BlobsPart, &c.foreignBlobs},
	} {
		if dir.path == segment.Memory {
			continue
		}
		message := ""
		if part, name, ok, err := segment.FindPart(dir.path, dir.want); err != nil {
			continue // reported where the directory is read
		} else if ok {
			message = fmt.Sprintf("holds %s, want %s: %s lies in it; check --wal and --blobs", part, dir.want, name)
		} else if filepath.Clean(dir.path) != filepath.Join(c.Data, dir.usual) && strange(dir.path) {
			message = fmt.Sprintf("holds files of something else, want %s: check %s", dir.want, dir.flag)
		} else {
			continue
		}
		*dir.foreign = true
		c.plan.Foreign = true
		c.find(Finding{Kind: Foreign, File: dir.path, Message: message})
	}
}

// strange reports whether there are things in dir and none of them belongs to a log.
func strange(dir string) bool {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		_, isShard := parseShard(e.Name())
		if segment.IsMark(e.Name()) || isShard || len(e.Name()) == 20 {
			return false
		}
	}
	// A disk's own lost+found is in every new file system.
	return err == nil && len(entries) > 0 && (len(entries) > 1 || entries[0].Name() != segment.LostFound)
}

// marks makes the findings on strays among the segments and on the marks of the
// directories, and determines which store this is.
func (c *checker) marks() error {
	entries, err := os.ReadDir(segmentDir(c.Data))
	if err != nil && !gone(err) {
		c.unreadable(segmentDir(c.Data), 0, 0, err)
	}
	for _, e := range entries {
		if _, ok := segment.ParseName(e.Name()); !ok && e.Name() != segment.LostFound {
			c.stray(filepath.Join(segmentDir(c.Data), e.Name()))
		}
	}
	votes := map[segment.StoreID]int{}
	for _, s := range c.segs {
		if s.Header.First > 0 {
			votes[s.Header.Store] += 2
		}
	}
	found := map[string]segment.StoreID{}
	if marker, ok := c.BlobStore.(segment.BlobMarker); ok {
		// There is no finding if it has no mark: a store that does not keep one does not
		// need it.
		if id, ok, err := marker.FindMark(c.ctx); err != nil {
			return segment.Unavailable(marker, err)
		} else if ok {
			found[marker.String()] = id
			votes[id]++
		}
	}
	for _, dir := range []string{c.WAL, c.Blobs} {
		if dir == segment.Memory {
			continue
		}
		id, ok, err := segment.FindMark(dir)
		switch {
		case errors.Is(err, segment.ErrDamaged):
			c.plan.Foreign = true
			c.find(Finding{Kind: Foreign, File: dir, Message: err.Error()})
		case err != nil: // reported where the directory is read
		case ok:
			found[dir] = id
			votes[id]++
		default:
			if names, _ := os.ReadDir(dir); len(names) > 0 && !c.plan.Foreign {
				c.find(Finding{Kind: NoMark, File: dir, Message: "has lost the mark that says which store it belongs to; the next start makes it again"})
			}
		}
	}
	// The store is the one that most segments and directories belong to.
	for id, n := range votes {
		if best := votes[c.id]; !c.idKnown || n > best || n == best && strings.Compare(id.String(), c.id.String()) < 0 {
			c.id, c.idKnown = id, true
		}
	}
	for dir, id := range found {
		if id != c.id {
			c.plan.Foreign = true
			c.foreignIndex = c.foreignIndex || dir == c.WAL
			c.foreignBlobs = c.foreignBlobs || c.store != nil && dir == c.store.String()
			c.find(Finding{Kind: Foreign, File: dir, Want: c.id.String(), Got: id.String(),
				Message: fmt.Sprintf("belongs to store %s, want %s: it is the directory of another log", id, c.id)})
		}
	}
	return nil
}
