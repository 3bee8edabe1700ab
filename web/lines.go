package web

import (
	"bytes"
	"strconv"
)

// lineSink receives lines.
type lineSink interface {
	// lines receives one or more complete lines.
	lines(b []byte) error
	// begin receives the first bytes of a line, at least longBegin.
	begin(b []byte) error
	// more receives the next part of that line, through its newline if end is set.
	more(b []byte, end bool) error
}

// longBegin is how many bytes of a line show its kind: they include everything before its entry.
const longBegin = 256

// lineSplitter splits a stream of pieces into lines, so that a sink sees the beginning of each.
type lineSplitter struct {
	to   lineSink
	part []byte // an incomplete line, shorter than longBegin
	long bool   // the sink has received the beginning of a line
}

// write receives the next piece. open says that the sink waits for the rest of a line.
func (s *lineSplitter) write(b []byte) (open bool, err error) {
	if s.long || len(s.part) > 0 {
		n := bytes.IndexByte(b, '\n') + 1
		end := n > 0
		if !end {
			n = len(b)
		}
		if err := s.complete(b[:n], end); err != nil {
			return false, err
		}
		b = b[n:]
	}
	if n := bytes.LastIndexByte(b, '\n') + 1; n > 0 {
		if err := s.to.lines(b[:n]); err != nil {
			return false, err
		}
		b = b[n:]
	}
	switch {
	case len(b) >= longBegin:
		s.long = true
		err = s.to.begin(b)
	case len(b) > 0:
		s.part = append(s.part, b...)
	}
	return s.open(), err
}

// open reports whether a line has begun and not ended.
func (s *lineSplitter) open() bool { return s.long || len(s.part) > 0 }

// complete continues a line that has begun.
func (s *lineSplitter) complete(b []byte, end bool) error {
	if s.long {
		s.long = !end
		return s.to.more(b, end)
	}
	s.part = append(s.part, b...)
	part := s.part
	switch {
	case end:
		s.part = nil
		return s.to.lines(part)
	case len(part) >= longBegin:
		s.part, s.long = nil, true
		return s.to.begin(part)
	}
	return nil
}

// The beginnings of lines.
var (
	indexPrefix = []byte(`{"index":`)
	errorPrefix = []byte(`{"error":`)
	headPrefix  = []byte(`{"head":`)
	currentLine = []byte("{\"current\":true}\n")
)

// lineIndex returns the index in the line that b begins with, and the rest after it. The index is 0
// if the line has none.
func lineIndex(b []byte) (index uint64, rest []byte) {
	if !bytes.HasPrefix(b, indexPrefix) {
		return 0, b
	}
	rest = b[len(indexPrefix):]
	for len(rest) > 0 && rest[0]-'0' <= 9 {
		index = index*10 + uint64(rest[0]-'0')
		rest = rest[1:]
	}
	return index, rest
}

// isDamaged reports whether the rest of a line, after its index, says that the entry is unreadable.
func isDamaged(rest []byte) bool { return bytes.HasPrefix(rest, []byte(`,"error":`)) }

// lastLine returns the offset of the last line in b, which ends with a newline.
func lastLine(b []byte) int { return bytes.LastIndexByte(b[:len(b)-1], '\n') + 1 }

// appendHead appends the last line of a read.
func appendHead(dst []byte, head uint64) []byte {
	return append(strconv.AppendUint(append(dst, headPrefix...), head, 10), "}\n"...)
}
