package fsck

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sort"

	"tcp-log-server/segment"
)

// found is an entry that has been found for a place in the log.
type found struct {
	text  []byte
	time  int64
	batch uint64 // the first index of the batch that it was in, 0 if not known
}

// source is another copy of the log, from which entries are taken. Nothing of it
// is trusted: batches are verified as they are read, blobs by their hashes.
type source struct {
	dir     string
	segs    []*segment.Segment
	records *segment.RecordReader

	reader *segment.Reader // of the segment that was read last
	of     *segment.Segment
	batch  segment.Batch
}

// openSource opens the copy of the store id in dir. What of it is damaged is not
// used. An error says that it is no copy of this store.
func openSource(dir string, id segment.StoreID) (*source, error) {
	o := &source{dir: dir, records: segment.NewRecordReader(filepath.Join(dir, "wal"))}
	proof := false
	for _, part := range []string{"wal", "blobs"} {
		mark, ok, err := segment.FindMark(filepath.Join(dir, part))
		if err != nil {
			return nil, err
		}
		if ok && mark != id {
			return nil, fmt.Errorf("%s belongs to store %s, want %s: it is a copy of another log", filepath.Join(dir, part), mark, id)
		}
		proof = proof || ok
	}
	firsts, err := segment.List(segmentDir(dir))
	if err != nil {
		return nil, err
	}
	for _, first := range firsts {
		s, err := segment.Stat(filepath.Join(segmentDir(dir), segment.Name(first)))
		if err != nil {
			continue
		}
		if s.Header.Store != id {
			return nil, fmt.Errorf("%s belongs to store %s, want %s: it is a copy of another log", s.Path, s.Header.Store, id)
		}
		proof = true
		if !s.Sealed() {
			if _, err := s.Scan(); err != nil {
				continue
			}
		}
		o.segs = append(o.segs, s)
	}
	if !proof {
		return nil, fmt.Errorf("%s %w that could be told to be a copy of store %s", dir, ErrNoLog, id)
	}
	return o, nil
}

// entry is the entry at index, from a segment or by a record and a blob.
func (o *source) entry(index uint64) (found, bool) {
	if f, ok := o.packed(index); ok {
		return f, true
	}
	rec, ok := o.record(index)
	if !ok || rec.Lost() {
		return found{}, false
	}
	text, ok := o.blob(rec.Hash)
	return found{text: text, time: rec.Time}, ok && len(text) == int(rec.Size)
}

// record is the record of index.
func (o *source) record(index uint64) (segment.Record, bool) {
	var one [1]segment.Record
	n, _ := o.records.Read(index, one[:])
	return one[0], n == 1
}

// blob is the blob of hash.
func (o *source) blob(hash segment.Hash) ([]byte, bool) {
	return wholeBlob(filepath.Join(o.dir, "blobs"), hash)
}

// packed is the entry at index, from a segment.
func (o *source) packed(index uint64) (found, bool) {
	if b := &o.batch; b.Count == 0 || index < b.First || index > b.Last() {
		if !o.seek(index) {
			return found{}, false
		}
	}
	body := o.batch.Entries
	for at := o.batch.First; len(body) > 0; at++ {
		line, rest, _ := bytes.Cut(body, []byte{'\n'})
		if at == index {
			return found{text: line, time: o.batch.Time, batch: o.batch.First}, true
		}
		body = rest
	}
	return found{}, false
}

// seek reads the batch that holds index.
func (o *source) seek(index uint64) bool {
	i := sort.Search(len(o.segs), func(i int) bool { return o.segs[i].Header.First > index }) - 1
	if i < 0 || index > o.segs[i].Last() {
		return false
	}
	s := o.segs[i]
	if s != o.of || index < o.batch.First {
		o.drop()
		r, err := s.NewReader(index)
		if err != nil {
			return false
		}
		o.reader, o.of = r, s
	}
	for {
		b, err := o.reader.Next()
		if err != nil {
			o.drop()
			return false
		}
		if o.batch = b; index <= b.Last() {
			return index >= b.First && !b.Lost()
		}
	}
}

func (o *source) drop() {
	if o.reader != nil {
		o.reader.Close()
	}
	o.reader, o.of, o.batch = nil, nil, segment.Batch{}
}

func (o *source) close() {
	o.drop()
	o.records.Close()
}

// ownEntry is the entry at index, from a segment of the log itself.
func (r *repairer) ownEntry(index uint64) ([]byte, bool) {
	if index < r.first {
		return nil, false
	}
	if r.own == nil {
		r.own = &source{dir: r.Data, records: segment.NewRecordReader(r.WAL)}
		for _, s := range r.segs {
			if own, err := segment.Stat(s.path); err == nil && s.readable {
				if !own.Sealed() {
					if _, err := own.Scan(); err != nil {
						continue
					}
				}
				r.own.segs = append(r.own.segs, own)
			}
		}
	}
	e, ok := r.own.packed(index)
	return e.text, ok
}
