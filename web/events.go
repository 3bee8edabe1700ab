package web

import (
	"bytes"
	"encoding/json"
	"strconv"
	"sync"
)

// eventStream answers with server-sent events, one per line: see docs/HTTP.md.
type eventStream struct {
	*reply
}

// eventBuffers holds buffers for events. A stream has one only while it writes.
var eventBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// eventBufferMax is the size of the largest buffer that is kept.
const eventBufferMax = 1 << 20

func (s *eventStream) lines(b []byte) error {
	if err := s.start(b); err != nil {
		return err
	}
	buf := eventBuffers.Get().(*[]byte)
	out := (*buf)[:0]
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\n') + 1
		line := b[:n]
		b = b[n:]
		out = s.appendFields(out, line)
		out = append(append(out, line...), '\n')
	}
	_, err := s.w.Write(out)
	if cap(out) <= eventBufferMax {
		*buf = out
		eventBuffers.Put(buf)
	}
	return err
}

func (s *eventStream) begin(b []byte) error {
	if err := s.start(b); err != nil {
		return err
	}
	if _, err := s.w.Write(s.appendFields(nil, b)); err != nil {
		return err
	}
	_, err := s.w.Write(b)
	return err
}

func (s *eventStream) more(b []byte, end bool) error {
	if _, err := s.w.Write(b); err != nil || !end {
		return err
	}
	_, err := s.w.Write([]byte{'\n'})
	return err
}

// appendFields appends the fields of an event before its data, and the name of the data field.
func (s *eventStream) appendFields(dst, line []byte) []byte {
	index, rest := lineIndex(line)
	switch {
	case index > 0:
		dst = strconv.AppendUint(append(dst, "id: "...), index, 10)
		if isDamaged(rest) {
			dst = append(dst, "\nevent: damaged"...)
		}
		dst = append(dst, '\n')
	default:
		name := eventName(line)
		s.done = s.done || name == "head"
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	return append(dst, "data: "...)
}

// eventName returns the name of an event that is not an entry: the line's first member.
func eventName(line []byte) string {
	for _, name := range []string{"current", "at", "head", "error"} {
		if bytes.HasPrefix(line, []byte(`{"`+name+`":`)) {
			return name
		}
	}
	return "message"
}

// comment sends a sign of life.
func (s *eventStream) comment() error {
	if s.split.open() {
		return nil
	}
	if _, err := s.w.Write([]byte(":\n\n")); err != nil {
		return err
	}
	return s.control.Flush()
}

// fail tells the client why the stream ends.
func (s *eventStream) fail(why string) {
	text, _ := json.Marshal(why) // never fails for a string
	s.w.Write(append(append([]byte("event: error\ndata: {\"error\":"), text...), "}\n\n"...))
	s.control.Flush()
}
