package server

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

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

// appendHash appends a hash as a JSON string.
func appendHash(dst, hash []byte) []byte {
	return append(hex.AppendEncode(append(dst, '"'), hash), '"')
}

// appendTime appends a time in µs since 1970 UTC as JSON text, null for one that is not known.
func appendTime(dst []byte, at int64) []byte {
	if at == 0 {
		return append(dst, "null"...)
	}
	return time.UnixMicro(at).UTC().AppendFormat(dst, `"2006-01-02T15:04:05.000000Z"`)
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

// directories matches the directories of absolute paths in an error. A colon or a comma ends
// the path, unless more of a name follows at once.
var directories = regexp.MustCompile(`(^|[\s"'(=])/(?:[^/:,"\s](?:[^/:,"\n]|[:,][^/"\s])*/)+`)

// failures are errors of the log. Peers are told what is wrong with which file; only the
// server's own log says where that is.
type failures struct {
	logger zerolog.Logger

	mu     sync.Mutex
	logged map[string]time.Time // by the text
}

const (
	// failureAgain is after what time the same error is logged again.
	failureAgain = time.Minute
	// failuresMax is how many different errors are logged in that time.
	failuresMax = 100
)

// forPeer returns what a peer is told of err, which may be nil, and logs err if it says more.
func (f *failures) forPeer(err error) error {
	if err == nil {
		return nil
	}
	full := err.Error()
	text := directories.ReplaceAllString(full, "$1")
	if text == full {
		return err
	}
	if f.isNew(full, time.Now()) {
		f.logger.Error().Err(err).Str("event", "error").Msg("clients are told this without the directories")
	}
	return errors.New(text)
}

// isNew reports whether the error is to be logged.
func (f *failures) isNew(text string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for old, at := range f.logged {
		if now.Sub(at) > failureAgain {
			delete(f.logged, old)
		}
	}
	if _, ok := f.logged[text]; ok || len(f.logged) >= failuresMax {
		return false
	}
	if f.logged == nil {
		f.logged = make(map[string]time.Time)
	}
	f.logged[text] = now
	return true
}
