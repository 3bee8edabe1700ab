package server

import (
	"bytes"
	"encoding/json"
	"strconv"

	"tcp-log-server/canonical"
)

// appendLines appends the wire lines of count entries from index first on:
//
//	{"index":N,"entry":…}
func appendLines(dst []byte, first uint64, count int, entries []byte) []byte {
	var digits [20]byte
	for range count {
		end := bytes.IndexByte(entries, '\n')
		if end < 0 {
			end = len(entries)
		}
		dst = append(dst, `{"index":`...)
		dst = append(dst, strconv.AppendUint(digits[:0], first, 10)...)
		dst = append(dst, `,"entry":`...)
		dst = append(dst, entries[:end]...)
		dst = append(dst, "}\n"...)
		entries = entries[min(end+1, len(entries)):]
		first++
	}
	return dst
}

// appendUnreadable appends the wire lines of entries that cannot be read.
func appendUnreadable(dst []byte, first uint64, count int, err error) []byte {
	for range count {
		dst = append(dst, `{"index":`...)
		dst = strconv.AppendUint(dst, first, 10)
		dst = appendError(dst, err.Error())
		first++
	}
	return dst
}

// appendRun appends the wire lines of a run that a Log has read.
func appendRun(dst []byte, first uint64, count int, entries []byte, err error) []byte {
	if err != nil {
		return appendUnreadable(dst, first, count, err)
	}
	return appendLines(dst, first, count, entries)
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

// cutLine splits b behind its first newline.
func cutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i+1], b[i+1:]
	}
	return b, nil
}
