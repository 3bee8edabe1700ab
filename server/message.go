package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

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

// maxID is how long an id may be, in bytes of JSON text: the server keeps it until it has
// replied.
const maxID = 64 << 10

// message is one line of a client.
type message struct {
	kind kind
	// id is the JSON text of the id as the client wrote it, for the reply; nil where there is
	// none that can be repeated. That of a write is a string, with its quotes.
	id []byte
	// refused is why the entry of a write is not acceptable, nil if it is.
	refused error
	terms   *terms // what a write asks for besides being stored, nil for a plain write
	// fault is why the message is invalid, for the peer.
	fault string
	query *query // what a read asks for
	// token is the JSON text of the token.
	token []byte
}

var (
	// errNotJSON: the line is not one JSON value.
	errNotJSON = errors.New("invalid JSON")
	// errMark wraps errNotJSON.
	errMark = fmt.Errorf("%w: the line begins with a byte order mark, want none", errNotJSON)
)

// parse parses one line, without its newline. It appends the canonical form of a write's
// entry and a newline to entries, and returns entries unchanged for anything else. The
// message refers to the bytes of line. The error wraps errNotJSON.
func parse(line, entries []byte) (m message, out []byte, err error) {
	p := parser{walker: walker{line: line}, entries: entries}
	p.space()
	start := p.at
	switch {
	case start == len(line):
		return m, entries, errNotJSON
	case line[start] != '{':
		// Any other JSON is not a message, but no reason to hang up.
		err = p.skip()
	default:
		err = p.object(p.member)
	}
	end := p.at
	p.space()
	if err != nil || p.at != len(line) {
		if bytes.HasPrefix(line, []byte("\ufeff")) {
			return m, entries, errMark
		}
		return m, entries, errNotJSON
	}
	if line[start] != '{' {
		m.fault = "invalid message: it is " + describe(line[start:end]) + ", want an object"
		return m, entries, nil
	}
	m = p.message()
	if m.kind != write || m.refused != nil {
		p.entries = entries
	}
	return m, p.entries, nil
}

// seen is what is known of a member.
type seen int

const (
	absent seen = iota
	good
	bad // its value cannot be that of a message
)

// field is a member that means something.
type field struct {
	seen seen
	text []byte // its value, as JSON text
}

// parser parses one line.
type parser struct {
	walker
	entries []byte
	refused error // why the entry is not acceptable

	id, entry, from, read, token, stat field
	first, count                       uint64   // the numbers in from and read
	twice                              string   // the name of a field that has come twice
	terms                              *terms   // of a write; nil if there are none
	options                            *options // of a read; nil if there are none
}

// member parses the value of the member with the given name, a JSON string.
func (p *parser) member(name []byte) error {
	switch string(unescape(name)) {
	case `"id"`:
		return p.field(&p.id, "id", func(text []byte) bool {
			return len(text) > 2 && text[0] == '"' && len(text) <= maxID
		})
	case `"entry"`:
		return p.value()
	case `"entries"`:
		return p.values()
	case `"if"`:
		return p.expect()
	case `"once"`:
		return p.flag(comeOnce, "once", func(t *terms) *bool { return &t.once })
	case `"receipt"`:
		return p.flag(comeReceipt, "receipt", func(t *terms) *bool { return &t.receipt })
	case `"from"`:
		return p.field(&p.from, "from", func(text []byte) (ok bool) { p.first, ok = positive(text); return ok })
	case `"read"`:
		return p.field(&p.read, "read", func(text []byte) (ok bool) { p.count, ok = positive(text); return ok })
	case `"token"`:
		return p.field(&p.token, "token", func(text []byte) bool { return len(text) > 0 && text[0] == '"' })
	case `"stat"`:
		return p.field(&p.stat, "stat", func(text []byte) bool { return string(text) == "true" })
	}
	return p.option(name)
}

// field parses the value of f. ok says whether it can be that of a message.
func (p *parser) field(f *field, name string, ok func(text []byte) bool) error {
	text, err := p.text()
	if err != nil {
		return err
	}
	if f.seen != absent {
		p.twice = name
		return nil
	}
	f.text, f.seen = text, bad
	if ok(text) {
		f.seen = good
	}
	return nil
}

// message returns the message that the members make together.
func (p *parser) message() message {
	m := message{refused: p.refused, token: p.token.text}
	if p.twice != "id" && len(p.id.text) <= maxID {
		m.id = p.id.text
	}
	switch {
	case p.twice != "":
		m.fault = fmt.Sprintf("%q occurs twice, want it once", p.twice)
	case p.entry.seen != absent && p.from.seen != absent:
		m.fault = `it has both "entry" and "from", want one of them`
	case p.batched() && p.from.seen != absent:
		m.fault = `it has both "entries" and "from", want one of them`
	case p.entry.seen != absent || p.batched() || p.id.seen != absent && !p.begins():
		m.kind = write
		m.terms, m.fault = p.write()
	case p.begins() || p.read.seen != absent:
		m.kind = read
		m.query, m.fault = p.query()
	case p.token.seen != absent && p.stat.seen != absent:
		m.fault = `it has both "token" and "stat", want one of them`
	case p.token.seen != absent:
		m.kind, m.fault = token, p.fault(&p.token, "token", "a string")
	case p.stat.seen != absent:
		m.kind, m.fault = stat, p.fault(&p.stat, "stat", "true")
	default:
		m.fault = `it has no member "entries", "entry", "from", "last", "since", "stat" or "token"`
	}
	if m.fault == "" {
		return m
	}
	m.kind, m.fault = invalid, "invalid message: "+m.fault
	if isRead := p.begins() && p.entry.seen == absent && !p.batched(); m.id != nil && !isRead {
		m.fault = "not stored: " + m.fault
	}
	return m
}

// fault says what is wrong with the field of that name, "" if nothing is.
func (p *parser) fault(f *field, name, want string) string {
	switch {
	case f.seen == good:
		return ""
	case f.seen == absent:
		return fmt.Sprintf("%q is missing, want %s", name, want)
	case f == &p.id && len(f.text) > maxID:
		return fmt.Sprintf("%q is %d bytes long, over the limit of %d; it begins %.40s", name, len(f.text), maxID, f.text)
	}
	return fmt.Sprintf("%q is %s, want %s", name, describe(f.text), want)
}

// describe says what a JSON value is: a number that is not long as it is written, others by
// their kind.
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

// positive parses a whole number from 1 on.
func positive(text []byte) (n uint64, ok bool) {
	n, ok = whole(text)
	return n, ok && n > 0
}

// whole parses a whole number from 0 on, however it is written. A number beyond the
// greatest index counts as the greatest, which no log reaches.
func whole(text []byte) (n uint64, ok bool) {
	if c := text[0]; c != '-' && (c < '0' || c > '9') {
		return 0, false
	}
	// In its canonical form a whole number below 1e21 has digits only, and -0 is 0.
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

// leadingID finds the id in the beginning of a write that is too long to be received, and
// returns it as JSON text, or nil.
func leadingID(start []byte) (id []byte) {
	w := walker{line: start}
	w.space()
	if w.at == len(start) || start[w.at] != '{' {
		return nil
	}
	w.object(func(name []byte) error {
		value, err := w.text()
		if err == nil && string(unescape(name)) == `"id"` && len(value) <= maxID {
			id, err = value, errFound
		}
		return err
	})
	return id
}

// errFound ends the walk over an object.
var errFound = errors.New("found")

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
