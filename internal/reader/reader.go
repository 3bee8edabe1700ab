// Package reader reads the directories of a log without opening it: it takes no
// lock and changes no byte, so it reads a stopped log, a backup, a copy on
// read-only media, or a log beside the daemon that writes it.
//
// It goes as far as there is anything to go by. A segment that is missing or
// damaged is made up for by index records and blobs, and an entry that nothing
// holds whole any more is reported in its place.
package reader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"tcp-log-server/segment"
)

// Memory in place of a directory means that the log keeps that part in memory
// alone, so that there is nothing of it to read.
const Memory = "memory"

var (
	// ErrNoLog: the directory holds no log.
	ErrNoLog = errors.New("there is no log")
	// ErrDamaged: the disk does not hold what was acknowledged.
	ErrDamaged = segment.ErrDamaged
	// ErrLost: fsck has recorded that the entry is lost for good.
	ErrLost = errors.New("lost, as recorded by fsck")
)

// Config names the directories of a log.
type Config struct {
	// Data is the directory of the log.
	Data string
	// WAL is the directory of the index, by default wal in Data.
	WAL string
	// Blobs is the directory of the blobs, by default blobs in Data.
	Blobs string
}

// Log is a log as it was when it was opened, through its head of that moment.
// It is for concurrent use.
type Log struct {
	wal, blobs string // "" where there is none
	id         segment.StoreID
	known      bool     // id is
	files      []string // the paths of all segments
	segs       []piece  // ascending
	records    uint64   // the last index record that checks out
	head       uint64
}

// piece is what one segment holds.
type piece struct {
	path        string
	header      segment.Header
	first, last uint64
	end         int64 // where its batches end
	size        int64
	sum         uint32 // what its first batch follows
	known       bool   // sum is
	sealed      bool
	err         error // why it cannot be read at all
}

// Open looks at the directories. ErrNoLog says that there is no log in
// config.Data; damage is no error here, but one of the entries concerned.
// Nothing stays open.
func Open(config Config) (*Log, error) {
	l := &Log{wal: part(config.WAL, config.Data, "wal"), blobs: part(config.Blobs, config.Data, "blobs")}
	for try := 0; ; try++ {
		err := l.capture(config.Data)
		if errors.Is(err, errGone) && try < 100 {
			continue // a daemon has removed a segment since it was listed
		}
		if err != nil {
			return nil, err
		}
		return l, nil
	}
}

func part(dir, data, name string) string {
	switch dir {
	case Memory:
		return ""
	case "":
		return filepath.Join(data, name)
	}
	return dir
}

// errGone: a segment that was listed is not there any more.
var errGone = errors.New("segment has gone")

// capture notes how far the log goes. The index comes before the segments: its
// records follow them.
func (l *Log) capture(data string) error {
	if fi, err := os.Stat(data); err != nil {
		return fmt.Errorf("%w: %w", ErrNoLog, err)
	} else if !fi.IsDir() {
		return fmt.Errorf("%w: %s is not a directory", ErrNoLog, data)
	}
	l.head, l.files, l.segs, l.known = 0, nil, nil, false
	l.records = lastRecord(l.wal)
	if l.wal != "" {
		l.id, l.known, _ = segment.FindMark(l.wal)
	}
	dir := filepath.Join(data, "segments")
	firsts, err := segment.List(dir)
	if err != nil {
		return err
	}
	if len(firsts) == 0 && l.records == 0 {
		return fmt.Errorf("%w in %s: it has neither segments nor an index", ErrNoLog, data)
	}
	for i, first := range firsts {
		path := filepath.Join(dir, segment.Name(first))
		l.files = append(l.files, path)
		p, err := l.look(path, first, i == len(firsts)-1)
		if err != nil {
			return err
		}
		if n := len(l.segs); n > 0 && l.segs[n-1].last >= p.first {
			l.segs[n-1].last = p.first - 1
		}
		l.segs = append(l.segs, p)
	}
	for i := range l.segs {
		p := &l.segs[i]
		switch {
		case i+1 == len(l.segs):
			// Records follow entries: where they go on, the segment's end is damaged.
			p.last = max(p.last, l.records)
		case p.err != nil || !p.sealed:
			p.last = l.segs[i+1].first - 1
		}
		l.head = max(l.head, p.last)
	}
	l.head = max(l.head, l.records)
	return nil
}

