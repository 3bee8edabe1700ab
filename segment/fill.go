package segment

// The file is filled with zeros ahead of what is written: a sync of bytes whose blocks
// are already allocated updates no metadata and takes about half the time. But the first
// sync after the zeros has to wait for them and for their metadata.
const (
	// firstFill is how far a new segment is filled before its first batch, unless it will
	// end before that.
	firstFill int64 = 1 << 20
	// fillLong is how many zeros are written at a time: with small batches, fewer than
	// one sync in a hundred waits for them.
	fillLong = 1 << 20
	// Batches of fillShortFrom and more would use that up so quickly that more than one
	// in a hundred would wait. For them it is fillShort at a time, little of which is
	// still being written when clients that were answered have sent the next batch.
	fillShort     = 256 << 10
	fillShortFrom = 8 << 10
	// fillBelow is the batch size from which filling gains nothing: writing the zeros
	// would then cost as much as updating the metadata does.
	fillBelow = 64 << 10
	// fillAhead is the least that may be left. The next zeros then come after the next
	// batches, which need not touch bytes that are being written to the disk.
	fillAhead = 2 * fillBelow
	// fillTo is the alignment of their beginning and end, a page of any usual file
	// system: no page that holds a part of a batch is written again for them.
	fillTo = 4 << 10
)

// zeros are the bytes for filling. Never written to.
var zeros [fillLong]byte

// Due reports whether little filled space is left for batches like the last one, so that
// Prepare has something to do. limit is where the segment ends, see Room.
func (w *Writer) Due(limit int64) bool {
	from, to := w.ahead(limit)
	return from < to
}

// ahead returns where the next zeros go, an empty range if none are due: not beyond
// limit, and no more than len(zeros).
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

// Prepare fills the file further if that is Due, and starts writing the zeros to the disk
// without waiting for them, though it may have to wait while the disk is busy. It is for
// the time between two commits, the first of which succeeded.
//
// A failure here does no harm: the next batches grow the file themselves, and report it
// if there is no room. Nor is an error of the disk lost: the next sync of the file, in a
// commit, Seal or Close, reports it. A file system that has promised room for the zeros,
// and then finds none, leaves a hole, which reads as zeros; the batch that is written
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
