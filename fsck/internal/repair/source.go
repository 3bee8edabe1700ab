package repair

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"

	"tcp-log-server/fsck/internal/plan"

	"tcp-log-server/segment"
)

// found is an entry that has been found for a place in the log.
type found struct {
	text  []byte
	time  int64
	batch uint64 // the first index of the batch that it was in, 0 if not known
}

// source is another copy of the log, from which entries are taken. It is not
// trusted: batches are verified as they are read, blobs by their hashes, and so
// are entries in the remains of batches.
type source struct {
	dir     string
	segs    []*sourceSegment // ascending
	records *segment.RecordReader
	// first is the first index that its segments hold, one after its head if
	// it has none; head is its last entry.
	first, head uint64

	of   *sourceSegment // the segment that was read last
	file *os.File       // it
	at   int            // the row of the batch that was read last
	body []byte         // of that batch
	next uint64         // the entry that rest begins with
	rest []byte         // of body

	damaged     []damagedRange // ascending
	in          int            // the one that was looked into last
	damagedFile *os.File
	left        *segment.Salvager // of it
}

// sourceSegment is one segment of a source: its whole batches, and the bytes in place
// of others.
type sourceSegment struct {
	path    string
	header  segment.Header
	known   bool // the header checks out
	batches []batch
	damaged []damagedRange
}

// damagedRange is bytes in place of whole batches, in which some of the entries
// first..last may be left.
type damagedRange struct {
	path        string
	first, last uint64
	offset, end int64
}

// batch is a whole batch.
type batch struct {
	first, last uint64
	offset, end int64
	time        int64
}

func (h *sourceSegment) last() uint64 { return h.batches[len(h.batches)-1].last }

// readSourceSegment lists the whole batches of a segment, and the damaged ranges that
// may hold entries. It returns nil if there are none. Bytes after the last batch are
// the last damaged range: how many entries an open segment has there is not known.
func readSourceSegment(file *segment.File) *sourceSegment {
	s, path, first := plan.NewSegment(file), file.Path, file.First
	f, err := segment.OpenRegular(path)
	if err != nil || !s.Readable {
		return nil
	}
	defer f.Close()
	h := &sourceSegment{path: path, header: s.Header, known: s.HeaderOK}
	// What cannot be read any further ends the list: that is no error here.
	w, _ := segment.Walk(f, first, s.HeaderSum, s.HeaderOK, s.BatchesEnd(), func(p segment.Piece) error {
		switch {
		case p.Damage != nil && p.Last >= p.First:
			h.damaged = append(h.damaged, damagedRange{path, p.First, p.Last, p.Offset, p.End})
		case p.Damage == nil && !p.Lost && len(p.Entries) > 0:
			h.batches = append(h.batches, batch{p.First, p.Last, p.Offset, p.End, p.Time})
		}
		return nil
	})
	last := uint64(math.MaxUint64)
	if s.Sealed {
		last = s.Footer.Last
	}
	if w.Torn > 0 && last > w.Last {
		h.damaged = append(h.damaged, damagedRange{path, w.Last + 1, last, w.End, w.End + w.Torn})
	}
	if len(h.batches)+len(h.damaged) == 0 {
		return nil
	}
	return h
}

// openSource opens the copy of the store id in dir. What of it is damaged is not
// used. An error says that it is no copy of this store.
func openSource(dir string, id segment.StoreID) (*source, error) {
	o := &source{dir: dir, records: segment.NewRecordReader(filepath.Join(dir, "wal"))}
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
		if len(h.batches) > 0 {
			o.segs = append(o.segs, h)
		}
		if n := len(o.damaged); n > 0 {
			o.damaged[n-1].last = min(o.damaged[n-1].last, f.First-1)
		}
		o.damaged = append(o.damaged, h.damaged...)
	}
	if !proof {
		return nil, fmt.Errorf("%s %w that could be told to be a copy of store %s", dir, ErrNoLog, id)
	}
	o.extent()
	return o, nil
}

// extent notes how far the copy goes.
func (o *source) extent() {
	if n := len(o.segs); n > 0 {
		o.first, o.head = o.segs[0].batches[0].first, o.segs[n-1].last()
		o.head = max(o.head, o.reached())
		return
	}
	o.head = o.indexed()
	o.first = o.head + 1
}

// indexed is the last entry that has a record.
func (o *source) indexed() (last uint64) {
	files, _, err := segment.ListRecordFiles(filepath.Join(o.dir, "wal"))
	for i := len(files) - 1; err == nil && i >= 0 && last == 0; i-- {
		last, _ = files[i].LastRecord() // a file that cannot be read is not used
	}
	return last
}

// entry is the entry at index, from a segment or by a record and a blob.
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
		text, ok = o.blob(rec.Hash)
	}
	return found{text: text, time: rec.Time}, ok && len(text) == int(rec.Size)
}

// reached is the last entry that the index of the copy proves in the bytes after its
// last batch, 0 if there is none.
func (o *source) reached() uint64 {
	n := len(o.damaged)
	if n == 0 || !o.openDamaged(n-1) {
		return 0
	}
	b := o.damaged[n-1]
	if last := o.left.Reach(b.first, min(b.last, o.indexed()), o.record); last >= b.first {
		return last
	}
	return 0
}