// lastRecord is the last index record in dir that checks out, 0 if there is none.
// The segments can do without: what is wrong with the index is no error here.
func lastRecord(dir string) (last uint64) {
	if dir == "" {
		return 0
	}
	files, _, err := segment.ListRecordFiles(dir)
	if err != nil {
		return 0
	}
	for i := len(files) - 1; i >= 0 && last == 0; i-- {
		last, _ = files[i].LastRecord()
	}
	return last
}

// look looks at the segment at path, and reads it if it is the last or was not
// sealed. The error is errGone, or that of the file.
func (l *Log) look(path string, first uint64, last bool) (piece, error) {
	p := piece{path: path, first: first, last: first - 1}
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, errGone
	}
	if err != nil || !fi.Mode().IsRegular() {
		p.err = fmt.Errorf("%w: %s is no file that can be read (%v)", ErrDamaged, path, err)
		return p, nil
	}
	s, err := segment.Stat(path)
	for try := 0; err != nil && try < 100; try++ {
		// A daemon that seals it cuts it and writes a footer meanwhile.
		now, serr := os.Stat(path)
		if serr != nil || now.Size() == fi.Size() && now.ModTime().Equal(fi.ModTime()) {
			break
		}
		fi = now
		s, err = segment.Stat(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, errGone
	case errors.Is(err, segment.ErrVersion):
		return p, err
	case err == nil:
		p.header, p.known, p.size = s.Header, true, fi.Size()
		if s.Header.First != first {
			p.err = fmt.Errorf("%w: %s begins at index %d", ErrDamaged, path, s.Header.First)
			return p, nil
		}
		if p.sum, err = headerSum(path); err != nil {
			p.known = false
		}
		if l.known && s.Header.Store != l.id {
			p.err = fmt.Errorf("%w: %s belongs to store %s, want %s", ErrDamaged, path, s.Header.Store, l.id)
			return p, nil
		}
		l.id, l.known = s.Header.Store, true
		p.last, p.end = s.Last(), s.End()
		if p.sealed = s.Sealed(); p.sealed {
			return p, nil
		}
	case !errors.Is(err, ErrDamaged):
		p.err = err
		return p, nil
	}
	// No footer, or none that checks out, or no header: what it holds is found by
	// going through it.
	if err := p.scan(last); err != nil {
		p.err = err
	}
	return p, nil
}

func headerSum(path string) (uint32, error) {
	f, err := segment.OpenRegular(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [segment.HeaderSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return 0, err
	}
	return segment.Checksum(b[:segment.HeaderSize-4]), nil
}

// scan finds where the segment ends. A daemon may be at work on the last one: a
// batch may be missing where it was not there yet when its place was read, and
// one behind it be there a moment later. So what looks like damage, or like a
// write that was cut short, is looked at again until it stays as it is.
func (p *piece) scan(live bool) error {
	f, err := segment.OpenRegular(p.path)
	if err != nil {
		return err
	}
	defer f.Close()
	for before := int64(-1); ; {
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		p.size = fi.Size()
		bad := int64(0)
		walked, err := segment.Walk(f, p.first, p.sum, p.known, p.size, func(q segment.Piece) error {
			if q.Damage != nil && bad == 0 {
				bad = q.Offset
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.last, p.end = walked.Last, walked.End
		if bad == 0 && walked.Torn > 0 {
			bad = walked.End
		}
		if bad == 0 || bad == before || !live {
			return nil
		}
		before = bad
	}
}

// Head is the index of the last entry, 0 if there is none.
func (l *Log) Head() uint64 { return l.head }

// find returns the segment that holds index, or nil and the first index behind
// it that a segment holds, 0 if there is none.
func (l *Log) find(index uint64) (p *piece, next uint64) {
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].first > index })
	if i > 0 && index <= l.segs[i-1].last {
		return &l.segs[i-1], 0
	}
	if i < len(l.segs) {
		next = l.segs[i].first
	}
	return nil, next
}
