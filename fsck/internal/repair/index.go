package repair

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"tcp-log-server/fsck/internal/plan"

	"tcp-log-server/segment"
)

// restoreIndex writes the files of the index again that have records which are
// damaged, missing, or do not match segments and blobs.
func (r *repairer) restoreIndex() error {
	if r.WAL == segment.Memory {
		return nil
	}
	through := min(max(r.index.Last, r.first-1), r.head)
	if len(r.segs) > 0 && !r.segs[0].HeaderOK {
		through = min(r.index.Last, r.head) // where the segments begin is not known
	}
	if !plausible(0, through) {
		return nil
	}
	files := r.plan.Records
	for first := r.index.Last + 1; first <= r.plan.Short; first = plan.FileOf(first) + segment.RecordsPerFile {
		files[plan.FileOf(first)] = true
	}
	if r.AcceptLoss {
		if err := r.findGone(files); err != nil {
			return err
		}
	}
	for _, first := range slices.Sorted(maps.Keys(files)) {
		if first > through {
			continue
		}
		if err := r.reindex(first, min(first+segment.RecordsPerFile-1, through), nil); err != nil {
			return err
		}
	}
	return nil
}

// findGone adds the files with records of loose entries that are to be recorded
// as lost.
func (r *repairer) findGone(files map[uint64]bool) error {
	any := false
	for _, lost := range r.gone {
		any = any || lost
	}
	for index := uint64(1); any && index < r.first && index <= r.index.Last; index++ {
		if rec, err := r.index.At(index); err == nil && r.gone[rec.Hash] && !rec.Lost() {
			files[plan.FileOf(index)] = true
		}
	}
	return nil
}

// reindex writes the file of the index with the records first..last again. Each
// comes from the segments, or stays as it is, or is taken from another copy. s, unless
// nil, gets every entry from the segments whose record is new. Nothing is done where
// a record is to be found nowhere and loss is not accepted.
func (r *repairer) reindex(first, last uint64, s *settler) error {
	recs := make([]segment.Record, last-first+1)
	from := make([]bool, last-first+1) // a segment has the entry
	err := r.entries(max(first, r.first), last, func(index uint64, at int64, text []byte, lost bool) error {
		rec := segment.Record{Time: at}
		old, err := r.index.At(index)
		if !lost {
			rec = segment.Record{Hash: segment.Sum(text), Time: at, Size: uint32(len(text))}
			if err != nil {
				if err := s.put(text, rec.Hash); err != nil {
					return err
				}
			}
		} else if err == nil {
			rec = old // its hash may be known
		}
		recs[index-first], from[index-first] = rec, true
		return nil
	})
	if err != nil {
		return err
	}
	var lost plan.Ranges
	n := uint64(0)
	changed := r.plan.Records[first] || s != nil
	for i := range recs {
		if from[i] {
			continue
		}
		index := first + uint64(i)
		rec, err := r.index.At(index)
		switch {
		case err == nil && r.AcceptLoss && r.gone[rec.Hash] && index < r.first:
			rec.Size = 0
			n++
			lost.Add(index, index)
		case err == nil:
		default:
			ok := false
			if index <= r.copyEnd() {
				if rec, ok = r.other.known(index); !ok {
					rec, ok = r.other.record(index) // lost there as well
				}
			}
			if !ok {
				rec = segment.Record{}
				n++
				lost.Add(index, index)
			}
		}
		recs[i] = rec
	}
	if n > 0 && !r.AcceptLoss {
		return nil
	}
	if !changed && n == 0 {
		return nil
	}
	note := ""
	if n > 0 {
		note = fmt.Sprintf(", of them %d of entries recorded as lost: %s", n, lost)
	}
	return r.writeRecords(first, recs, note, s.sync)
}

// writeRecords makes the step of writing the file of the index that begins at first,
// with recs. blobs makes the blobs durable that the records name.
func (r *repairer) writeRecords(first uint64, recs []segment.Record, note string, blobs func() error) error {
	path, _, _ := segment.RecordPath(r.WAL, first)
	last := first + uint64(len(recs)) - 1
	message := fmt.Sprintf("write it again, with %d records", len(recs)) + note
	return r.do(Step{Action: "reindex", File: path, First: first, Last: last, Message: message}, func() error {
		if err := segment.MakeDir(r.WAL); err != nil {
			return err
		}
		if err := blobs(); err != nil {
			return err
		}
		if err := r.change(); err != nil {
			return err
		}
		tmp := filepath.Join(r.WAL, segment.RepairName)
		if err := segment.WriteRecords(tmp, first, recs); err != nil {
			return err
		}
		return r.replace(tmp, path, "written again")
	})
}

var errStopped = errors.New("stopped")

