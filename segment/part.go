package segment

import (
	"os"
	"path/filepath"
)

// Part is a kind of directory that makes up a log.
type Part string

// The directories of a log.
const (
	SegmentsPart Part = "segments"
	IndexPart    Part = "the index"
	BlobsPart    Part = "the blobs"
	WholeLog     Part = "a whole log"
)

// FindPart checks whether dir holds something that belongs into a directory of a log other than the want part,
// and returns what it has found and its path below dir: a segment, a file of records, a blob, or the directory
// of the segments. ok is false if there is no such thing, or no such directory. Errors are the file system's.
func FindPart(dir string, want Part) (part Part, name string, ok bool, err error) {
	d, err := os.ReadDir(dir)
	if err != nil {
		if os.IsNotExist(err) {
			err = nil
		}
		return "", "", false, err
	}
	for _, e := range d {
		name := e.Name()
		_, isSegment := ParseName(name)
		_, isRecords := parseRecordFile(name)
		switch {
		case name == string(SegmentsPart) && e.IsDir():
			return WholeLog, name, true, nil
		case want != SegmentsPart && isSegment && e.Type().IsRegular():
			return SegmentsPart, name, true, nil
		case want != IndexPart && isRecords && e.Type().IsRegular():
			return IndexPart, name, true, nil
		case want != BlobsPart && len(name) == 2 && e.IsDir():
			if blob, ok := anyBlob(dir, name); ok {
				return BlobsPart, blob, true, nil
			}
		}
	}
	return "", "", false, nil
}

// anyBlob finds a blob in shard, a subdirectory of a directory of blobs.
func anyBlob(dir, shard string) (path string, ok bool) {
	d, err := OpenDir(filepath.Join(dir, shard))
	if err != nil {
		return "", false
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(64)
		for _, name := range names {
			if _, ok := ParseBlobPath(shard, name); ok {
				return filepath.Join(shard, name), true
			}
		}
		if err != nil || len(names) == 0 {
			return "", false
		}
	}
}
