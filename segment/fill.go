package segment

// The file is filled with zeros ahead of what is written: a sync of bytes that
// already have their blocks moves no metadata and takes about half the time. But the
// first sync after the zeros has to wait for them and for the metadata that they move.
const (
	// firstFill is how far a new segment is filled before its first batch, unless it will
	// end before that.
	firstFill int64 = 1 << 20
	// fillLong is how many zeros are written at a time: with small batches fewer than
	// one sync in a hundred waits for them.
	fillLong = 1 << 20
	// Batches of fillShortFrom and more would use that up so soon that it were more
	// than one in a hundred. For them it is fillShort at a time, of which little is still
	// on its way when those who were answered have sent the next batch.
	fillShort     = 256 << 10
	fillShortFrom = 8 << 10
	// fillBelow is the size from which a batch gains nothing by it: writing the
	// zeros would then cost as much as moving metadata does.
	fillBelow = 64 << 10
	// fillAhead is how little may be left. The next zeros then come after the next
	// batches, which need not touch what is on its way to the disk.
	fillAhead = 2 * fillBelow
	// fillTo is of what their beginning and end are multiples, a page of any usual file
	// system: none that holds a part of a batch is written once more for them.
	fillTo = 4 << 10
)

// zeros are what space that was made ready is filled with. Never written to.
var zeros [fillLong]byte

// Due reports whether little is left of what is filled, for batches like the last one,
// so that Prepare has something to do. limit is where the segment ends, see Room.
func (w *Writer) Due(limit int64) bool {
	from, to := w.ahead(limit)
	return from < to
}

// ahead is where the next zeros go, nowhere where none are due: not beyond limit, and no
// more than there are.
func (w *Writer) ahead(limit int64) (from, to int64) {
	if w.batch >= fillBelow || w.full || w.filled-w.end >= fillAhead {
		return 0, 0
	}
	step := int64(fillLong)
	if w.batch >= fillShortFrom {
		step = fillShort
	}
	from = w.filled + fillTo - 1
	from -= from % fillTo
	to = min(w.end+fillAhead+step, limit)
	to -= to % fillTo
	return from, min(to, from+int64(len(zeros)))
}

// Prepare fills the file further where that is Due, and has the zeros go to the disk
// without waiting for them, though it may have to wait while the disk is busy. It is for
// the time between two commits, the first of which succeeded.
//
// Failing is no failure: the next batches make the file grow by themselves, and say so
// if there is no room. Nor is an error of the disk lost: the next sync of the file meets
// it, a commit's or that of Seal or Close. A file system that has promised room for the
// zeros, and then finds none, leaves a hole, which reads as zeros; the batch that comes
// there asks for room again.
func (w *Writer) Prepare(limit int64) {
	from, to := w.ahead(limit)
	if from >= to {
		return
	}
	n, err := w.f.WriteAt(zeros[:to-from], from)
	w.full = err != nil
	if n > 0 {
		w.f.BeginWriting(from, int64(n))
		w.filled = from + int64(n)
	}
}