// entries gives fn the entries from..through that whole batches of the segments
// hold, and those that are recorded there as lost. text is valid during the call.
func (r *repairer) entries(from, through uint64, fn func(index uint64, time int64, text []byte, lost bool) error) error {
	for _, s := range r.segs {
		if !s.Readable || s.First > through || s.Next > 0 && s.Next <= from {
			continue
		}
		f, err := os.Open(s.Path)
		if err != nil {
			return err
		}
		_, err = segment.Walk(f, s.First, s.HeaderSum, s.HeaderOK, s.BatchesEnd(), func(p segment.Piece) error {
			if p.First > through {
				return errStopped
			}
			body := p.Entries
			for index := p.First; p.Damage == nil && index <= min(p.Last, through); index++ {
				var line []byte
				line, body, _ = bytes.Cut(body, []byte{'\n'})
				if index < from {
					continue
				}
				if err := fn(index, p.Time, line, p.Lost); err != nil {
					return err
				}
			}
			return nil
		})
		f.Close()
		if err != nil && !errors.Is(err, errStopped) {
			return err
		}
	}
	return nil
}

// settle adds the records that the index lacks at its end, and the blobs of
// their entries while there is room for them, as the daemon would.
func (r *repairer) settle() error {
	if !r.plan.Lag || r.WAL == segment.Memory || r.plan.Short > 0 || r.index.Last+1 < r.first {
		return nil
	}
	if len(r.plan.Gaps)+len(r.plan.Damaged) > 0 {
		return nil // not all entries that the segments should have are there
	}
	s := &settler{repairer: r}
	defer s.close()
	for first := plan.FileOf(r.index.Last + 1); first <= r.head; first += segment.RecordsPerFile {
		if err := r.reindex(first, min(first+segment.RecordsPerFile-1, r.head), s); err != nil {
			return err
		}
	}
	return nil
}

// settler writes blobs of entries that the index lacks. A nil *settler writes none.
type settler struct {
	*repairer
	blobs  segment.BlobStore // once it is open
	closed func()            // closes it
	loose  int               // how many there are
}

// put writes the blob of an entry while there is room for it.
func (s *settler) put(text []byte, hash segment.Hash) (err error) {
	if s == nil || s.DryRun || s.Store() == nil || s.LooseMax == 0 {
		return nil
	}
	if s.blobs == nil {
		if s.blobs, s.closed, err = s.openBlobs(); err != nil {
			return err
		}
		err := s.blobs.List(s.Context, "", func(segment.BlobInfo) error { s.loose++; return nil })
		if err != nil && !errors.Is(err, segment.ErrObstructed) {
			return err
		}
	}
	if s.LooseMax >= 0 && s.loose >= s.LooseMax {
		return nil
	}
	if err := s.change(); err != nil {
		return err
	}
	created, err := s.blobs.Put(s.Context, hash, text)
	if created {
		s.loose++
	}
	if errors.Is(err, segment.ErrObstructed) {
		return nil // the entry stays packed
	}
	return err
}

// sync makes the blobs durable.
func (s *settler) sync() error {
	if s == nil || s.blobs == nil {
		return nil
	}
	return s.blobs.Sync(s.Context)
}

func (s *settler) close() {
	if s.blobs != nil {
		s.closed()
	}
}

// cutAhead deals with an index that goes on after the last segment: entries that are
// found elsewhere are put into a segment, and the records after the last of them are
// cut off.
func (r *repairer) cutAhead() error {
	ahead := r.plan.Ahead
	if ahead <= r.head || !plausible(r.head, ahead) {
		return nil
	}
	whole, proven := r.head, r.head
	b := &rebuilder{repairer: r}
	for index := r.head + 1; index <= ahead; index++ {
		rec, err := r.index.At(index)
		known := err == nil && !rec.Lost()
		if _, ok := b.find(index, rec, known, nil); ok && (known || whole == index-1) {
			proven = index
			if whole == index-1 {
				whole = index
			}
		}
	}
	hole := proven > whole
	if hole && r.AcceptLoss {
		return r.growTo(r.head+1, proven, true)
	}
	if whole > r.head {
		if r.DryRun && proven == whole {
			r.GivenUp += ahead - whole // by the step that follows from this one
			r.Head = whole
		}
		return r.grow(r.head+1, whole)
	}
	if hole && r.other != nil {
		return nil // entries of the other copy are not given up because others are missing there
	}
	// The file that holds the head's record is cut, and those after it are moved away.
	_, file, _ := segment.RecordPath(r.WAL, r.head+1)
	for _, first := range slices.Sorted(maps.Keys(r.index.Files)) {
		path := r.index.Files[first].Path
		switch {
		case first > file:
			if err := r.moveAway(Step{File: path, First: first, Message: "records without content"}, "records without content"); err != nil {
				return err
			}
		case first == file:
			size := int64(r.head+1-first) * (segment.RecordSize + 1)
			if err := r.cutOff(Step{File: path, First: r.head + 1, Last: ahead, Message: "records without content"}, size, "records without content"); err != nil {
				return err
			}
		}
	}
	r.GivenUp += ahead - r.head
	return nil
}
