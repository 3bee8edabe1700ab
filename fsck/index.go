package fsck

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"tcp-log-server/fsck/internal/repair"

	"tcp-log-server/segment"
)

// records is the index as a check sees it.
type records struct {
	*repair.Index
	dir        string
	before     uint64 // the last record that checks out, before the segments were looked at
	bytes      int64
	tail       segment.RecordFile // the file with the last record, or the last one
	torn       int64              // bytes after the last record
	unreadable map[uint64]error   // files that cannot be read, by first index: why
}

// listIndex lists the files of the index and finds its last record. It makes
// findings if report is set.
func (c *checker) listIndex(report bool) *records {
	r := &records{Index: repair.NewIndex(), dir: c.WAL, unreadable: map[uint64]error{}}
	if c.WAL == segment.Memory || c.foreignIndex {
		return r
	}
	files, strays, err := segment.ListRecordFiles(c.WAL)
	if err != nil {
		if report {
			c.unreadable(c.WAL, 0, 0, err)
		}
		return r
	}
	for _, f := range files {
		if _, first, off := segment.RecordPath(c.WAL, f.First); off != 0 || first != f.First {
			if report {
				c.plan.Strays = append(c.plan.Strays, f.Path)
				c.find(Finding{Kind: IndexFile, File: f.Path, First: f.First, Message: fmt.Sprintf("no file of the index begins at %d", f.First)})
			}
			continue
		}
		r.Files[f.First] = f
		r.bytes += f.Size
		r.tail = f
	}
	firsts := slices.Sorted(maps.Keys(r.Files))
	for i := len(firsts) - 1; i >= 0; i-- {
		var err error
		if r.Last == 0 {
			r.Last, err = r.Files[firsts[i]].LastRecord()
		} else {
			err = r.Files[firsts[i]].Readable() // bad sectors are found record by record
		}
		if err != nil && !gone(err) {
			r.unreadable[firsts[i]] = err
		}
	}
	if report {
		r.reportUnreadable(c)
	}
	if r.Last > 0 {
		r.tail = r.Files[repair.FileOf(r.Last)]
	}
	r.Open(c.WAL)
	if !report {
		return r
	}
	for _, name := range strays {
		if name != segment.LostFound {
			c.strayRecord(filepath.Join(c.WAL, name))
		}
	}
	return r
}

// reportUnreadable makes the findings on files of the index that cannot be read. What a
// file holds that is closed to this user is there: nothing is made in its place.
func (r *records) reportUnreadable(c *checker) {
	for _, first := range slices.Sorted(maps.Keys(r.unreadable)) {
		path, err := r.Files[first].Path, r.unreadable[first]
		if errors.Is(err, fs.ErrPermission) {
			c.plan.Manual = append(c.plan.Manual, path)
		} else {
			c.plan.Records[first] = true
		}
		last := first + segment.RecordsPerFile - 1
		if first > r.Last {
			last = 0
		}
		c.unreadable(path, first, last, err)
	}
}

// unreadableEnd reports whether the end of the index is not known, since a file after
// the last record that could be read cannot be.
func (r *records) unreadableEnd() (path string, ok bool) {
	for first := range r.unreadable {
		if first > r.Last {
			return r.Files[first].Path, true
		}
	}
	return "", false
}

// strayRecord makes the finding on a file in the directory of the index that does not
// belong there.
// A directory or link in place of a file of records is an error.
func (c *checker) strayRecord(path string) {
	fi, err := os.Lstat(path)
	if err == nil && segment.IsMark(filepath.Base(path)) {
		c.wrongType(path, fi.Mode(), "a directory")
		return
	}
	if err == nil && !fi.Mode().IsRegular() && len(filepath.Base(path)) == 20 {
		c.wrongType(path, fi.Mode(), "a file")
		return
	}
	if name := filepath.Base(path); len(name) > 20 && (name[20:] == ".START" || name[20:] == ".END") {
		c.plan.Strays = append(c.plan.Strays, path)
		c.find(Finding{Kind: IndexFile, File: path, Message: "is a file that the library of the index takes for an order to delete files"})
		return
	}
	c.stray(path)
}

