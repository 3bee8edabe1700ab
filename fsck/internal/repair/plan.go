package repair

import (
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// Plan is the part of a check's result that a repair can act on: the extent of the log, its segments
// and its index as they were found, and the work to do. Its size is bounded by the number of files,
// and for blobs by blobsMax: a repair that has more to do checks again.
type Plan struct {
	// Store is the id of the store, if anything tells it.
	Store      segment.StoreID
	StoreKnown bool
	Segments   []*Segment // ascending
	// First is the first index that segments hold, and Head the last entry.
	First, Head uint64
	Index       *Index
	BlobFiles   int64 // how many blobs there are
	// Archive is where entries are that exist only there and whose records are damaged; "" if there
	// are none. They cannot be repaired here.
	Archive string

	Strays     []string
	Residues   []string         // empty segments that overlap those before them
	Wrong      []string         // directories, links and the like in place of files
	Links      []string         // broken links in place of the directories: without a copy, their targets must come back
	Manual     []string         // only a person can judge these
	Foreign    bool             // a directory is another store's
	Tails      map[string]int64 // by path: where to cut a torn segment
	NoSegments bool
	Gaps       map[uint64]uint64 // first index to last: entries that no segment holds
	Records    map[uint64]bool   // by first index: files of the index to rewrite
	Short      uint64            // the last missing record at the end of the index that must exist
	Lag        bool              // the index ends before the log does
	Ahead      uint64            // the last record, if the index is ahead of the segments
	Lost       map[uint64]uint64 // by first index of a segment: how many of its entries are recorded as lost
	LostFiles  map[uint64]bool   // by first index: files of the index with records of lost loose entries
	Orphans    []string
	Tables     []lookup.File // lookup tables that are wrong, and those after them: to be rebuilt
	Blobs      []Blob

	mu      sync.Mutex      // for damaged, which the readers of segments and of batches update
	damaged map[uint64]bool // by first index: segments to rewrite
}

// blobsMax is the most blobs, and the most orphans, in a plan.
const blobsMax = 1 << 16

// Blob is a blob to restore.
type Blob struct {
	Hash   segment.Hash
	Index  uint64       // of an entry with that blob
	Exists bool         // there is a file, with other bytes
	Needed bool         // an entry can be read from nowhere else
	Got    segment.Hash // the hash of the file, if there is one
}

// NewPlan returns a plan in which there is nothing to do.
func NewPlan() *Plan {
	return &Plan{
		Tails: map[string]int64{}, damaged: map[uint64]bool{}, Gaps: map[uint64]uint64{},
		Records: map[uint64]bool{}, Lost: map[uint64]uint64{}, LostFiles: map[uint64]bool{},
	}
}

// IsWrong reports whether something else is in place of the file or directory at path.
func (p *Plan) IsWrong(path string) bool {
	return slices.Contains(p.Wrong, path) || slices.Contains(p.Links, path)
}

// Rebuild plans to rewrite the segment that begins at first. It may be called from any goroutine.
func (p *Plan) Rebuild(first uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.damaged[first] = true
}

// AddOrphan plans to move away a blob that belongs to no entry.
func (p *Plan) AddOrphan(path string) {
	if len(p.Orphans) < blobsMax {
		p.Orphans = append(p.Orphans, path)
	}
}

// AddBlob plans to restore a blob.
func (p *Plan) AddBlob(b Blob) {
	if len(p.Blobs) < blobsMax {
		p.Blobs = append(p.Blobs, b)
	}
}

// Segment is one segment as a check found it. The check sets Last, and more of the File's fields if
// the server has sealed it since it was captured.
type Segment struct {
	*segment.File
	Next uint64 // the first index of the next file, 0 for the last
	// Readable says that there are batches of this store to read. HeaderOK says that the header is
	// valid too, and belongs to the file.
	Readable, HeaderOK bool
}

// NewSegment returns the segment in a file that was captured.
func NewSegment(f *segment.File) *Segment {
	// The batches before a bad sector can be read.
	return &Segment{File: f, Readable: f.Err == nil || f.Walked.End > 0, HeaderOK: f.Known()}
}

// ShouldEnd returns the last index that the segment should hold in a log that ends at head.
func (s *Segment) ShouldEnd(head uint64) uint64 {
	switch {
	case s.Sealed && s.HeaderOK:
		return s.Footer.Last
	case s.Next > 0:
		return s.Next - 1
	}
	return head
}

// Index is the index as a check found it. Not for concurrent use.
type Index struct {
	Files map[uint64]segment.RecordFile // by first index: those in the right place
	Last  uint64                        // the last valid record

	records *segment.Records
	file    uint64 // the file that At found last, by first index
}

// NewIndex returns an index without records.
func NewIndex() *Index {
	return &Index{Files: map[uint64]segment.RecordFile{}, records: segment.NewRecords(segment.Memory, 0)}
}

// Open makes At read the records in dir through Last.
func (x *Index) Open(dir string) { x.records = segment.NewRecords(dir, x.Last) }

// At returns the record of index. The error wraps segment.ErrNotFound if there is none, is a
// *segment.DamageError if it is invalid, and is otherwise the file system's.
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

// FileOf returns the first index of the file that holds the record of index.
func FileOf(index uint64) uint64 { return index - (index-1)%segment.RecordsPerFile }

// TypeName describes the kind of file in mode.
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
