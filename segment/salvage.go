package segment

import (
	"bytes"
	"io"
)

// Salvager finds entries among bytes of a segment where intact batches should be, by
// their hashes in the index. For each candidate it keeps only the place in memory. A nil
// *Salvager finds nothing. Not for concurrent use.
type Salvager struct {
	r         io.ReaderAt
	from, end int64
	next      int64 // where the next entry begins, by the sizes of those before it; -1 if unknown
	lines     map[Hash]place
}

// place is where in the file an entry is.
type place struct {
	off  int64
	size int
}

// NewSalvager looks for entries in the bytes from..end of r, which should begin with the
// header of a batch. It returns nil if there is no room for any.
func NewSalvager(r io.ReaderAt, from, end int64) *Salvager {
	if end-from <= BatchHeaderSize {
		return nil
	}
	return &Salvager{r: r, from: from, end: end, next: from + BatchHeaderSize}
}

// Find returns the entry of rec. Call it in the order of the entries' indices: each is
// looked for first where the one before it ends, then anywhere.
func (m *Salvager) Find(rec Record) (entry []byte, ok bool) {
	if m == nil || rec.Lost() {
		m.Skip()
		return nil, false
	}
	at := m.next
	if at >= 0 {
		m.next += int64(rec.Size) + 1
		if text, ok := m.read(at, rec); ok {
			return text, true
		}
	}
	p, ok := m.scan()[rec.Hash]
	if !ok || p.size != int(rec.Size) {
		return nil, false
	}
	if at < 0 || p.off > at && p.off <= at+2*BatchHeaderSize {
		m.next = p.off + int64(rec.Size) + 1 // headers are between them
	}
	return m.read(p.off, rec)
}

// Skip says that nothing is known about the next entry.
func (m *Salvager) Skip() {
	if m != nil {
		m.next = -1
	}
}

// read returns the bytes at off, if they are the entry of rec.
func (m *Salvager) read(off int64, rec Record) ([]byte, bool) {
	if off+int64(rec.Size) > m.end {
		return nil, false
	}
	b := make([]byte, rec.Size)
	if _, err := m.r.ReadAt(b, off); err != nil {
		return nil, false
	}
	return b, Sum(b) == rec.Hash
}

// Reach returns the last of the entries from..last that is found, using the records that
// record returns: from-1 if none is. An entry counts only if there are at least as many
// bytes before it as the preceding entries take: an equal entry may have been appended
// again, long after these bytes were written.
func (m *Salvager) Reach(from, last uint64, record func(uint64) (Record, bool)) uint64 {
	reached := from - 1
	if m == nil {
		return reached
	}
	at := m.from + BatchHeaderSize
	for index := from; index <= last && at < m.end; index++ {
		rec, ok := record(index)
		if !ok || rec.Size == 0 {
			at += 2 // the shortest entry
			continue
		}
		if p, ok := m.scan()[rec.Hash]; ok && p.off >= at {
			reached = index
		} else if _, ok := m.read(at, rec); ok {
			reached = index
		}
		at += int64(rec.Size) + 1
	}
	return reached
}

// scan lists possible entries by hash; of equal ones, the last.
func (m *Salvager) scan() map[Hash]place {
	if m.lines != nil {
		return m.lines
	}
	m.lines = map[Hash]place{}
	var line []byte // the bytes since the last one that cannot be in an entry
	junk := true    // such a byte came before them
	buf := make([]byte, min(1<<20, m.end-m.from))
	for off := m.from; off < m.end; {
		if data := skipHole(m.r, off); data > off {
			line, junk, off = line[:0], true, min(data, m.end)
			continue
		}
		n, err := m.r.ReadAt(buf[:min(int64(len(buf)), m.end-off)], off)
		for b := buf[:n]; len(b) > 0; {
			i := bytes.IndexByte(b, '\n')
			part := b
			if i >= 0 {
				part = b[:i]
			}
			if j := lastForeign(part); j >= 0 {
				line, junk = line[:0], true
				part = part[j+1:]
			}
			line = append(line, part...)
			if i < 0 {
				break
			}
			m.note(line, off+int64(n-len(b)+i), junk)
			line, junk = line[:0], false
			b = b[i+1:]
		}
		off += int64(n)
		if err != nil || n == 0 {
			break
		}
		if len(line) > MaxBody {
			line, junk = line[:0], true
		}
		if off == m.end {
			m.note(line, m.end, junk) // cut before its newline
		}
	}
	return m.lines
}

// note records possible entries in a line that ends at end. After other bytes, such as a
// header, the entry may begin a little later; a header whose checksum contains a newline
// leaves at most three of its bytes.
func (m *Salvager) note(line []byte, end int64, junk bool) {
	most := 4
	if junk {
		most = BatchHeaderSize
	}
	for i, c := range line[:min(len(line), most)] {
		if i == 0 || c == '{' || c == '[' || c == 'n' {
			m.lines[Sum(line[i:])] = place{end - int64(len(line)-i), len(line) - i}
		}
	}
}

// lastForeign returns the place of the last byte in b that never occurs in canonical
// JSON, or -1: control characters are escaped there, and the others do not occur in
// UTF-8.
func lastForeign(b []byte) int {
	for i := len(b) - 1; i >= 0; i-- {
		if c := b[i]; c < ' ' || c >= 0xf5 || c == 0xc0 || c == 0xc1 {
			return i
		}
	}
	return -1
}
