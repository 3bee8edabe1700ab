package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// source is the log as of a head: what had been written to it when the backup
// began, and perhaps a little more.
type source struct {
	dir, wal, blobs string // of the segments, the index, the blobs; "" where there is none
	hold            *os.File
	id              segment.StoreID
	segs            []piece // one unbroken chain to head
	head            uint64
	records         uint64 // the index has a record of each entry through this one, all through head or fewer
}

// piece is one segment: of the source as of its head, or of the destination.
type piece struct {
	path        string
	header      segment.Header
	first, last uint64
	end         int64  // where its batches end
	size        int64  // how many bytes of the file count: through end, or all if it is sealed
	sum         uint32 // what the next segment follows
	own         uint32 // the checksum of the last batch as it is
	sealed      bool
}

func (p piece) name() string { return segment.Name(p.first) }

func (p piece) empty() bool { return p.last < p.first }

// openSource captures the log. The hold comes first, so that no segment goes
// that is listed; then the end of the index, then the ends of the segments: the
// segments hold what the index speaks of, since it follows them.
func openSource(config Config) (s *source, err error) {
	s = &source{dir: filepath.Join(config.Data, "segments")}
	if config.WAL != Memory {
		s.wal = config.WAL
	}
	if config.Blobs != Memory {
		s.blobs = config.Blobs
	}
	if s.hold, err = segment.Hold(s.dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no log in %s: %w", config.Data, err)
		}
		return nil, err
	}
	if err := s.capture(config); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() { s.hold.Close() }

func (s *source) capture(config Config) (err error) {
	if s.wal != "" {
		if s.records, err = segment.LastRecord(s.wal); err != nil {
			return err
		}
	}
	if s.segs, err = loadPieces(s.dir); err != nil {
		return err
	}
	if len(s.segs) == 0 {
		return fmt.Errorf("there is no log in %s: it has no segments", config.Data)
	}
	first, last := s.segs[0], s.segs[len(s.segs)-1]
	s.id, s.head = first.header.Store, last.last
	for _, dir := range []string{s.wal, s.blobs} {
		if dir == "" {
			continue
		}
		if id, ok, err := segment.FindMark(dir); err != nil {
			return err
		} else if ok && id != s.id {
			return fmt.Errorf("%s belongs to store %s, the segments to %s: is it the directory of another log?", dir, id, s.id)
		}
	}
	if s.records > s.head {
		return &segment.DamageError{Path: last.path, Offset: last.end, First: s.head + 1, Last: s.records,
			Err: fmt.Errorf("%w: the index has records through %d, the segments end at %d: run `tcp-log-server fsck %s`", segment.ErrDamaged, s.records, s.head, config.Data)}
	}
	if s.records+1 < first.first {
		return &segment.DamageError{Path: s.dir, First: s.records + 1, Last: first.first - 1,
			Err: fmt.Errorf("%w: the index has records through %d, the segments begin at %d: run `tcp-log-server fsck %s`", segment.ErrDamaged, s.records, first.first, config.Data)}
	}
	return nil
}

// loadPieces looks at the segments in dir and checks that they are one unbroken
// chain. It reads those that are not sealed, and of the others the ends.
func loadPieces(dir string) ([]piece, error) {
	firsts, err := segment.List(dir)
	if err != nil {
		return nil, err
	}
	pieces := make([]piece, 0, len(firsts))
	for _, first := range firsts {
		p, err := loadPiece(filepath.Join(dir, segment.Name(first)))
		if err != nil {
			return nil, err
		}
		if n := len(pieces); n > 0 {
			before := pieces[n-1]
			if p.header.Store != before.header.Store || p.first != before.last+1 || p.header.Prev != before.sum {
				return nil, &segment.DamageError{Path: p.path, First: p.first,
					Err: fmt.Errorf("%w: segment does not continue %s, which ends at index %d", segment.ErrDamaged, before.name(), before.last)}
			}
		}
		pieces = append(pieces, p)
	}
	return pieces, nil
}

func loadPiece(path string) (piece, error) {
	seg, err := segment.Stat(path)
	if err != nil {
		return piece{}, err
	}
	p := piece{path: path, header: seg.Header, first: seg.Header.First, last: seg.Last(), end: seg.End(), sum: seg.Sum(), own: seg.Sum(), sealed: seg.Sealed()}
	if !p.sealed {
		scan, err := scanLive(path)
		if err != nil {
			return p, err
		}
		p.last, p.end, p.size, p.sum, p.own = scan.Last, scan.End, scan.End, scan.Sum, scan.Sum
		return p, nil
	}
	f, err := segment.OpenRegular(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return p, err
	}
	p.size = fi.Size()
	var b [segment.FooterSize]byte
	if _, err := f.ReadAt(b[:], p.size-segment.FooterSize); err != nil {
		return p, err
	}
	footer, _, err := segment.ParseFooter(b[:], p.size)
	p.own = footer.Chain()
	return p, err
}

// scanLive scans a segment to which batches may be added while it is read. A
// batch may then be missing where it was not there yet when its place was read,
// and others behind it that were there a moment later: what looks like damage.
// But a batch is whole before the next one is begun, so a second look finds it,
// and only if that does not get any further is it damage.
func scanLive(path string) (segment.Scan, error) {
	for before := int64(-1); ; {
		scan, err := scanOnce(path)
		if !errors.Is(err, segment.ErrDamaged) || scan.End == before {
			return scan, err
		}
		before = scan.End
	}
}

func scanOnce(path string) (segment.Scan, error) {
	f, err := segment.OpenRegular(path)
	if err != nil {
		return segment.Scan{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return segment.Scan{}, err
	}
	return segment.ScanBatches(f, path, fi.Size(), nil)
}