// salvage is the entry at index, whose record is rec, from the remains of a batch.
func (o *source) salvage(index uint64, rec segment.Record) ([]byte, bool) {
	at := sort.Search(len(o.damaged), func(i int) bool { return o.damaged[i].last >= index })
	if at == len(o.damaged) || o.damaged[at].first > index || !o.openDamaged(at) {
		return nil, false
	}
	return o.left.Find(rec)
}

// openDamaged opens the damaged range of that number.
func (o *source) openDamaged(at int) bool {
	if o.left != nil && o.in == at {
		return true
	}
	o.closeDamaged()
	b := o.damaged[at]
	f, err := segment.OpenRegular(b.path)
	if err != nil {
		return false
	}
	o.in, o.damagedFile, o.left = at, f, segment.NewSalvager(f, b.offset, b.end)
	return true
}

func (o *source) closeDamaged() {
	if o.damagedFile != nil {
		o.damagedFile.Close()
	}
	o.damagedFile, o.left = nil, nil
}

// record is the record of index.
func (o *source) record(index uint64) (segment.Record, bool) {
	var one [1]segment.Record
	n, _ := o.records.Read(index, one[:])
	return one[0], n == 1
}

// known is the record of index: made from the entry if there is one, else that of the
// index. ok is false for a lost entry.
func (o *source) known(index uint64) (segment.Record, bool) {
	if e, ok := o.fromSegment(index); ok {
		return recordOf(e), true
	}
	rec, ok := o.record(index)
	return rec, ok && !rec.Lost()
}

// recordOf is the record of an entry.
func recordOf(e found) segment.Record {
	return segment.Record{Hash: segment.Sum(e.text), Time: e.time, Size: uint32(len(e.text))}
}

// blob is the blob of hash.
func (o *source) blob(hash segment.Hash) ([]byte, bool) {
	return wholeBlob(filepath.Join(o.dir, "blobs"), hash)
}

// wholeBlob reads the blob of hash in the directory dir, if it is there and whole.
func wholeBlob(dir string, hash segment.Hash) ([]byte, bool) {
	f, err := segment.OpenRegular(filepath.Join(dir, segment.BlobPath(hash)))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	entry, err := io.ReadAll(io.LimitReader(f, segment.MaxBody+1))
	return entry, err == nil && segment.Sum(entry) == hash
}

// segmentOf is the segment that holds index, or nil.
func (o *source) segmentOf(index uint64) *sourceSegment {
	i := sort.Search(len(o.segs), func(i int) bool { return o.segs[i].batches[0].first > index }) - 1
	if i < 0 || index > o.segs[i].last() {
		return nil
	}
	return o.segs[i]
}

// fromSegment is the entry at index, from a segment. Its text is valid until the next
// call.
func (o *source) fromSegment(index uint64) (found, bool) {
	if o.of == nil || o.body == nil || index < o.of.batches[o.at].first || index > o.of.batches[o.at].last {
		if !o.seek(index) {
			return found{}, false
		}
	}
	r := o.of.batches[o.at]
	if index < o.next {
		o.next, o.rest = r.first, o.body
	}
	for len(o.rest) > 0 {
		line, rest, _ := bytes.Cut(o.rest, []byte{'\n'})
		if o.next == index {
			return found{text: line, time: r.time, batch: r.first}, true
		}
		o.next, o.rest = o.next+1, rest
	}
	return found{}, false
}

// seek reads the batch that holds index.
func (o *source) seek(index uint64) bool {
	h := o.segmentOf(index)
	if h == nil {
		return false
	}
	at := sort.Search(len(h.batches), func(i int) bool { return h.batches[i].last >= index })
	if h.batches[at].first > index {
		return false
	}
	if h != o.of {
		o.closeSegment()
		f, err := segment.OpenRegular(h.path)
		if err != nil {
			return false
		}
		o.of, o.file = h, f
	}
	r := h.batches[at]
	o.body = nil
	b := make([]byte, r.end-r.offset)
	if _, err := o.file.ReadAt(b, r.offset); err != nil {
		return false
	}
	head, err := segment.ParseBatchHeader(b)
	body := b[segment.BatchHeaderSize:]
	if err != nil || head.First != r.first || head.Last() != r.last || segment.Checksum(body) != head.Body {
		return false // it has changed since it was listed
	}
	o.at, o.body, o.next, o.rest = at, body, r.first, body
	return true
}

func (o *source) closeSegment() {
	if o.file != nil {
		o.file.Close()
	}
	o.of, o.file, o.body = nil, nil, nil
}

func (o *source) close() {
	o.closeSegment()
	o.closeDamaged()
	o.records.Close()
}

// ownEntry is the entry at index, from a segment of the log itself.
func (r *repairer) ownEntry(index uint64) (found, bool) {
	if r.own == nil {
		r.own = &source{dir: r.Data, records: segment.NewRecordReader(r.WAL)}
		for _, s := range r.segs {
			if h := readSourceSegment(s.File); h != nil && len(h.batches) > 0 && (!h.known || h.header.Store == r.id) {
				r.own.segs = append(r.own.segs, h)
			}
		}
	}
	return r.own.fromSegment(index)
}
