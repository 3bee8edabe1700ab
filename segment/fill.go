package segment

// The file is filled with zeros ahead of what is written: a sync of bytes that
// already have their blocks moves no metadata and takes about half the time. But the
// first sync behind the zeros has to wait for them and for the metadata that they move.
const (
	// firstFill is how far a new segment is filled before its first batch.
	firstFill = 1 << 20
	// fillLong is how many zeros are written at a time: with small batches fewer than
	// one sync in a hundred waits for them.
	fillLong = 1 << 20
	// Batches of fillShortFrom and more would use that up so soon that it were more
	// than one in a hundred. For them it is fillShort at a time, which is on the disk
	// by the time that all those have been answered who have an entry in such a batch.
	fillShort     = 256 << 10
	fillShortFrom = 8 << 10
	// fillBelow is the size from which a batch gains nothing by it: writing the
	// zeros would then cost as much as moving metadata does.
	fillBelow = 64 << 10
	// fillAhead is of how many bytes the next zeros stay ahead, so that no batch
	// touches what is on its way to the disk.
	fillAhead = 2 * fillBelow
	// fillTo is of what their end is a multiple: a page of any usual file system.
	fillTo = 4 << 10
)

// zeros are what space that was made ready is filled with. Never written to.
var zeros [fillLong]byte

// Prepare readies the file for batches like the last one: where little is left of what
// is filled it writes more zeros, and has them go to the disk without waiting for it. It
// is for the time between two commits, when nobody waits. limit is where the segment
// ends, see Room: nothing is filled beyond it.
//
// Failing is no failure: the next batches make the file grow by themselves, and say so
// if there is no room. Nor is an error of the disk lost, since the next sync meets it.
func (w *Writer) Prepare(limit int64) {
	if w.batch == 0 || w.batch >= fillBelow || w.filled-w.end >= fillAhead {
		return
	}
	step := int64(fillLong)
	if w.batch >= fillShortFrom {
		step = fillShort
	}
	until := min(w.end+fillAhead+step, limit, w.filled+int64(len(zeros)))
	if until -= until % fillTo; until <= w.filled {
		return
	}
	n, err := w.f.WriteAt(zeros[:until-w.filled], w.filled)
	if err != nil {
		return
	}
	w.f.BeginWriting(w.filled, int64(n))
	w.filled += int64(n)
}
