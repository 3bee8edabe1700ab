// Package message parses client messages: one line is one message, as docs/PROTOCOL.md describes.
// It determines what a line asks for, or what is wrong with it, and puts the entries of a write
// into canonical form. It knows neither connections nor logs: package server decides whether a
// message is allowed, and acts on it.
package message

import (
	"bytes"
	"errors"
	"fmt"
)

// Kind is what a message asks for.
type Kind int

const (
	Invalid Kind = iota // JSON, but not a message
	Write
	Read
	Token // admits a peer, if it comes first
	Stat
	// Messages between copies of a log.
	Replicate // makes the connection a replication stream
	Durable   // how far the stream's replica is on disk
	Digest    // of a range of entries
)

// MaxID is the longest id, in bytes of JSON text: the server keeps it until it has replied.
const MaxID = 64 << 10

// Message is one line from a client.
type Message struct {
	Kind Kind
	// ID is the JSON text of the id as the client wrote it, for the reply; nil if there is none
	// that can be repeated. The id of a write is a string, with its quotes.
	ID []byte
	// Refused is why the entries of a write are not acceptable, nil if they are.
	Refused error
	// Terms are what a write asks for besides being stored, nil if nothing.
	Terms *Terms
	// Fault is why the message is invalid, for the peer.
	Fault string
	// Query is what a read asks for.
	Query *Query
	// Token is the JSON text of the token.
	Token []byte
	// Copy is the content of a message between copies.
	Copy *Copy
}

var (
	// ErrNotJSON: the line is not one JSON value.
	ErrNotJSON = errors.New("invalid JSON")
	// errMark wraps ErrNotJSON.
	errMark = fmt.Errorf("%w: the line begins with a byte order mark, want none", ErrNotJSON)
)

// Parse parses one line, without its newline. For a write, it appends the canonical form of each
// entry and a newline to entries; otherwise it returns entries unchanged. The message refers to
// the bytes of line. The error wraps ErrNotJSON.
func Parse(line, entries []byte) (m Message, out []byte, err error) {
	p := parser{walker: walker{line: line}, entries: entries}
	p.space()
	start := p.at
	switch {
	case start == len(line):
		return m, entries, ErrNotJSON
	case line[start] != '{':
		// Any other JSON is not a message, but no reason to disconnect.
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
		return m, entries, ErrNotJSON
	}
	if line[start] != '{' {
		m.Fault = "invalid message: it is " + describe(line[start:end]) + ", want an object"
		return m, entries, nil
	}
	m = p.message()
	if m.Kind != Write || m.Refused != nil {
		p.entries = entries
	}
	return m, p.entries, nil
}

// seen is the state of a member.
type seen int

const (
	absent seen = iota
	good
	bad // its value is not valid for a message
)

// field is a member with a meaning.
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
	twice                              string   // the name of a field that occurred twice
	terms                              *terms   // of a write; nil if there are none
	options                            *options // of a read; nil if there are none
	copies                             *copies  // of a copy; nil if there are none
}

// member parses the value of the member with the given name, a JSON string.
func (p *parser) member(name []byte) error {
	switch string(unescape(name)) {
	case `"id"`:
		return p.field(&p.id, "id", func(text []byte) bool {
			return len(text) > 2 && text[0] == '"' && len(text) <= MaxID
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
		return p.flag(comeReceipt, "receipt", func(t *terms) *bool { return &t.Receipt })
	case `"from"`:
		return p.field(&p.from, "from", func(text []byte) (ok bool) { p.first, ok = positive(text); return ok })
	case `"read"`:
		return p.field(&p.read, "read", func(text []byte) (ok bool) { p.count, ok = positive(text); return ok })
	case `"token"`:
		return p.field(&p.token, "token", func(text []byte) bool { return len(text) > 0 && text[0] == '"' })
	case `"stat"`:
		return p.field(&p.stat, "stat", func(text []byte) bool { return string(text) == "true" })
	case `"digest"`:
		return p.copied(copyDigest)
	case `"durable"`:
		return p.copied(copyDurable)
	case `"replicate"`:
		return p.copied(copyReplicate)
	}
	return p.option(name)
}

// field parses the value of f. ok says whether it is valid for a message.
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

// message returns the message made up by the members.
func (p *parser) message() Message {
	m := Message{Refused: p.refused, Token: p.token.text}
	if p.twice != "id" && len(p.id.text) <= MaxID {
		m.ID = p.id.text
	}
	switch {
	case p.twice != "":
		m.Fault = fmt.Sprintf("%q occurs twice, want it once", p.twice)
	case p.entry.seen != absent && p.from.seen != absent:
		m.Fault = `it has both "entry" and "from", want one of them`
	case p.batched() && p.from.seen != absent:
		m.Fault = `it has both "entries" and "from", want one of them`
	case p.entry.seen != absent || p.batched() || p.id.seen != absent && !p.begins():
		m.Kind = Write
		m.Terms, m.Fault = p.write()
	case p.begins() || p.read.seen != absent:
		m.Kind = Read
		m.Query, m.Fault = p.query()
	case p.token.seen != absent && p.stat.seen != absent:
		m.Fault = `it has both "token" and "stat", want one of them`
	case p.token.seen != absent:
		m.Kind, m.Fault = Token, p.fault(&p.token, "token", "a string")
	case p.stat.seen != absent:
		m.Kind, m.Fault = Stat, p.fault(&p.stat, "stat", "true")
	case p.copies != nil:
		m.Kind, m.Copy, m.Fault = p.copy()
	default:
		m.Fault = `it has no member "digest", "durable", "entries", "entry", "from", "last", "replicate", "since", "stat" or "token"`
	}
	if m.Fault == "" {
		return m
	}
	m.Kind, m.Fault = Invalid, "invalid message: "+m.Fault
	if isRead := p.begins() && p.entry.seen == absent && !p.batched(); m.ID != nil && !isRead {
		m.Fault = "not stored: " + m.Fault
	}
	return m
}

// fault returns what is wrong with the field of that name, "" if nothing is.
func (p *parser) fault(f *field, name, want string) string {
	switch {
	case f.seen == good:
		return ""
	case f.seen == absent:
		return fmt.Sprintf("%q is missing, want %s", name, want)
	case f == &p.id && len(f.text) > MaxID:
		return fmt.Sprintf("%q is %d bytes long, over the limit of %d; it begins %.40s", name, len(f.text), MaxID, f.text)
	}
	return fmt.Sprintf("%q is %s, want %s", name, describe(f.text), want)
}

// LeadingID finds the id in the beginning of a write that is too long to be received, and returns
// it as JSON text, or nil. It refers to the bytes of start.
func LeadingID(start []byte) (id []byte) {
	w := walker{line: start}
	w.space()
	if w.at == len(start) || start[w.at] != '{' {
		return nil
	}
	w.object(func(name []byte) error {
		value, err := w.text()
		if err == nil && string(unescape(name)) == `"id"` && len(value) <= MaxID {
			id, err = value, errFound
		}
		return err
	})
	return id
}

// errFound ends the walk over an object.
var errFound = errors.New("found")
