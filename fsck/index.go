package fsck

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// records is the index as a check sees it.
type records struct {
	*repair.Index
	dir        string
	before     uint64 // the last valid record, before the segments were examined
	bytes      int64
	tail       segment.RecordFile // the file with the last record, or the last one
	unreadable map[uint64]error   // files that cannot be read, by first index, with the reason

	err       error                // why the directory cannot be read
	misplaced []segment.RecordFile // files that begin with a record that no file should begin with
	strays    []string             // names of other files in the directory
}

// listIndex lists the files of the index and finds its last record.
func (c *checker) listIndex() *records {
	r := &records{Index: repair.NewIndex(), dir: c.WAL, unreadable: map[uint64]error{}}
	if c.WAL == segment.Memory || c.foreignIndex {
		return r
	}
	files, strays, err := segment.ListRecordFiles(c.WAL)
	if r.strays, r.err = strays, err; err != nil {
		return r
	}
	for _, f := range files {
		if repair.FileOf(f.First) != f.First {
			r.misplaced = append(r.misplaced, f)
			continue
		}
		r.Files[f.First] = f
		r.bytes += f.Size
		r.tail = f
	}
	for _, first := range slices.Backward(slices.Sorted(maps.Keys(r.Files))) {
		var err error
		if r.Last == 0 {
			r.Last, err = r.Files[first].LastRecord()
		} else {
			err = r.Files[first].Readable() // bad sectors are found record by record
		}
		if err != nil && !gone(err) {
			r.unreadable[first] = err
		}
	}
	if r.Last > 0 {
		r.tail = r.Files[repair.FileOf(r.Last)]
	}
	r.Open(c.WAL)
	return r
}

// report makes the findings on files of the index that cannot be read, and on those that do not
// belong there.
func (r *records) report(c *checker) {
	if r.err != nil {
		c.unreadable(c.WAL, 0, 0, r.err)
	}
	for _, f := range r.misplaced {
		c.plan.Strays = append(c.plan.Strays, f.Path)
		c.find(Finding{Kind: IndexFile, File: f.Path, First: f.First, Message: fmt.Sprintf("no file of the index begins at %d", f.First)})
	}
	for _, first := range slices.Sorted(maps.Keys(r.unreadable)) {
		path, err := r.Files[first].Path, r.unreadable[first]
		if errors.Is(err, fs.ErrPermission) {
			c.plan.Manual = append(c.plan.Manual, path) // its records still exist: nothing is made in its place
		} else {
			c.plan.Records[first] = true
		}
		last := first + segment.RecordsPerFile - 1
		if first > r.Last {
			last = 0
		}
		c.unreadable(path, first, last, err)
	}
	for _, name := range r.strays {
		path := filepath.Join(c.WAL, name)
		fi, err := os.Lstat(path)
		switch {
		case name == segment.LostFound:
		case err == nil && segment.IsMark(name):
			c.wrongType(path, fi.Mode(), "a directory")
		case err == nil && !fi.Mode().IsRegular() && len(name) == 20:
			c.wrongType(path, fi.Mode(), "a file")
		case len(name) > 20 && (name[20:] == ".START" || name[20:] == ".END"):
			c.plan.Strays = append(c.plan.Strays, path)
			c.find(Finding{Kind: IndexFile, File: path, Message: "is a file that makes the index library delete files: move it away"})
		default:
			c.stray(path)
		}
	}
}

// unreadableEnd returns a file after the last readable record that cannot be read: then the end
// of the index is not known.
func (r *records) unreadableEnd() string {
	for first := range r.unreadable {
		if first > r.Last {
			return r.Files[first].Path
		}
	}
	return ""
}

// judge makes the findings on the files of the index: each except the last must be there and
// full. Bytes after the last record are torn, or not complete yet.
func (r *records) judge(c *checker) {
	if c.WAL == segment.Memory {
		if c.first > 1 {
			c.find(Finding{Kind: IndexShort, File: c.WAL, First: 1, Last: c.first - 1, Message: "these entries have no segment, so they need the index on disk"})
		}
		return
	}
	next := uint64(1)
	const full = int64(segment.RecordFileSize)
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
	unreadable := r.unreadableEnd()
	if need := c.first - 1; r.Last < need {
		c.plan.Short = need
		message := fmt.Sprintf("the index ends at %d, and the first segment begins at %d: the records of the entries between are missing", r.Last, c.first)
		if unreadable != "" {
			message = "the records of entries that no segment holds cannot be read: " + unreadable
		}
		c.find(Finding{Kind: IndexShort, File: r.dir, First: r.Last + 1, Last: need, Message: message})
	} else if r.Last < c.head && unreadable == "" {
		c.plan.Lag = true
		c.find(Finding{Kind: IndexLag, File: r.dir, First: r.Last + 1, Last: c.head,
			Message: fmt.Sprintf("the index ends at %d, the log at %d: the server adds the records from the segments", r.Last, c.head)})
	}
	f := r.tail
	if f.Path == "" || r.unreadable[f.First] != nil {
		return
	}
	whole := int64(0)
	if r.Last >= f.First {
		whole = int64(r.Last-f.First+1) * (full / segment.RecordsPerFile)
	}
	if torn := f.Size - whole; torn > 0 && whole < full {
		c.unlessChanged(f.Path, f.Size, time.Time{}, func() {
			c.plan.Records[f.First] = true
			c.find(Finding{Kind: IndexTorn, File: f.Path, Offset: whole, First: max(r.Last+1, f.First),
				Message: fmt.Sprintf("%d bytes after the last whole record: the server cuts them off", torn)})
		})
	}
}
