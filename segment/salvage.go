package segment

import (
	"bytes"
	"io"
)

// Salvager finds entries in the bytes of a segment in place of which whole
// batches should lie, by the hashes that the index has of them. Of what may be an
// entry it holds only the place in memory. A nil *Salvager finds nothing. Not for
// concurrent use.
type Salvager struct {
	r         io.ReaderAt
	from, end int64
	next      int64 // where the next entry begins, by the sizes of those before it; -1 if that is not known
	lines     map[Hash]place
}

// place is where in the file an entry lies.
type place struct {
	off  int64
	size int
}

// NewSalvager looks for entries in the bytes from..end of r, which should begin
// with the header of a batch. It returns nil where there is no room for any.
func NewSalvager(r io.ReaderAt, from, end int64) *Salvager {
	if end-from <= BatchHeaderSize {
		return nil
	}
	return &Salvager{r: r, from: from, end: end, next: from + BatchHeaderSize}
}

// Find returns the entry of rec. Entries are looked for in the order of their
// indices: each where the one before it ends at first, then anywhere.
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
		m.next = p.off + int64(rec.Size) + 1 // headers lie between
	}
	return m.read(p.off, rec)
}

// Skip says that nothing is known of the entry that comes next.
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

// Reach is the last of the entries from..last that is found, by the records that
// record returns: from-1 if none is. An entry counts only where as many bytes lie
// before it as those before it take: an equal one may have been appended again,
// long after these bytes were written.
func (m *Salvager) Reach(from, last uint64, record func(uint64) (Record, bool)) uint64 {
	reached := from - 1
	if m == nil {
		return reached
	}
	at := m.from + BatchHeaderSize
	for index := from; index <= last && at < m.end; index++ {
		rec, ok := record(index)
		if !ok || rec.Size == 0 {
			at += 2 // no entry is shorter
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

// scan lists what may be entries, by hash; of equal ones, the last.
func (m *Salvager) scan() map[Hash]place {
	if m.lines != nil {
		return m.lines
	}
	m.lines = map[Hash]place{}
	var line []byte // its bytes since the last one that no entry has
	junk := true    // there was one before them
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

// note takes what may be entries in a line that ends at end. After other bytes,
// such as a header, the entry may begin somewhat later; a header whose checksum
// holds a newline leaves at most three bytes of itself.
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

// lastForeign is the last byte in b that canonical JSON never has, or -1: control
// characters are escaped there, and the others do not occur in UTF-8.
func lastForeign(b []byte) int {
	for i := len(b) - 1; i >= 0; i-- {
		if c := b[i]; c < ' ' || c >= 0xf5 || c == 0xc0 || c == 0xc1 {
			return i
		}
	}
	return -1
}
