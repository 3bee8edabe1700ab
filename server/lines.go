package server

import (
	"bytes"
	"encoding/json"
	"strconv"

	"tcp-log-server/canonical"
)

// appendRun appends the wire lines of a run that a Log has read, count entries from index
// first on:
//
//	{"index":N,"entry":…}
//
// or {"index":N,"error":"…"} if err says that they cannot be read. It stops when dst has
// limit bytes or more, and returns how many lines it has appended, at least one, and the
// remaining entries.
func appendRun(dst []byte, first uint64, count int, entries []byte, err error, limit int) (out []byte, n int, rest []byte) {
	var digits [20]byte
	for n < count && (n == 0 || len(dst) < limit) {
		dst = append(dst, `{"index":`...)
		dst = append(dst, strconv.AppendUint(digits[:0], first+uint64(n), 10)...)
		n++
		if err != nil {
			dst = appendError(dst, err.Error())
			continue
		}
		end := bytes.IndexByte(entries, '\n')
		if end < 0 {
			end = len(entries)
		}
		dst = append(dst, `,"entry":`...)
		dst = append(dst, entries[:end]...)
		dst = append(dst, "}\n"...)
		entries = entries[min(end+1, len(entries)):]
	}
	return dst, n, entries
}

// appendString appends s as a JSON string, in its canonical form.
func appendString(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err == nil {
		dst, _, err = canonical.Append(dst, b)
	}
	if err != nil {
		return append(dst, `""`...)
	}
	return dst
}

// cutLine splits b after its first newline.
func cutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i+1], b[i+1:]
	}
	return b, nil
}

// appendError completes a line that has members already with an error and a newline.
func appendError(line []byte, text string) []byte {
	line = append(line, `,"error":`...)
	line = appendString(line, text)
	return append(line, "}\n"...)
}

// appendFault appends a line with an error for the message with the given id, JSON text, or
// nil if it has none.
func appendFault(dst, id []byte, text string) []byte {
	if len(id) > 0 {
		return appendError(append(append(dst, `{"id":`...), id...), text)
	}
	return append(appendString(append(dst, `{"error":`...), text), "}\n"...)
}
