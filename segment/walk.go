package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// Piece is one part of a segment as Walk finds it: an intact batch, or whatever is where one
// or more batches should be.
type Piece struct {
	// Offset and End are where in the file the piece begins and ends.
	Offset, End int64
	// First and Last are the indices of the entries of the piece, or of those that are
	// missing there. Last is First-1 if no entry is affected.
	First, Last uint64
	// Time, Count and Sum are the batch's own. Entries is its body, valid only during the
	// call. All are zero unless the piece is an intact batch.
	Time    int64
	Sum     uint32
	Entries []byte
	// Lost says that the batch stands for permanently lost entries.
	Lost bool
	// Damage says why the piece is not an intact batch. It wraps ErrDamaged.
	Damage error
	// Fault says why an intact batch is not where it belongs: it follows a checksum other
	// than that of the batch before it, or has been moved. It wraps ErrDamaged.
	Fault error

	header BatchHeader
	parted bool // the fault is the checksum: the batch may be from another history
	proved bool // it is damaged, and there is a proof at End
}

// wrong returns why the piece is not the next batch of an undamaged segment, nil if it is.
func (p Piece) wrong() error {
	switch {
	case p.Damage == nil:
		return p.Fault
	case p.End > p.Offset && p.proved:
		return fmt.Errorf("%w (everything before offset %d was durable: this is no torn write)", p.Damage, p.End)
	case p.End > p.Offset:
		return fmt.Errorf("%w (whole batch of index %d after it at offset %d: this is no torn write)", p.Damage, p.Last+1, p.End)
	}
	return p.Damage
}

// Walked is what Walk found about a segment as a whole.
type Walked struct {
	// Last, End and Sum are those of the last intact batch, or for a segment without any:
	// First-1, HeaderSize, the header's checksum.
	Last uint64
	End  int64
	Sum  uint32
	// Batches counts the intact batches.
	Batches int
	// Torn is the number of bytes from End to the last one that is not zero, if no batch
	// follows, and Why says what is wrong with them.
	Torn int64
	Why  error
	// Unwritten says that the torn bytes are what an unfinished write leaves, or a copy that
	// was taken during one: cut short, or with sectors as they were before. Otherwise they
	// are all there, but altered.
	Unwritten bool
	// Claimed is the last index that torn bytes which are not Unwritten claim to hold: by
	// their header, or by the number of lines, but at least one.
	Claimed uint64
	// Proved is the offset of the proof that everything before it was durable, 0 if there is
	// none.
	Proved int64
	// Misplaced says that the torn bytes begin with an intact batch header of another place:
	// no write that a crash cut short leaves that.
	Misplaced bool
}

// Walk reads a segment whose first index is first from the end of its header to size, and
// verifies every batch: its checksums, its place in the chain, its index. After damage it
// continues at the next valid batch header. fn gets every piece in turn; an error of fn ends
// the walk and is returned as it is. Any other error is the file's.
//
// sum is the checksum of the header, if it is known. Bytes after the last intact batch are
// not a piece: Walked describes them.
func Walk(r io.ReaderAt, first uint64, sum uint32, known bool, size int64, fn func(Piece) error) (Walked, error) {
	w := &window{r: r, size: size}
	return w.walk(first, sum, known, fn)
}

