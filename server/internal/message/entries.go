package message

import (
	"fmt"

	"tcp-log-server/appends"
)

// NewTerms returns the Terms of writes that are parsed by ParseEntries: nil if they ask for
// nothing besides being stored.
func NewTerms(on appends.Condition, receipt bool) *Terms {
	t := &Terms{Receipt: receipt, on: on}
	if t.Plain() {
		return nil
	}
	return t
}

// ParseEntries parses text that is one entry or, if batch says so, one or more entries, with
// or without white space between them. It is otherwise as Parse is for a write with these
// terms and without an id.
func ParseEntries(text, entries []byte, terms *Terms, batch bool) (m Message, out []byte, err error) {
	m.Kind, m.Terms = Write, terms
	p := parser{walker: walker{line: text}, entries: entries}
	first, count := 0, 0
	p.space()
	for p.at < len(text) || count == 0 {
		if count > 0 && !batch || p.at == len(text) {
			return m, entries, ErrNotJSON
		}
		refused, err := p.element(m.Refused == nil)
		if err != nil {
			return m, entries, ErrNotJSON
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
		return m, p.entries, nil
	}
	if batch {
		m.Refused = fmt.Errorf("entry %d of %d: %w", first, count, m.Refused)
	}
	return m, entries, nil
}
