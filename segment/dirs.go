package segment

import "path/filepath"

// Memory in place of a directory means that the log keeps that part in memory, and nothing
// of it on disk.
const Memory = "memory"

// Dirs are the directories of one store.
type Dirs struct {
	// Data is the directory of the log.
	Data string
	// WAL and Blobs are the directories of the index and of the blobs, or Memory.
	// They default to wal and blobs in Data.
	WAL, Blobs string
	// BlobStore, unless nil, has the blobs in place of the directory Blobs.
	BlobStore BlobStore
}

// Store returns the store of blobs: BlobStore, or the directory Blobs for reading, or nil if
// the log keeps none.
func (d Dirs) Store() BlobStore {
	if d.BlobStore != nil {
		return d.BlobStore
	}
	return BlobsIn(d.WithDefaults().Blobs)
}

// WithDefaults fills in the directories that are not set.
func (d Dirs) WithDefaults() Dirs {
	if d.WAL == "" {
		d.WAL = filepath.Join(d.Data, "wal")
	}
	if d.BlobStore != nil {
		d.Blobs = Memory // there is no directory
	} else if d.Blobs == "" {
		d.Blobs = filepath.Join(d.Data, "blobs")
	}
	return d
}

// Lookup returns the directory of the lookup tables, which package segment/lookup keeps.
func (d Dirs) Lookup() string { return filepath.Join(d.Data, "lookup") }

// Segments returns the directory of the segments.
func (d Dirs) Segments() string { return filepath.Join(d.Data, string(SegmentsPart)) }
