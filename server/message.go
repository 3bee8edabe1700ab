package server

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"tcp-log-server/canonical"
)

// kind is what a line of a client asks for.
type kind int

const (
	invalid kind = iota // JSON, but not a message
	write
	read
	token // admits a peer, if it comes first
	stat
)

// message is one line of a client.
type message struct {
	kind kind
	// id is the JSON text of the id, quotes included, as the client wrote it.
	id []byte
	// refused is why the entry of a write is not acceptable, nil if it is.
	refused error
	// from is the first index of a read; count is the most entries it wants, 0 for all there
	// will ever be.
	from, count uint64
}

// errNotJSON: the line is not one JSON value.
var errNotJSON = errors.New("invalid JSON")

// parse parses one line, without its newline. It appends the canonical form of a write's
// entry and a newline to entries, and returns entries unchanged for anything else. The
// message refers to the bytes of line. The error is errNotJSON.
func parse(line, entries []byte) (m message, out []byte, err error) {
	p := parser{line: line, entries: entries, start: len(entries)}
	p.space()
	switch {
	case p.at == len(line):
		return m, entries, errNotJSON
	case line[p.at] != '{':
		// Any other JSON is not a message, but no reason to hang up.
		err = p.skip()
	default:
		err = p.object(p.member)
	}
	p.space()
	if err != nil || p.at != len(line) {
		return m, entries, errNotJSON
	}
	m = p.message()
	if m.kind != write || m.refused != nil {
		p.entries = p.entries[:p.start]
	}
	return m, p.entries, nil
}

// seen is the state of a member: absent, good, or bad, with a value that makes the message
// invalid, or repeated.
type seen int

const (
	absent seen = iota
	good
	bad
)

// parser walks over one line.
type parser struct {
	line    []byte
	at      int
	entries []byte
	start   int

	id, entry, from, read, token, stat seen
	m                                  message
}

func (p *parser) space() {
	for p.at < len(p.line) {
		switch p.line[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// take steps over c if it comes next.
func (p *parser) take(c byte) bool {
	if p.at < len(p.line) && p.line[p.at] == c {
		p.at++
		return true
	}
	return false
}

// skip steps over a value.
func (p *parser) skip() error {
	n, err := canonical.Skip(p.line[p.at:])
	p.at += n
	return err
}

// text steps over a value and returns it.
func (p *parser) text() ([]byte, error) {
	start := p.at
	err := p.skip()
	return p.line[start:p.at], err
}

// object walks over the members of an object, of which it passes the names to member. The
// error is errNotJSON, or that of member.
func (p *parser) object(member func(name []byte) error) error {
	p.at++
	p.space()
	if p.take('}') {
		return nil
	}
	for {
		p.space()
		if p.at == len(p.line) || p.line[p.at] != '"' {
			return errNotJSON
		}
		name, err := p.text()
		if err != nil {
			return err
		}
		p.space()
		if !p.take(':') {
			return errNotJSON
		}
		p.space()
		if err := member(name); err != nil {
			return err
		}
		p.space()
		if p.take('}') {
			return nil
		}
		if !p.take(',') {
			return errNotJSON
		}
	}
}

// member parses the value of the member with the given name, a JSON string.
func (p *parser) member(name []byte) error {
	switch string(unescape(name)) {
	case `"id"`:
		text, err := p.text()
		p.m.id = text
		p.id = once(p.id, len(text) > 2 && text[0] == '"')
		return err
	case `"entry"`:
		return p.value()
	case `"from"`:
		text, err := p.text()
		n, ok := positive(text)
		p.m.from = n
		p.from = once(p.from, ok)
		return err
	case `"read"`:
		text, err := p.text()
		n, ok := positive(text)
		p.m.count = n
		p.read = once(p.read, ok)
		return err
	case `"token"`:
		text, err := p.text()
		p.token = once(p.token, len(text) > 0 && text[0] == '"')
		return err
	case `"stat"`:
		text, err := p.text()
		p.stat = once(p.stat, string(text) == "true")
		return err
	}
	return p.skip()
}

// value parses the entry and appends its canonical form.
func (p *parser) value() error {
	if p.at == len(p.line) {
		return errNotJSON
	}
	if c := p.line[p.at]; c != '{' && c != '[' && c != 'n' {
		p.entry = bad
		return p.skip()
	}
	p.entry = once(p.entry, true)
	out, n, err := canonical.Append(p.entries, p.line[p.at:])
	if err == nil {
		p.entries = append(out, '\n')
	} else if p.m.refused = refusedBy(err); p.m.refused == nil {
		return err
	}
	p.at += n
	return nil
}

// refusedBy returns err if it says that a value is not acceptable, else nil.
func refusedBy(err error) error {
	if _, ok := errors.AsType[*canonical.RefusedError](err); ok {
		return err
	}
	return nil
}

// message returns the message that the members make together.
func (p *parser) message() message {
	m := p.m
	switch {
	case p.id == good && p.entry == good && p.from == absent:
		m.kind = write
	case p.from == good && p.entry == absent && p.read != bad:
		m.kind = read
	case p.id != absent || p.entry != absent || p.from != absent || p.read != absent:
		m.kind = invalid
	case p.token == good && p.stat == absent:
		m.kind = token
	case p.stat == good && p.token == absent:
		m.kind = stat
	default:
		m.kind = invalid
	}
	return m
}

// once returns the new state of a member in state was that now comes with a value: a member
// that comes twice has no single meaning.
func once(was seen, ok bool) seen {
	if was == absent && ok {
		return good
	}
	return bad
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

// positive parses a positive whole number, however it is written. A number beyond the
// greatest index counts as the greatest, which no log reaches.
func positive(text []byte) (uint64, bool) {
	if n, err := strconv.ParseUint(string(text), 10, 63); err == nil {
		return n, n > 0
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if len(text) == 0 || text[0] < '0' || text[0] > '9' || (err != nil && !math.IsInf(f, 1)) || f < 1 || f != math.Trunc(f) {
		return 0, false
	}
	if f >= math.MaxInt64 {
		return math.MaxInt64, true
	}
	return uint64(f), true
}

// leadingID finds the id in the beginning of a write that is too long to be received, and
// returns it as JSON text, or nil.
func leadingID(start []byte) (id []byte) {
	p := parser{line: start}
	p.space()
	if p.at == len(start) || start[p.at] != '{' {
		return nil
	}
	p.object(func(name []byte) error {
		value, err := p.text()
		if err == nil && string(unescape(name)) == `"id"` && len(value) > 2 && value[0] == '"' {
			id, err = value, errFound
		}
		return err
	})
	return id
}

// errFound ends the walk over an object.
var errFound = errors.New("found")
