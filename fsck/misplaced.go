package fsck

import (
	"fmt"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// misplaced makes the finding that the directory of the index or of the blobs is
// something else: that of the other, with the settings swapped, the log's own, or
// one that has nothing to do with the log. Nothing in it counts then, and a repair
// moves nothing: files that do not belong to an index may be all that is left of the blobs.
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
			continue // said where the directory is read
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

// strange reports whether there are things in dir and none of them is of a log.
func strange(dir string) bool {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		_, isShard := parseShard(e.Name())
		if segment.IsMark(e.Name()) || isShard || len(e.Name()) == 20 {
			return false
		}
	}
	// A disk's own directory of that name is in every new file system.
	return err == nil && len(entries) > 0 && (len(entries) > 1 || entries[0].Name() != segment.LostFound)
}
