package message

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"tcp-log-server/appends"
	"tcp-log-server/canonical"
)

// NewTerms returns the Terms of writes that are parsed by ParseEntries: nil if they ask only
// to be stored.
func NewTerms(on appends.Condition, receipt bool) *Terms {
	t := &Terms{Receipt: receipt, on: on}
	if t.Plain() {
		return nil
	}
	return t
}

// ParseEntries parses text that is one entry or, if batch is true, one or more entries, with
// or without white space between them. Otherwise it works as Parse does for a write with
// these terms and without an id, except that text that is not JSON is refused like any other.
func ParseEntries(text, entries []byte, terms *Terms, batch bool) (m Message, out []byte) {
	m.Kind, m.Terms = Write, terms
	p := parser{walker: walker{line: text}, entries: entries}
	first, count := 0, 0
	p.space()
	for p.at < len(text) || count == 0 {
		start := p.at
		if count > 0 && !batch {
			m.Refused = Locate(ErrNotJSON, text, 0)
			return m, entries
		}
		refused, err := p.element(m.Refused == nil)
		if err != nil {
			m.Refused = Locate(ErrNotJSON, text, start)
			return m, entries
		}
		if count++; refused != nil && m.Refused == nil {
			first, m.Refused = count, refused
		}
		p.space()
	}
	if batch {
		t := Terms{}
		if terms != nil {
			t = *terms
		}
		t.Count = count
		m.Terms = &t
	}
	if m.Refused == nil {
		return m, p.entries
	}
	if batch {
		m.Refused = fmt.Errorf("entry %d of %d: %w", first, count, m.Refused)
	}
	return m, entries
}

// Locate returns bad, the error of text that is not JSON, with the place where the text stops
// being JSON, if that is in or after the value that begins at start.
func Locate(bad error, text []byte, start int) error {
	if bad != ErrNotJSON {
		return bad
	}
	start += len(text[start:]) - len(bytes.TrimLeft(text[start:], " \t\r\n"))
	n, err := canonical.Skip(text[start:])
	if syntax, ok := errors.AsType[*canonical.SyntaxError](err); ok {
		syntax.Offset += start
		return fmt.Errorf("%w%s", bad, strings.TrimPrefix(syntax.Error(), "not JSON"))
	}
	if rest := bytes.TrimLeft(text[start+n:], " \t\r\n"); err == nil && len(rest) > 0 {
		return fmt.Errorf("%w: unexpected data after the value, at byte %d", bad, len(text)-len(rest))
	}
	return bad
}
