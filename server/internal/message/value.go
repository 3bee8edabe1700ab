package message

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"tcp-log-server/canonical"
)

// walker walks over the values of one line.
type walker struct {
	line []byte
	at   int
}

func (w *walker) space() {
	for w.at < len(w.line) {
		switch w.line[w.at] {
		case ' ', '\t', '\r', '\n':
			w.at++
		default:
			return
		}
	}
}

// take steps over c if it comes next.
func (w *walker) take(c byte) bool {
	if w.at < len(w.line) && w.line[w.at] == c {
		w.at++
		return true
	}
	return false
}

// skip steps over a value.
func (w *walker) skip() error {
	n, err := canonical.Skip(w.line[w.at:])
	w.at += n
	return err
}

// text steps over a value and returns it.
func (w *walker) text() ([]byte, error) {
	start := w.at
	err := w.skip()
	return w.line[start:w.at], err
}

// object walks over the members of an object, passing their names to member. The error is
// ErrNotJSON, or that of member.
func (w *walker) object(member func(name []byte) error) error {
	w.at++
	w.space()
	if w.take('}') {
		return nil
	}
	for {
		w.space()
		if w.at == len(w.line) || w.line[w.at] != '"' {
			return ErrNotJSON
		}
		name, err := w.text()
		if err != nil {
			return err
		}
		w.space()
		if !w.take(':') {
			return ErrNotJSON
		}
		w.space()
		if err := member(name); err != nil {
			return err
		}
		w.space()
		if w.take('}') {
			return nil
		}
		if !w.take(',') {
			return ErrNotJSON
		}
	}
}

// unescape decodes the escapes in a name, which hardly any client uses.
func unescape(name []byte) []byte {
	for _, c := range name {
		if c == '\\' {
			var s string
			if err := json.Unmarshal(name, &s); err != nil {
				return name
			}
			return []byte(`"` + s + `"`)
		}
	}
	return name
}

// describe describes a JSON value: a short number as it is written, other values by their
// kind.
func describe(value []byte) string {
	switch c := value[0]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case string(value) == `""`:
		return "an empty string"
	case c == '"':
		return "a string"
	case len(value) > 40:
		return "a number of many digits"
	}
	return string(value)
}

// positive parses a whole number of at least 1.
func positive(text []byte) (n uint64, ok bool) {
	n, ok = whole(text)
	return n, ok && n > 0
}

// whole parses a whole number of at least 0, however it is written. A number beyond the
// greatest index counts as the greatest, which no log reaches.
func whole(text []byte) (n uint64, ok bool) {
	if c := text[0]; c != '-' && (c < '0' || c > '9') {
		return 0, false
	}
	// In canonical form a whole number below 1e21 has only digits, and -0 is 0.
	form, _, err := canonical.Append(nil, text)
	if err != nil || form[0] == '-' {
		return 0, false
	}
	digits, exponent, large := strings.Cut(string(form), "e+")
	if large {
		_, fraction, _ := strings.Cut(digits, ".")
		e, err := strconv.Atoi(exponent)
		return math.MaxInt64, err != nil || len(fraction) <= e
	}
	n, err = strconv.ParseUint(digits, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64, true
	}
	return n, err == nil
}

// boolean parses true or false.
func boolean(text []byte) (value, ok bool) {
	return string(text) == "true", string(text) == "true" || string(text) == "false"
}

// instant parses an RFC 3339 time in a JSON string, and returns the first microsecond since
// 1970 UTC that is not before it.
func instant(text []byte) (at int64, ok bool) {
	var s string
	var t time.Time
	if json.Unmarshal(text, &s) != nil || t.UnmarshalText([]byte(strings.ToUpper(s))) != nil {
		return 0, false
	}
	at = t.UnixMicro()
	if t.Nanosecond()%1000 > 0 {
		at++
	}
	return at, true
}
