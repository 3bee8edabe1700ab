package server

import (
	"encoding/json"

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

// object walks over the members of an object, of which it passes the names to member. The
// error is errNotJSON, or that of member.
func (w *walker) object(member func(name []byte) error) error {
	w.at++
	w.space()
	if w.take('}') {
		return nil
	}
	for {
		w.space()
		if w.at == len(w.line) || w.line[w.at] != '"' {
			return errNotJSON
		}
		name, err := w.text()
		if err != nil {
			return err
		}
		w.space()
		if !w.take(':') {
			return errNotJSON
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
			return errNotJSON
		}
	}
}

// unescape undoes the escapes in a name, which hardly any client uses.
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