func (w *window) walk(first uint64, sum uint32, known bool, fn func(Piece) error) (Walked, error) {
	end := Walked{Last: first - 1, End: HeaderSize, Sum: sum}
	off := int64(HeaderSize)
	for {
		h, body, why := w.batch(off)
		if why == io.EOF {
			return end, nil
		}
		if why != nil && !errors.Is(why, ErrDamaged) {
			return end, why
		}
		next := end.Last + 1
		if why != nil {
			after, prev, ok, err := w.proof(off)
			if err != nil {
				return end, err
			}
			if ok && after == next && (!known || prev == end.Sum) {
				end.Proved = off
				if rest, err := w.nonZero(off + BatchHeaderSize); err != nil || rest < 0 {
					return end, err
				}
			}
		}
		if why == nil && (h.First < next || h.First-first > math.MaxUint32 || h.Last() < h.First) {
			why = fmt.Errorf("%w: batch begins at index %d, want %d", ErrDamaged, h.First, next)
		}
		if why != nil {
			at, found, err := w.resync(off, h, next, first)
			if err != nil {
				return end, err
			}
			unfinished := at < 0
			if at >= 0 {
				if unfinished, err = w.unfinished(&end, off, at, first, known); err != nil {
					return end, err
				}
			}
			if unfinished {
				return end, w.torn(&end, off, why, known)
			}
			p := Piece{Offset: off, End: at, First: next, Last: found - 1, Damage: why}
			if _, _, p.proved, err = w.proof(at); err != nil {
				return end, err
			}
			if err := fn(p); err != nil {
				return end, err
			}
			end.Last, known, off = found-1, false, at
			continue
		}
		if h.First > next {
			p := Piece{Offset: off, End: off, First: next, Last: h.First - 1,
				Damage: fmt.Errorf("%w: batch begins at index %d, want %d", ErrDamaged, h.First, next)}
			if err := fn(p); err != nil {
				return end, err
			}
			known = false
		}
		p := Piece{
			Offset: off, End: off + BatchHeaderSize + int64(h.Size), First: h.First, Last: h.Last(),
			Time: h.Time, Sum: h.Sum, Entries: body, Lost: h.Lost(), header: h,
		}
		switch {
		case known && h.Prev != end.Sum:
			p.parted, p.Fault = true, fmt.Errorf("%w: batch follows checksum %08x, want %08x", ErrDamaged, h.Prev, end.Sum)
		case h.Synced > uint64(off):
			p.Fault = fmt.Errorf("%w: batch has synced offset %d beyond itself", ErrDamaged, h.Synced)
		}
		if err := fn(p); err != nil {
			return end, err
		}
		end.Last, end.End, end.Sum, known = p.Last, p.End, h.Sum, true
		end.Batches++
		off = p.End
	}
}

// batch returns the batch at off, whatever its index. The error is io.EOF if only zeros
// follow, wraps ErrDamaged if there is no intact batch, and is otherwise the file's. With
// ErrDamaged, h is the header if at least that is valid.
func (w *window) batch(off int64) (h BatchHeader, body []byte, err error) {
	b, err := w.at(off, BatchHeaderSize)
	if err != nil {
		return h, nil, err
	}
	if allZero(b) {
		rest, err := w.nonZero(off)
		if err != nil {
			return h, nil, err
		}
		if rest < 0 {
			return h, nil, io.EOF
		}
		return h, nil, fmt.Errorf("%w: zeros in place of a batch, and other bytes at offset %d", ErrDamaged, rest)
	}
	if h, err = ParseBatchHeader(b); err != nil {
		return BatchHeader{}, nil, err
	}
	if rest := w.size - off - BatchHeaderSize; int64(h.Size) > rest {
		return h, nil, fmt.Errorf("%w: batch body of %d bytes is cut short at %d", ErrDamaged, h.Size, rest)
	}
	if b, err = w.at(off, BatchHeaderSize+int(h.Size)); err != nil {
		return h, nil, err
	}
	if len(b) < BatchHeaderSize+int(h.Size) {
		return h, nil, fmt.Errorf("%w: the file was cut short while it was read", ErrDamaged)
	}
	body = b[BatchHeaderSize:]
	if got := Checksum(body); got != h.Body {
		return h, nil, fmt.Errorf("%w: batch checksum is %08x, want %08x", ErrDamaged, got, h.Body)
	}
	return h, body, nil
}

// resync finds the next valid batch header after off whose first index is next or later, or
// the proof after such a batch, and returns its offset, or -1, and its first index. h is the
// header at off, or zero.
func (w *window) resync(off int64, h BatchHeader, next, first uint64) (at int64, found uint64, err error) {
	if h.Count > 0 && h.First == next {
		// Its body cannot contain a header.
		from := off + BatchHeaderSize + int64(h.Size)
		if b, err := w.at(from, BatchHeaderSize); err != nil {
			return -1, 0, err
		} else if found, ok := follows(b, from, next, first); ok {
			return from, found, nil
		}
	}
	return w.search(off+1, next, first)
}

