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

// Stat says what the directories hold, by names, sizes and the index: contents
// are not read.
type Stat struct {
	Store    string // the random name of the log, in hex; "" if nothing says
	Head     uint64 // index of the last entry
	First    uint64 // first index that is in a segment; Head+1 if none is
	Settled  uint64 // index of the last entry with an index record
	Digest   string // fsck's, of entries 1 to Settled by the index alone; "" if a record of them cannot be read
	Segments int    // segment files
	Loose    uint64 // entries that have a blob file
	Packed   uint64 // entries in segments that stay, because an entry of theirs has no blob
	Blobs    int    // blob files; entries that are the same share one
	Damaged  int    // segments that cannot be read at all

	SegmentBytes, IndexBytes, BlobBytes int64     // of the files
	Last                                time.Time // when the last settled entry was committed; zero if none is

	Marks
}

// Marks is what the files in the log's directory say of its copies.
type Marks struct {
	Epoch     uint64         // the one that the log is in
	ReplicaOf string         // the source of a replica; "" if it is none
	Fenced    segment.Fenced // zero if it is not
	Archive   string         // URL of its archive; "" if it has none
	Archived  uint64         // the last entry whose segment was removed because that has it; 0 if none was
}

// marks reads what the files in the directory data say.
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

// Stat counts what the log holds. It reads the index through, and the names and
// sizes of the blobs: some seconds for a log of tens of millions of entries.
// Errors are those of the system, ctx's, or wrap segment.ErrUnavailable.
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

// countBlobs counts the blob files and returns the beginnings of their hashes.
// Those of two blobs of one log are the same by less than one chance in a million.
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

// countRecords counts the entries that have a blob, and those in segments that stay, and takes
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
	packed := l.Head() + 1 // the first entry of a segment that has no blob
	for index := uint64(1); index <= l.Records; index++ {
		rec, err := records.At(index)
		if err != nil {
			digest = nil
			continue // fsck says what is wrong with it
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
	for _, f := range l.Files { // those before it go when they are settled
		if f.First <= packed && packed <= f.Last {
			s.Packed = l.Head() + 1 - f.First
		}
	}
	return nil
}
