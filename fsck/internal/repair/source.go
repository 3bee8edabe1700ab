package repair

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"tcp-log-server/segment"
)

// found is an entry that has been found for a place in the log.
type found struct {
	text  []byte
	time  int64
	batch uint64 // the first index of the batch that it was in, 0 if not known
	lost  bool   // there is no text: it is recorded as lost
}

// source is a copy of the log, or the log itself, from which entries are taken. It is not trusted: batches
// are verified as they are read, blobs are verified by their hashes, and so are entries in the remains of
// batches.
type source struct {
	dir     string
	segs    []*sourceSegment // ascending
	records *segment.Records
	blobs   segment.BlobStore
	// first is the first index that its intact batches hold, one after its head if it has none; end is the
	// last one, or 0; head is its last entry.
	first, end, head uint64

	of   *sourceSegment // the segment that was read last
	file *os.File       // its file
	at   *stretch       // in that segment
	body []byte         // of at, if that is an intact batch
	next uint64         // the entry that rest begins with
	rest []byte         // of body
	left *segment.Salvager
}

// sourceSegment is one segment of a source: its batches, and the bytes in place of others.
type sourceSegment struct {
	path        string
	header      segment.Header
	known       bool // the header is valid
	stretches   []stretch
	first, last uint64 // of the intact batches with entries; both are 0 if there are none
}

// stretch is an intact batch, possibly of lost entries, or bytes that may contain entries.
type stretch struct {
	first, last uint64
	offset, end int64
	time        int64
	whole, lost bool
}

// readSourceSegment lists the stretches of a segment that may hold entries. It returns nil if there are
// none. Bytes after the last batch are the last stretch: how many entries an open segment has there is not
// known.
func readSourceSegment(file *segment.File) *sourceSegment {
	s := NewSegment(file)
	f, err := segment.OpenRegular(file.Path)
	if err != nil || !s.Readable {
		return nil
	}
	defer f.Close()
	h := &sourceSegment{path: file.Path, header: s.Header, known: s.HeaderOK}
	// An unreadable place ends the list: that is not an error here.
	w, _ := segment.Walk(f, file.First, s.HeaderSum, s.HeaderOK, s.BatchesEnd(), func(p segment.Piece) error {
		whole := p.Damage == nil
		if p.Last < p.First {
			return nil
		}
		if whole && !p.Lost {
			if h.last == 0 {
				h.first = p.First
			}
			h.last = p.Last
		}
		h.stretches = append(h.stretches, stretch{p.First, p.Last, p.Offset, p.End, p.Time, whole, p.Lost})
		return nil
	})
	last := uint64(math.MaxUint64)
	if s.Sealed {
		last = s.Footer.Last
	}
	if w.Torn > 0 && last > w.Last {
		h.stretches = append(h.stretches, stretch{first: w.Last + 1, last: last, offset: w.End, end: w.End + w.Torn})
	}
	if len(h.stretches) == 0 {
		return nil
	}
	return h
}

// openSource opens the copy of the store id in dir. Damaged parts of it are not used. An error says that it
// is not a copy of this store.
func openSource(dir string, id segment.StoreID) (*source, error) {
	o := &source{dir: dir, records: segment.NewRecords(filepath.Join(dir, "wal"), math.MaxUint64), blobs: segment.BlobsIn(filepath.Join(dir, "blobs"))}
	proof := false
	for _, part := range []string{"wal", "blobs"} {
		if fi, err := os.Stat(filepath.Join(dir, part)); err == nil && !fi.IsDir() {
			continue // damaged
		}
		mark, ok, err := segment.FindMark(filepath.Join(dir, part))
		if err != nil {
			return nil, err
		}
		if ok && mark != id {
			return nil, fmt.Errorf("%s belongs to store %s, want %s: it is a copy of another log", filepath.Join(dir, part), mark, id)
		}
		proof = proof || ok
	}
	store, _ := segment.Capture(segment.Dirs{Data: dir}) // a directory that cannot be listed is not used
	for _, f := range store.Files {
		h := readSourceSegment(f)
		if h == nil {
			continue
		}
		if h.known && h.header.Store != id {
			return nil, fmt.Errorf("%s belongs to store %s, want %s: it is a copy of another log", h.path, h.header.Store, id)
		}
		proof = proof || h.known
		if n := len(o.segs); n > 0 {
			before := &o.segs[n-1].stretches
			last := &(*before)[len(*before)-1]
			last.last = min(last.last, f.First-1)
		}
		if h.last > 0 && o.end == 0 {
			o.first = h.first
		}
		o.end = max(o.end, h.last)
		o.segs = append(o.segs, h)
	}
	if !proof {
		return nil, fmt.Errorf("%s %w that can be identified as a copy of store %s", dir, ErrNoLog, id)
	}
	if o.end == 0 {
		o.head = o.indexed()
		o.first = o.head + 1
	} else {
		o.head = max(o.end, o.reached())
	}
	return o, nil
}

// indexed returns the last entry that has a record.
func (o *source) indexed() uint64 { return segment.FindLastRecord(filepath.Join(o.dir, "wal")) }

// entry returns the entry at index, from a segment or by a record and a blob.
func (o *source) entry(index uint64) (found, bool) {
	if f, ok := o.fromSegment(index); ok {
		return f, true
	}
	rec, ok := o.record(index)
	if !ok || rec.Lost() {
		return found{}, false
	}
	text, ok := o.salvage(index, rec)
	if !ok {
		text, ok = wholeBlob(context.Background(), o.blobs, rec.Hash)
	}
	return found{text: text, time: rec.Time}, ok && len(text) == int(rec.Size)
}