// follows reports whether b, which is at the offset at, begins with a batch header whose
// first index is next or later, or with the proof after such a batch, and returns that index.
func follows(b []byte, at int64, next, first uint64) (uint64, bool) {
	if after, _, ok := parseProof(b, at); ok {
		return after, after > next && after-first <= math.MaxUint32
	}
	h, err := ParseBatchHeader(b)
	return h.First, err == nil && h.First >= next && h.First-first <= math.MaxUint32
}

// search finds the first place at or after from for which follows is true, and returns its
// offset, or -1, and the index there.
func (w *window) search(from int64, next, first uint64) (at int64, found uint64, err error) {
	for from = skipHole(w.r, from); from < w.size; from = skipHole(w.r, from) {
		b, err := w.at(from, readAhead)
		if err != nil {
			return -1, 0, err
		}
		for i := 0; ; i++ {
			n := bytes.Index(b[i:], batchMagic[:])
			if n < 0 || i+n+BatchHeaderSize > len(b) {
				break
			}
			i += n
			if found, ok := follows(b[i:], from+int64(i), next, first); ok {
				return from + int64(i), found, nil
			}
		}
		if from+int64(len(b)) >= w.size || len(b) == 0 {
			break
		}
		from += int64(max(len(b)-BatchHeaderSize+1, 1))
	}
	return -1, 0, nil
}

// unfinished reports whether the bytes from off on, where there is no intact batch but a
// header or a proof at the offset at, are what is left of one write of several batches: none
// of the headers says that anything from off on was durable when it was written, and the
// batch at off lacks a part.
func (w *window) unfinished(end *Walked, off, at int64, first uint64, known bool) (bool, error) {
	for at >= 0 {
		b, err := w.at(at, BatchHeaderSize)
		if err != nil {
			return false, err
		}
		h, err := ParseBatchHeader(b)
		if err != nil || h.Synced > uint64(off) {
			return false, nil // a proof, or a header of a later write
		}
		if at, _, err = w.search(at+BatchHeaderSize, end.Last+1, first); err != nil {
			return false, err
		}
	}
	if misplaced, err := w.misplaced(end, off, known); err != nil || misplaced {
		return false, err
	}
	return w.cutShort(off, end.Last, end.Sum, end.Batches)
}

// misplaced reports whether an intact header, or a proof, of another place is at off.
func (w *window) misplaced(end *Walked, off int64, known bool) (bool, error) {
	b, err := w.at(off, BatchHeaderSize)
	if err != nil {
		return false, err
	}
	h, bad := ParseBatchHeader(b)
	if bad == nil && h.First > end.Last {
		return h.First != end.Last+1 || known && h.Prev != end.Sum || h.Synced > uint64(off), nil
	}
	after, prev, isProof := parseProof(b, off)
	return isProof && (after != end.Last+1 || known && prev != end.Sum), nil
}

// torn judges the bytes from off on, after which there is no intact batch header of a later
// write. It ignores what follows the batch at off: only one write at a time is under way, and
// what is left of it lacks a part of its first batch that is not intact. known says whether
// the checksum of the batch before is known.
func (w *window) torn(end *Walked, off int64, why error, known bool) error {
	last := off - 1
	for at := skipHole(w.r, off); at < w.size; at = skipHole(w.r, at) {
		b, err := w.at(at, readAhead)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			break
		}
		if n := lastNonZero(b); n >= 0 {
			last = at + int64(n)
		}
		at += int64(len(b))
	}
	end.Torn, end.Why = last+1-end.End, why
	var err error
	if end.Misplaced, err = w.misplaced(end, off, known); err != nil {
		return err
	}
	if end.Unwritten, err = w.cutShort(off, end.Last, end.Sum, end.Batches); err != nil || end.Unwritten {
		return err
	}
	end.Why = fmt.Errorf("%w (all of it is there: this is not an unfinished write)", why)
	end.Claimed, err = w.claimed(off, last+1, end.Last)
	return err
}
