package repair

import (
	"fmt"
	"maps"
	"slices"

	"tcp-log-server/segment"
)

// restoreIndex rewrites the files of the index that have records which are damaged, missing, or do
// not match segments and blobs.
func (r *Repair) restoreIndex() error {
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
	for first := r.index.Last + 1; first <= r.plan.Short; first = FileOf(first) + segment.RecordsPerFile {
		files[FileOf(first)] = true
	}
	if r.AcceptLoss && len(r.gone) > 0 {
		for index := uint64(1); index < r.first && index <= r.index.Last; index++ {
			if rec, err := r.index.At(index); err == nil && r.gone[rec.Hash] && !rec.Lost() {
				files[FileOf(index)] = true
			}
		}
	}
	for _, first := range slices.Sorted(maps.Keys(files)) {
		if first > through {
			continue
		}
		if err := r.reindex(first, through, false); err != nil {
			return err
		}
	}
	return nil
}

// settle adds the missing records at the end of the index, and the blobs of their entries while
// there is room for them, as the server would.
func (r *Repair) settle() error {
	if !r.plan.Lag || r.WAL == segment.Memory || r.plan.Short > 0 || r.index.Last+1 < r.first {
		return nil
	}
	if len(r.plan.Gaps)+len(r.plan.damaged) > 0 {
		return nil // some entries that the segments should have are missing
	}
	return r.addRecords(r.head)
}

// addRecords rewrites the files of the index from the one in which it ends, through the record of
// last.
func (r *Repair) addRecords(last uint64) error {
	for first := FileOf(r.index.Last + 1); first <= last; first += segment.RecordsPerFile {
		if err := r.reindex(first, last, true); err != nil {
			return err
		}
	}
	return nil
}

// reindex rewrites the file of the index that begins at first, as far as the record of through.
// Each record is made from the segments, or stays as it is, or is taken from another copy. adds
// says that there will be new ones: their entries in segments get blobs. Nothing is done if a
// record is found nowhere and loss is not accepted.
func (r *Repair) reindex(first, through uint64, adds bool) error {
	var recs []segment.Record
	var lost Ranges
	n := 0
	for index := first; index <= min(first+segment.RecordsPerFile-1, through); index++ {
		rec, err := r.index.At(index)
		var e found
		packed := false
		if index >= r.first {
			e, packed = r.ownEntry(index)
		}
		gone := false
		switch {
		case packed:
			rec = recordOf(e)
			if err != nil && adds {
				if err := r.settleBlob(rec.Hash, e.text); err != nil {
					return err
				}
			}
		case err == nil: // if the entry is lost, its hash may be known
			gone = r.AcceptLoss && r.gone[rec.Hash] && index < r.first
		case e.lost:
			rec = segment.Record{Time: e.time}
		default:
			gone = true
			if index <= r.copyEnd() {
				known := false
				rec, known = r.other.known(index) // it may be lost there too
				gone = !known
			}
		}
		if gone {
			rec.Size = 0
			n++
			lost.Add(index, index)
		}
		recs = append(recs, rec)
	}
	if n > 0 && !r.AcceptLoss || n == 0 && !adds && !r.plan.Records[first] {
		return nil
	}
	note := ""
	if n > 0 {
		note = fmt.Sprintf(", of them %d of entries recorded as lost: %s", n, lost)
	}
	return r.writeRecords(first, recs, note, nil)
}

// writeRecords makes the step of writing the file of the index that begins at first, with recs.
// The blobs that they name are made durable first: putBlobs, unless nil, puts more of them.
func (r *Repair) writeRecords(first uint64, recs []segment.Record, note string, putBlobs func() error) error {
	path, _, _ := segment.RecordPath(r.WAL, first)
	s := Step{Action: "reindex", File: path, First: first, Last: first + uint64(len(recs)) - 1, Message: fmt.Sprintf("write it again, with %d records", len(recs)) + note}
	return r.write(s, "written again", func(tmp string) error {
		if putBlobs != nil {
			if err := putBlobs(); err != nil {
				return err
			}
		}
		if r.blobs != nil {
			if err := r.blobs.Sync(r.Context); err != nil {
				return err
			}
		}
		return segment.WriteRecords(tmp, first, recs)
	})
}

// cutAhead handles an index that goes on after the last segment: entries that are found elsewhere
// are put into a segment, and the records after the last of them are cut off.
func (r *Repair) cutAhead() error {
	ahead := r.plan.Ahead
	if ahead <= r.head || !plausible(r.head, ahead) {
		return nil
	}
	whole, proven := r.head, r.head
	for index := r.head + 1; index <= ahead; index++ {
		rec, _ := r.index.At(index)
		if rec.Lost() {
			rec = segment.Record{}
		}
		if _, ok := r.find(index, rec, nil); ok && (!rec.Lost() || whole == index-1) {
			proven = index
			if whole == index-1 {
				whole = index
			}
		}
	}
	hole := proven > whole
	if hole && r.AcceptLoss {
		return r.grow(r.head+1, proven, true)
	}
	if whole > r.head {
		if r.DryRun && proven == whole {
			r.Outcome.GivenUp += ahead - whole // by the step that follows this one
			r.Outcome.Head = whole
		}
		return r.grow(r.head+1, whole, false)
	}
	if hole && r.other != nil {
		return nil // entries of the other copy are not given up because others are missing there
	}
	// The file that holds the head's record is cut, and those after it are moved away.
	_, file, size := segment.RecordPath(r.WAL, r.head+1)
	for _, first := range slices.Sorted(maps.Keys(r.index.Files)) {
		path := r.index.Files[first].Path
		switch {
		case first > file:
			if err := r.moveAway(Step{File: path, First: first, Message: "records without content"}, "records without content"); err != nil {
				return err
			}
		case first == file:
			if err := r.cutOff(Step{File: path, First: r.head + 1, Last: ahead, Message: "records without content"}, size, "records without content"); err != nil {
				return err
			}
		}
	}
	r.Outcome.GivenUp += ahead - r.head
	return nil
}
