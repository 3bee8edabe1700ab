package fsck

import (
	"sync"

	"tcp-log-server/segment"
)

// plan is what a check leaves for a repair: which files are concerned. It is
// bounded by the number of files, and of blobs by blobsMax: a repair that has
// more to do checks again.
type plan struct {
	mu      sync.Mutex
	checker *checker // that made it, for what it knows of the segments

	strays     []string
	residues   []string          // empty segments that overlap those before them
	wrong      []string          // directories, links and the like in place of files
	links      []string          // links that lead nowhere in place of the directories: without a copy, what they led to must come back
	hands      []string          // what only a person can judge
	foreign    bool              // a directory is another store's
	tails      map[string]int64  // by path: where a torn segment is to be cut
	segments   map[uint64]bool   // by first index: to be written anew
	gaps       map[uint64]uint64 // first index to last: entries that no segment holds
	reseal     map[uint64]bool   // segments that only need their table and footer
	records    map[uint64]bool   // files of the index to be written anew, by first index
	short      uint64            // the last index whose record must be there and is not, at the end
	lag        bool
	indexTorn  bool
	noSegments bool
	ahead      uint64            // the last record, where the index is ahead of the segments
	lost       map[uint64]uint64 // by first index of a segment: how many of its entries are recorded as lost
	lostFiles  map[uint64]bool   // files of the index with loose entries that are
	orphans    []string
	blobs      []blobFault
}

// blobsMax is how many blobs a plan holds.
const blobsMax = 1 << 16

// blobFault is a blob that is to be restored.
type blobFault struct {
	hash    segment.Hash
	index   uint64       // of an entry that it is the blob of
	there   bool         // a file is there, with other bytes
	missing bool         // an entry can be read from nowhere else
	got     segment.Hash // what the file hashes to, if it is there
}

func newPlan() *plan {
	return &plan{
		tails: map[string]int64{}, segments: map[uint64]bool{}, gaps: map[uint64]uint64{},
		reseal: map[uint64]bool{}, records: map[uint64]bool{}, lost: map[uint64]uint64{}, lostFiles: map[uint64]bool{},
	}
}

func (p *plan) stray(path string)     { p.locked(func() { p.strays = append(p.strays, path) }) }
func (p *plan) wrongType(path string) { p.locked(func() { p.wrong = append(p.wrong, path) }) }
func (p *plan) segment(first uint64)  { p.locked(func() { p.segments[first] = true }) }
func (p *plan) torn(path string, end int64) {
	p.locked(func() { p.tails[path] = end })
}
func (p *plan) gap(first, last uint64) { p.locked(func() { p.gaps[first] = last }) }
func (p *plan) orphan(path string) {
	p.locked(func() {
		if len(p.orphans) < blobsMax {
			p.orphans = append(p.orphans, path)
		}
	})
}

func (p *plan) blob(f blobFault) {
	p.locked(func() {
		if len(p.blobs) < blobsMax {
			p.blobs = append(p.blobs, f)
		}
	})
}

// record plans to write the file of the index anew that begins at first.
func (p *plan) record(first uint64) { p.locked(func() { p.records[first] = true }) }

// recordRange does so for every file with a record from first to last.
func (p *plan) recordRange(first, last uint64) {
	for first -= (first - 1) % segment.RecordsPerFile; first <= last; first += segment.RecordsPerFile {
		p.record(first)
	}
}

func (p *plan) locked(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}