// judge makes the findings on the files of the index: each but the last must be
// there and full. Bytes after the last record are torn, or not written yet.
func (r *records) judge(c *checker) {
	if c.WAL == segment.Memory {
		if c.first > 1 {
			c.find(Finding{Kind: IndexShort, File: c.WAL, First: 1, Last: c.first - 1, Message: "these entries have no segment, so they need the index on disk"})
		}
		return
	}
	next := uint64(1)
	full := int64(segment.RecordsPerFile) * (segment.RecordSize + 1)
	for _, first := range slices.Sorted(maps.Keys(r.Files)) {
		f := r.Files[first]
		if first > next && first <= r.Last {
			for missing := next; missing < first; missing += segment.RecordsPerFile {
				c.plan.Records[missing] = true
			}
			path, _, _ := segment.RecordPath(r.dir, next)
			c.find(Finding{Kind: IndexFile, File: path, First: next, Last: first - 1, Message: "the file is missing"})
		} else if first > next {
			c.plan.Strays = append(c.plan.Strays, f.Path)
			c.find(Finding{Kind: IndexFile, File: f.Path, First: first, Message: fmt.Sprintf("file of the index begins at %d, want %d", first, next)})
		}
		next = max(next, first+segment.RecordsPerFile)
		switch {
		case f.Size > full:
			c.plan.Records[first] = true
			c.find(Finding{Kind: IndexFile, File: f.Path, Offset: full, First: first, Last: first + segment.RecordsPerFile - 1,
				Message: fmt.Sprintf("has %d bytes, want at most %d", f.Size, full)})
		case f.Size < full && first < r.tail.First:
			n, _ := segment.RecordCount(f.Size)
			c.plan.Records[first] = true
			c.find(Finding{Kind: IndexFile, File: f.Path, Offset: f.Size, First: first + uint64(n), Last: first + segment.RecordsPerFile - 1,
				Message: fmt.Sprintf("has %d bytes, want %d", f.Size, full)})
		}
	}
	path, unreadable := r.unreadableEnd()
	if need := c.first - 1; r.Last < need {
		c.plan.Short = need
		message := fmt.Sprintf("the index ends at %d, and the first segment begins at %d: the records of the entries between are missing", r.Last, c.first)
		if unreadable {
			message = fmt.Sprintf("the records of entries that no segment holds cannot be read: %s", path)
		}
		c.find(Finding{Kind: IndexShort, File: r.dir, First: r.Last + 1, Last: need, Message: message})
	} else if r.Last < c.head && !unreadable {
		c.plan.Lag = true
		c.find(Finding{Kind: IndexLag, File: r.dir, First: r.Last + 1, Last: c.head,
			Message: fmt.Sprintf("the index ends at %d, the log at %d: the server adds the records from the segments", r.Last, c.head)})
	}
	if f := r.tail; f.Path != "" && r.unreadable[f.First] == nil {
		r.tornTail(c, f)
	}
}

// tornTail makes the finding of bytes after the last record, unless it turns
// out at the end that a daemon was writing them.
func (r *records) tornTail(c *checker, f segment.RecordFile) {
	whole := int64(0)
	if r.Last >= f.First {
		whole = int64(r.Last-f.First+1) * (segment.RecordSize + 1)
	}
	r.torn = f.Size - whole
	if r.torn <= 0 || whole == segment.RecordsPerFile*(segment.RecordSize+1) {
		return
	}
	c.later = append(c.later, func() {
		if fi, err := os.Stat(f.Path); err != nil || fi.Size() != f.Size {
			return
		}
		c.plan.Records[f.First] = true
		c.find(Finding{Kind: IndexTorn, File: f.Path, Offset: whole, First: max(r.Last+1, f.First),
			Message: fmt.Sprintf("%d bytes after the last whole record: the server cuts them off", r.torn)})
	})
}

// gone reports whether the error is that of a file that is not there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