// reached returns the last entry that the index of the copy proves in the bytes after its last batch, 0 if
// there is none.
func (o *source) reached() uint64 {
	for _, h := range slices.Backward(o.segs) {
		for _, t := range slices.Backward(h.stretches) {
			switch {
			case t.lost:
			case t.whole || !o.read(t.first):
				return 0
			default:
				if last := o.left.Reach(t.first, min(t.last, o.indexed()), o.record); last >= t.first {
					return last
				}
				return 0
			}
		}
	}
	return 0
}

// salvage returns the entry at index, whose record is rec, from the remains of a batch.
func (o *source) salvage(index uint64, rec segment.Record) ([]byte, bool) {
	if !o.read(index) || o.at.whole {
		return nil, false
	}
	return o.left.Find(rec)
}

// record returns the record of index.
func (o *source) record(index uint64) (segment.Record, bool) {
	rec, err := o.records.At(index)
	return rec, err == nil
}

// known returns the record of index: made from the entry if there is one, else that of the index.
func (o *source) known(index uint64) (segment.Record, bool) {
	if e, ok := o.fromSegment(index); ok {
		return recordOf(e), true
	}
	return o.record(index)
}

// recordOf returns the record of an entry.
func recordOf(e found) segment.Record {
	return segment.Record{Hash: segment.Sum(e.text), Time: e.time, Size: uint32(len(e.text))}
}

// wholeBlob reads the blob of hash, if it exists and is intact.
func wholeBlob(ctx context.Context, store segment.BlobStore, hash segment.Hash) ([]byte, bool) {
	if store == nil {
		return nil, false
	}
	entry, err := store.Get(ctx, hash, segment.MaxBody+1)
	return entry, err == nil && segment.Sum(entry) == hash
}

// segmentOf returns the segment between whose first and last intact batch index is, or nil.
func (o *source) segmentOf(index uint64) *sourceSegment {
	if h := o.segmentAt(index); h != nil && h.first <= index && index <= h.last {
		return h
	}
	return nil
}

// segmentAt returns the last segment that begins at index or before, or nil.
func (o *source) segmentAt(index uint64) *sourceSegment {
	i := sort.Search(len(o.segs), func(i int) bool { return o.segs[i].stretches[0].first > index }) - 1
	if i < 0 {
		return nil
	}
	return o.segs[i]
}

// fromSegment returns the entry at index, from an intact batch, which says if it is lost. Its text is valid
// until the next call.
func (o *source) fromSegment(index uint64) (found, bool) {
	if !o.read(index) || !o.at.whole {
		return found{}, false
	}
	if o.at.lost {
		return found{time: o.at.time, lost: true}, false
	}
	if index < o.next {
		o.next, o.rest = o.at.first, o.body
	}
	for len(o.rest) > 0 {
		line, rest, _ := bytes.Cut(o.rest, []byte{'\n'})
		if o.next == index {
			return found{text: line, time: o.at.time, batch: o.at.first}, true
		}
		o.next, o.rest = o.next+1, rest
	}
	return found{}, false
}

// read goes to the stretch that holds index, or may hold it, and reads it if it is an intact batch.
func (o *source) read(index uint64) bool {
	if t := o.at; t != nil && t.first <= index && index <= t.last {
		return true
	}
	h := o.segmentAt(index)
	if h == nil {
		return false
	}
	i := sort.Search(len(h.stretches), func(i int) bool { return h.stretches[i].last >= index })
	if i == len(h.stretches) || h.stretches[i].first > index {
		return false
	}
	if h != o.of {
		o.closeFile()
		f, err := segment.OpenRegular(h.path)
		if err != nil {
			return false
		}
		o.of, o.file = h, f
	}
	t := &h.stretches[i]
	o.at = nil
	if !t.whole {
		o.at, o.left = t, segment.NewSalvager(o.file, t.offset, t.end)
		return true
	}
	b := make([]byte, t.end-t.offset)
	if _, err := o.file.ReadAt(b, t.offset); err != nil {
		return false
	}
	head, err := segment.ParseBatchHeader(b)
	body := b[segment.BatchHeaderSize:]
	if err != nil || head.First != t.first || head.Last() != t.last || segment.Checksum(body) != head.Body {
		return false // it has changed since it was listed
	}
	o.at, o.body, o.next, o.rest = t, body, t.first, body
	return true
}

func (o *source) closeFile() {
	if o.file != nil {
		o.file.Close()
	}
	o.of, o.file, o.at = nil, nil, nil
}

// close closes the source, if there is one.
func (o *source) close() {
	if o == nil {
		return
	}
	o.closeFile()
	o.records.Close()
}

// ownEntry returns the entry at index, from a segment of the log itself.
func (r *Repair) ownEntry(index uint64) (found, bool) {
	if r.own == nil {
		r.own = &source{records: segment.NewRecords(r.WAL, math.MaxUint64)}
		for _, s := range r.segs {
			if h := readSourceSegment(s.File); h != nil && (!h.known || h.header.Store == r.id) {
				r.own.segs = append(r.own.segs, h)
			}
		}
	}
	return r.own.fromSegment(index)
}
