package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// source is the log up to a head: everything written to it before the backup began, and perhaps a
// little more.
type source struct {
	dir, wal string            // of the segments and the index; wal is "" if there is none
	blobs    segment.BlobStore // nil if there are none
	hold     *os.File
	id       segment.StoreID
	segs     []*segment.File // one unbroken chain to head
	head     uint64
	records  uint64 // the last entry with a record in the index, at most head
	epochs   segment.Epochs
}

// size is how many bytes of a segment count: all if it is sealed, otherwise those through its last
// batch.
func size(f *segment.File) int64 {
	if f.Sealed {
		return f.Size
	}
	return f.End
}

// openSource captures the log. The hold comes first, so that no listed segment is removed. Then
// comes the end of the index, and then the ends of the segments: the index follows the segments, so
// they hold every entry that it has.
func openSource(ctx context.Context, config Config) (s *source, err error) {
	s = &source{dir: filepath.Join(config.Data, "segments")}
	if config.WAL != Memory {
		s.wal = config.WAL
	}
	s.blobs = segment.Dirs{Data: config.Data, WAL: config.WAL, Blobs: config.Blobs, BlobStore: config.BlobStore}.Store()
	if s.hold, err = segment.Hold(s.dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w in %s", ErrNoLog, config.Data)
		}
		return nil, err
	}
	err = s.capture(ctx, config)
	if err == nil { // an epoch begins before its entries are stored
		s.epochs, err = segment.ReadEpochs(config.Data)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() { s.hold.Close() }

// checkMark refuses a part of the log whose mark is another log's, or is unreadable according to
// err.
func (s *source) checkMark(part string, id segment.StoreID, ok bool, err error) error {
	if err == nil && ok && id != s.id {
		err = fmt.Errorf("%s belongs to store %s, the segments to %s: is it the directory of another log?", part, id, s.id)
	}
	return err
}

func (s *source) capture(ctx context.Context, config Config) (err error) {
	store, err := segment.Capture(segment.Dirs{Data: config.Data, WAL: config.WAL, Blobs: config.Blobs})
	if err != nil {
		return err
	}
	if err := errors.Join(store.IndexErr, store.Chain()); err != nil {
		return err
	}
	s.segs, s.records = store.Files, store.Records
	if len(s.segs) == 0 {
		return fmt.Errorf("%w in %s: it has no segments", ErrNoLog, config.Data)
	}
	first, last := s.segs[0], s.segs[len(s.segs)-1]
	if err := refuseArchived(config.Data, first.First); err != nil {
		return err
	}
	s.id, s.head = first.Header.Store, last.Last
	if s.wal != "" {
		id, ok, err := segment.FindMark(s.wal)
		if err := s.checkMark(s.wal, id, ok, err); err != nil {
			return err
		}
	}
	if marker, ok := s.blobs.(segment.BlobMarker); ok {
		id, ok, err := marker.FindMark(ctx)
		if err := s.checkMark(marker.String(), id, ok, segment.Unavailable(marker, err)); err != nil {
			return err
		}
	}
	if s.records > s.head {
		return &segment.DamageError{Path: last.Path, Offset: last.End, First: s.head + 1, Last: s.records,
			Err: fmt.Errorf("%w: the index has records through %d, the segments end at %d: run `tcp-log-server fsck %s`", segment.ErrDamaged, s.records, s.head, config.Data)}
	}
	if s.records+1 < first.First {
		return &segment.DamageError{Path: s.dir, First: s.records + 1, Last: first.First - 1,
			Err: fmt.Errorf("%w: the index has records through %d, the segments begin at %d: run `tcp-log-server fsck %s`", segment.ErrDamaged, s.records, first.First, config.Data)}
	}
	return nil
}

// ErrArchived: some entries of the log are only in its archive, so a copy of its directories would
// be incomplete.
var ErrArchived = errors.New("entries are in the log's archive only")

// refuseArchived returns an error if entries before first, where the segments begin, are only in
// the log's archive.
func refuseArchived(data string, first uint64) error {
	note, err := segment.ReadArchived(data)
	if err != nil || len(note.Removed) == 0 || note.Removed[0][0] >= first {
		return err
	}
	return fmt.Errorf("%w: %d to %d were removed from %s, see ARCHIVE_KEEP_LOCAL. The archive is the backup of this log: `tcp-log-server restore %s DIR` makes a directory that has them all",
		ErrArchived, note.Removed[0][0], min(note.Through, first-1), data, note.URL)
}
