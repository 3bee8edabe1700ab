package plan

import (
	"fmt"
	"io/fs"

	"tcp-log-server/segment"
)

// Segment is one segment as a check found it. The check sets Last, and more of the
// File's fields where a daemon has sealed it since it was captured.
type Segment struct {
	*segment.File
	Next uint64 // the first index of the next file, 0 for the last
	// Readable says that there are batches of this store to read. HeaderOK says
	// that the header checks out too, and belongs to the file.
	Readable, HeaderOK bool
}

// NewSegment returns the segment in a file that was captured.
func NewSegment(f *segment.File) *Segment {
	// The batches before a bad sector can be read.
	return &Segment{File: f, Readable: f.Err == nil || f.Walked.End > 0, HeaderOK: f.Known()}
}

// Index is the index as a check found it. Not for concurrent use.
type Index struct {
	Files map[uint64]segment.RecordFile // by first index: those that lie in their place
	Last  uint64                        // the last record that checks out

	records *segment.Records
	file    uint64 // the file that At found last, by first index
}

// NewIndex returns an index without records.
func NewIndex() *Index {
	return &Index{Files: map[uint64]segment.RecordFile{}, records: segment.NewRecords(segment.Memory, 0)}
}

// Open makes At read the records in dir through Last.
func (x *Index) Open(dir string) { x.records = segment.NewRecords(dir, x.Last) }

// At returns the record of index. The error wraps segment.ErrNotFound where there
// is none, is a *segment.DamageError where it does not check out, and otherwise the
// file system's.
func (x *Index) At(index uint64) (segment.Record, error) {
	if first := FileOf(index); first != x.file {
		if _, ok := x.Files[first]; !ok {
			return segment.Record{}, fmt.Errorf("%w: the index has no file for %d", segment.ErrNotFound, index)
		}
		x.file = first
	}
	return x.records.At(index)
}

// Close closes the file that is open. A later At opens it again.
func (x *Index) Close() error { return x.records.Close() }

// FileOf is the first index of the file that holds the record of index.
func FileOf(index uint64) uint64 { return index - (index-1)%segment.RecordsPerFile }

// TypeName says in words what kind of file mode is of.
func TypeName(mode fs.FileMode) string {
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
