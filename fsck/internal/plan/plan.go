// Package plan holds what a check of a log hands to a repair: the extent of the
// log, its segments and its index as they were found, and the work to do.
package plan

import (
	"slices"
	"sync"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// Plan is what a check found that a repair can act on. It is bounded by the number
// of files, and of blobs by BlobsMax: a repair that has more to do checks again.
// While the check runs its methods may be called from any goroutine.
type Plan struct {
	mu sync.Mutex

	// Store is the id of the store, if anything tells it.
	Store      segment.StoreID
	StoreKnown bool
	Segments   []*Segment // ascending
	// First is the first index that segments hold, and Head the last entry.
	First, Head uint64
	Index       *Index
	BlobFiles   int64 // how many blobs there are
	// Archive is where entries are, and only there, whose records are damaged; "" if there are
	// none. They cannot be mended here.
	Archive string

	Strays     []string
	Residues   []string         // empty segments that overlap those before them
	Wrong      []string         // directories, links and the like in place of files
	Links      []string         // links that lead nowhere in place of the directories: without a copy, their targets must come back
	Manual     []string         // only a person can judge these
	Foreign    bool             // a directory is another store's
	Tails      map[string]int64 // by path: where to cut a torn segment
	Damaged    map[uint64]bool  // by first index: segments to write again
	Reseal     map[uint64]bool  // by first index: segments that only need their table and footer
	NoSegments bool
	Gaps       map[uint64]uint64 // first index to last: entries that no segment holds
	Records    map[uint64]bool   // by first index: files of the index to write again
	Short      uint64            // the last index whose record must be there and is not, at the end
	Lag        bool              // the index ends before the log does
	Ahead      uint64            // the last record, where the index is ahead of the segments
	Lost       map[uint64]uint64 // by first index of a segment: how many of its entries are recorded as lost
	LostFiles  map[uint64]bool   // by first index: files of the index with records of loose entries that are lost
	Orphans    []string
	Tables     []lookup.File // lookup tables that are wrong, and those after them: to be made again
	Blobs      []Blob
}

// BlobsMax is how many blobs, and how many orphans, a plan holds.
const BlobsMax = 1 << 16

// Blob is a blob to restore.
type Blob struct {
	Hash   segment.Hash
	Index  uint64       // of an entry that it is the blob of
	Exists bool         // there is a file, with other bytes
	Needed bool         // an entry can be read from nowhere else
	Got    segment.Hash // the hash of the file, if there is one
}

// New returns a plan in which there is nothing to do.
func New() *Plan {
	return &Plan{
		Tails: map[string]int64{}, Damaged: map[uint64]bool{}, Gaps: map[uint64]uint64{},
		Reseal: map[uint64]bool{}, Records: map[uint64]bool{}, Lost: map[uint64]uint64{}, LostFiles: map[uint64]bool{},
	}
}

// Update calls fn, which may change the plan, while nobody else does.
func (p *Plan) Update(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

// IsWrong reports whether something else lies in place of the file or directory at path.
func (p *Plan) IsWrong(path string) bool {
	return slices.Contains(p.Wrong, path) || slices.Contains(p.Links, path)
}

// Rebuild plans to write the segment that begins at first again.
func (p *Plan) Rebuild(first uint64) { p.Update(func() { p.Damaged[first] = true }) }

// Reindex plans to write the file of the index that begins at first again.
func (p *Plan) Reindex(first uint64) { p.Update(func() { p.Records[first] = true }) }

// ReindexRange does so for every file with a record of first to last.
func (p *Plan) ReindexRange(first, last uint64) {
	for first = FileOf(first); first <= last; first += segment.RecordsPerFile {
		p.Reindex(first)
	}
}

// AddOrphan plans to move a blob that no entry has.
func (p *Plan) AddOrphan(path string) {
	p.Update(func() {
		if len(p.Orphans) < BlobsMax {
			p.Orphans = append(p.Orphans, path)
		}
	})
}

// AddBlob plans to restore a blob.
func (p *Plan) AddBlob(b Blob) {
	p.Update(func() {
		if len(p.Blobs) < BlobsMax {
			p.Blobs = append(p.Blobs, b)
		}
	})
}
