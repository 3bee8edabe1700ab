package reader

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tcp-log-server/segment"
)

// Stat says what the directories hold, by names, sizes and the index: contents
// are not read.
type Stat struct {
	Store    string // the random name of the log, in hex; "" if nothing says
	Head     uint64 // index of the last entry
	First    uint64 // first index that is in a segment; Head+1 if none is
	Settled  uint64 // index of the last entry with an index record
	Segments int    // segment files
	Loose    uint64 // entries that have a blob file
	Packed   uint64 // entries that have none, and so live in segments
	Blobs    int    // blob files; entries that are the same share one
	Damaged  int    // segments that cannot be read at all

	SegmentBytes, IndexBytes, BlobBytes int64     // of the files
	Last                                time.Time // when the last settled entry was committed; zero if none is
}

// Stat counts what the log holds. It reads the index through, and the names and
// sizes of the blobs: some seconds for a log of tens of millions of entries.
// Errors are those of the system.
func (l *Log) Stat() (Stat, error) {
	s := Stat{Head: l.head, First: l.head + 1, Settled: l.records, Segments: len(l.files)}
	if l.known {
		s.Store = l.id.String()
	}
	for _, path := range l.files {
		if fi, err := os.Stat(path); err == nil {
			s.SegmentBytes += fi.Size()
		}
	}
	if len(l.segs) > 0 {
		s.First = l.segs[0].first
	}
	for _, p := range l.segs {
		if p.err != nil {
			s.Damaged++
		}
	}
	blobs, err := l.countBlobs(&s)
	if err != nil {
		return s, err
	}
	err = l.countRecords(&s, blobs)
	return s, err
}

// countBlobs counts the blob files and returns the beginnings of their hashes.
// Those of two blobs of one log are the same by less than one chance in a million.
func (l *Log) countBlobs(s *Stat) (map[uint64]struct{}, error) {
	blobs := make(map[uint64]struct{})
	if l.blobs == "" {
		return blobs, nil
	}
	shards, err := os.ReadDir(l.blobs)
	if errors.Is(err, fs.ErrNotExist) {
		return blobs, nil
	}
	if err != nil {
		return nil, err
	}
	for _, shard := range shards {
		if len(shard.Name()) != 2 || !shard.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(l.blobs, shard.Name()))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			hash, ok := segment.ParseBlobPath(shard.Name(), f.Name())
			if !ok {
				continue
			}
			blobs[binary.BigEndian.Uint64(hash[:8])] = struct{}{}
			s.Blobs++
			if fi, err := f.Info(); err == nil {
				s.BlobBytes += fi.Size()
			}
		}
	}
	return blobs, nil
}

// countRecords tells the entries that have a blob from those that have not.
func (l *Log) countRecords(s *Stat, blobs map[uint64]struct{}) error {
	if l.wal != "" {
		files, _, err := segment.ListRecordFiles(l.wal)
		if err != nil {
			return err
		}
		for _, f := range files {
			s.IndexBytes += f.Size
		}
	}
	records := segment.NewRecordReader(l.wal)
	defer records.Close()
	recs := make([]segment.Record, segment.RecordsPerFile)
	for next := uint64(1); next <= l.records; {
		n, err := records.Read(next, recs[:min(uint64(len(recs)), l.records-next+1)])
		for _, rec := range recs[:n] {
			if _, ok := blobs[binary.BigEndian.Uint64(rec.Hash[:8])]; ok && !rec.Lost() {
				s.Loose++
			}
			s.Last = time.UnixMicro(rec.Time)
		}
		next += uint64(n)
		if err != nil {
			next++ // one record that does not check out, which is fsck's to say
		}
	}
	s.Packed = l.head - s.Loose
	return nil
}
