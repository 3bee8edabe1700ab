package segment

import (
	"bytes"
	"encoding/binary"
)

// The bytes after the last batch of a segment that is not sealed: zeros, a proof that the
// batch before is durable, or what a crash left of one write.

// sectorSize is the smallest unit that a disk writes entirely or not at all.
const sectorSize = 512

// proof returns the header without entries that ends an idle segment whose last entry is
// last and whose last batch, with checksum sum, ends at off. It says what the synced
// offset of the next batch would: everything before off is durable. The next batch
// overwrites it.
func proof(last uint64, sum uint32, off int64) [BatchHeaderSize]byte {
	var b [BatchHeaderSize]byte
	h := BatchHeader{First: last + 1, Prev: sum, Synced: uint64(off)}
	h.put(b[:])
	return b
}

// parseProof returns the next index according to the proof at the beginning of b, which
// is at off, and the checksum of the batch before it.
func parseProof(b []byte, off int64) (next uint64, prev uint32, ok bool) {
	if len(b) < BatchHeaderSize || [4]byte(b) != batchMagic {
		return 0, 0, false
	}
	next, prev = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[20:])
	return next, prev, next > 0 && [BatchHeaderSize]byte(b) == proof(next-1, prev, off)
}

// cutShort reports whether the bytes at off, where a batch would follow last and sum but
// no intact one is, are what an unfinished write leaves.
//
// A write has a shape: it goes where there were zeros, or a proof, and contains no sector
// of zeros itself, since canonical JSON has no zero byte. So a write that was cut short
// lacks a sector, which is as it was before or beyond the end of the file. If all sectors
// are there and a checksum is wrong, bytes were altered afterwards. A write that was cut
// short within a sector has zeros at its end.
//
// batches is how many there are before off: the write may be that of their table.
func (w *window) cutShort(off int64, last uint64, sum uint32, batches int) (bool, error) {
	b, err := w.at(off, BatchHeaderSize)
	if err != nil || len(b) < BatchHeaderSize {
		return true, err
	}
	before := proof(last, sum, off)
	for at := 0; at < BatchHeaderSize; {
		end := min(BatchHeaderSize, at+sectorSize-int((off+int64(at))%sectorSize))
		piece := b[at:end]
		// Every header begins with the magic, so that alone shows nothing.
		if allZero(piece) || bytes.Equal(piece, before[at:end]) && end > len(batchMagic) {
			return true, nil
		}
		at = end
	}
	h, err := ParseBatchHeader(b)
	if err != nil {
		if allZero(b[BatchHeaderSize-4:]) || likeProof(b, before) {
			return true, nil
		}
		return w.tableAt(off, batches)
	}
	end := off + BatchHeaderSize + int64(h.Size)
	if end > w.size {
		return true, nil
	}
	if b, err = w.at(off, int(end-off)); err != nil || int64(len(b)) < end-off {
		return true, err
	}
	for at := int64(0); at < end-off; {
		next := min(end-off, at+sectorSize-(off+at)%sectorSize)
		if allZero(b[at:next]) {
			return true, nil
		}
		at = next
	}
	return b[len(b)-1] == 0, nil
}

// likeProof reports whether b is p except for a few bytes: losing a proof loses no entry.
func likeProof(b []byte, p [BatchHeaderSize]byte) bool {
	same := 0
	for i, c := range p {
		if b[i] == c {
			same++
		}
	}
	return same >= BatchHeaderSize-4
}

// tableAt reports whether the bytes at off are those of the table and the footer that
// seal a segment of that many batches, or a part of them.
func (w *window) tableAt(off int64, batches int) (bool, error) {
	first := AppendRow(nil, Row{Offset: HeaderSize})
	b, err := w.at(off, RowSize)
	if err != nil || bytes.Equal(b, first) {
		return err == nil && batches > 0, err
	}
	b, err = w.at(off+int64(batches)*RowSize, len(footerMagic))
	return batches > 0 && bytes.Equal(b, footerMagic[:]), err
}

// proof decodes the proof at off, if there is one.
func (w *window) proof(off int64) (next uint64, prev uint32, ok bool, err error) {
	b, err := w.at(off, BatchHeaderSize)
	if err != nil {
		return 0, 0, false, err
	}
	next, prev, ok = parseProof(b, off)
	return next, prev, ok, nil
}

// claimed returns the last index that the bytes from off to end claim to hold, which
// follow last and are not an intact batch.
func (w *window) claimed(off, end int64, last uint64) (uint64, error) {
	b, err := w.at(off, BatchHeaderSize)
	if err != nil {
		return last, err
	}
	if h, err := ParseBatchHeader(b); err == nil && h.First == last+1 {
		return h.Last(), nil
	}
	lines := 0
	for at := off + BatchHeaderSize; at < end; {
		b, err := w.at(at, int(min(end-at, readAhead)))
		if err != nil || len(b) == 0 {
			return last, err
		}
		lines += bytes.Count(b, []byte{'\n'})
		at += int64(len(b))
	}
	return last + uint64(max(lines, 1)), nil
}
