// Package archive keeps a copy of a log in a bucket: a Keeper follows the log of a running server,
// and Open reads an archive to restore, check or print it.
package archive

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// The objects of an archive, under the bucket's prefix. docs/FORMAT.md describes them.
//
//	EPOCH                                the log's EPOCH, if it has one
//	index/<first>                        a full index file, as in wal/
//	log.json                             which log this is: LogInfo
//	open/<first>-<offset>-<end>-<last>-<sum>   bytes of a segment that is not sealed yet
//	owner/<number>                       which server archives: Owner
//	segments/<first>.seg                 a sealed segment, as in segments/
//
// An object of segments/, open/ or index/ never changes. The entries of the archive are those of
// its segments, and then those of the open objects that continue them; other open objects do not
// count. So an archive is complete at every moment.
const (
	logKey       = "log.json"
	epochKey     = "EPOCH"
	indexDir     = "index/"
	openDir      = "open/"
	ownerDir     = "owner/"
	segmentsDir  = "segments/"
	layoutFormat = 1
)

// SegmentKey is the key of the sealed segment whose first index is first.
func SegmentKey(first uint64) string { return segmentsDir + segment.Name(first) }

// Segments calls fn with the first index and the size in bytes of each sealed segment of the
// archive in b. Its error is the bucket's.
func Segments(ctx context.Context, b bucket.Bucket, fn func(first uint64, size int64)) error {
	return b.List(ctx, segmentsDir, "", func(o bucket.Object) error {
		if first, ok := parseSegmentKey(o.Key); ok {
			fn(first, o.Size)
		}
		return nil
	})
}

// IndexKey is the key of the index file whose first record is that of the entry first.
func IndexKey(first uint64) string { return fmt.Sprintf("%s%020d", indexDir, first) }

// parseSegmentKey is the inverse of SegmentKey.
func parseSegmentKey(key string) (first uint64, ok bool) {
	name, ok := strings.CutPrefix(key, segmentsDir)
	if !ok {
		return 0, false
	}
	return segment.ParseName(name)
}

// parseIndexKey is the inverse of IndexKey.
func parseIndexKey(key string) (first uint64, ok bool) {
	name, ok := strings.CutPrefix(key, indexDir)
	if !ok || len(name) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(name, 10, 64)
	return first, err == nil && first%segment.RecordsPerFile == 1
}

// Increment is an object with bytes of a segment that is not sealed yet: complete batches, after
// the header in the first increment of a segment.
type Increment struct {
	First       uint64 // index of the segment's first entry
	Offset, End int64  // byte range in the segment
	Last        uint64 // index of the last entry in the range
	Sum         uint32 // checksum of the last batch in the range
}

// Key is the key of the object.
func (i Increment) Key() string {
	return fmt.Sprintf("%s%020d-%010d-%010d-%020d-%08x", openDir, i.First, i.Offset, i.End, i.Last, i.Sum)
}

// parseIncrement is the inverse of Increment.Key.
func parseIncrement(key string) (i Increment, ok bool) {
	var sum uint32
	n, err := fmt.Sscanf(key, openDir+"%d-%d-%d-%d-%x", &i.First, &i.Offset, &i.End, &i.Last, &sum)
	i.Sum = sum
	return i, n == 5 && err == nil && i.Key() == key && i.Offset >= 0 && i.Offset < i.End && i.Last >= i.First
}

// LogInfo is the content of log.json.
type LogInfo struct {
	Format int    `json:"format"`
	Store  string `json:"store"` // the ID of the log, in hex
}

// Owner is the content of an object of owner/. Every start of a server makes one; the server with
// the highest number archives.
type Owner struct {
	Instance string `json:"instance"` // of the directory, as in segment.Archived
	Run      string `json:"run"`      // random, new at each start
	Host     string `json:"host"`     // for people only
	Time     string `json:"time"`     // of the claim, RFC 3339
}

// ownerKey is the key of owner number n.
func ownerKey(n uint64) string { return fmt.Sprintf("%s%020d", ownerDir, n) }

// parseOwnerKey is the inverse of ownerKey.
func parseOwnerKey(key string) (n uint64, ok bool) {
	name, ok := strings.CutPrefix(key, ownerDir)
	if !ok || len(name) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 64)
	return n, err == nil && n > 0
}

// TempName is the file in a log's directory in which segments are built for entries that only the
// blobs have. One that is left over is stray.
const TempName = "archive.tmp"
