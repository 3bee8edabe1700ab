package reader

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"time"

	"github.com/zeebo/blake3"

	"tcp-log-server/segment"
)

// Stat says what the directories hold according to names, sizes and the index, without the
// contents.
type Stat struct {
	Store    string // the random name of the log, in hex; "" if unknown
	Head     uint64 // index of the last entry
	First    uint64 // first index in a segment; Head+1 if there is none
	Settled  uint64 // index of the last entry with an index record
	Digest   string // fsck's digest of entries 1 to Settled, by the index alone; "" if a record is unreadable
	Segments int    // segment files
	Loose    uint64 // entries with a blob file
	Packed   uint64 // entries in segments that stay because one of their entries has no blob
	Blobs    int    // blob files; equal entries share one
	Damaged  int    // segments that are completely unreadable

	SegmentBytes, IndexBytes, BlobBytes int64     // of the files
	Last                                time.Time // when the last settled entry was committed; zero if there is none

	Marks
}

// Marks is what the files in a log's directory say about its copies.
type Marks struct {
	Epoch     uint64         // the log's current epoch
	ReplicaOf string         // the source of a replica; "" if the log is not one
	Fenced    segment.Fenced // zero if the log is not fenced
	Archive   string         // URL of the archive; "" if there is none
	Archived  uint64         // last entry whose segment was removed because the archive has it; 0 if none
}

// marks reads the marks in the directory data.
func marks(data string) (Marks, error) {
	epochs, err1 := segment.ReadEpochs(data)
	replica, err2 := segment.ReadReplica(data)
	fenced, err3 := segment.ReadFenced(data)
	archived, err4 := segment.ReadArchived(data)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Marks{}, err
	}
	return Marks{epochs.Current().Number, replica.Source, fenced, archived.URL, archived.Through}, nil
}

// Stat counts what the log holds. It reads the whole index, and the names and sizes of the blobs:
// some seconds for a log of tens of millions of entries. The error is that of the system or ctx, or
// wraps segment.ErrUnavailable.
func (l *Log) Stat(ctx context.Context) (Stat, error) {
	s := Stat{Head: l.Head(), First: l.First(), Settled: l.Records, Segments: len(l.Files)}
	var err error
	if s.Marks, err = marks(l.Dirs.Data); err != nil {
		return Stat{}, err
	}
	if l.known {
		s.Store = l.id.String()
	}
	for _, f := range l.Files {
		if fi, err := os.Stat(f.Path); err == nil {
			s.SegmentBytes += fi.Size()
		}
		if f.Err != nil {
			s.Damaged++
		}
	}
	blobs, err := l.countBlobs(ctx, &s)
	if err != nil {
		return s, err
	}
	err = l.countRecords(&s, blobs)
	return s, err
}

// countBlobs counts the blob files and returns the beginnings of their hashes. The chance that two
// blobs of one log have the same is less than one in a million.
func (l *Log) countBlobs(ctx context.Context, s *Stat) (map[uint64]struct{}, error) {
	blobs := make(map[uint64]struct{})
	store := l.Dirs.Store()
	if store == nil {
		return blobs, nil
	}
	err := store.List(ctx, "", func(b segment.BlobInfo) error {
		blobs[binary.BigEndian.Uint64(b.Hash[:8])] = struct{}{}
		s.Blobs++
		s.BlobBytes += b.Size
		return nil
	})
	if err != nil && !errors.Is(err, segment.ErrObstructed) {
		return nil, segment.Unavailable(store, err)
	}
	return blobs, nil
}

// countRecords counts the entries that have a blob, and those in segments that stay, and computes
// the digest.
func (l *Log) countRecords(s *Stat, blobs map[uint64]struct{}) error {
	if l.Dirs.WAL == Memory {
		s.Packed = s.Head + 1 - s.First
		return nil
	}
	files, _, err := segment.ListRecordFiles(l.Dirs.WAL)
	if err != nil {
		return err
	}
	for _, f := range files {
		s.IndexBytes += f.Size
	}
	records := segment.NewRecords(l.Dirs.WAL, l.Records)
	defer records.Close()
	digest := blake3.New()
	packed := l.Head() + 1 // the first entry in a segment that has no blob
	for index := uint64(1); index <= l.Records; index++ {
		rec, err := records.At(index)
		if err != nil {
			digest = nil
			continue // fsck reports the damage
		}
		hash := rec.Hash
		if rec.Lost() {
			hash = segment.Hash{}
		}
		if digest != nil {
			digest.Write(hash[:])
		}
		switch _, ok := blobs[binary.BigEndian.Uint64(rec.Hash[:8])]; {
		case rec.Lost():
		case ok:
			s.Loose++
		case index >= s.First:
			packed = min(packed, index)
		}
		s.Last = time.UnixMicro(rec.Time)
	}
	if digest != nil && l.Records > 0 {
		s.Digest = hex.EncodeToString(digest.Sum(nil))
	}
	for _, f := range l.Files { // earlier segments go once they are settled
		if f.First <= packed && packed <= f.Last {
			s.Packed = l.Head() + 1 - f.First
		}
	}
	return nil
}
