package message

import (
	"fmt"

	"tcp-log-server/internal/where"
)

// Query is the content of a read. It begins where From or Last says, whichever is not 0, or
// else Since.
type Query struct {
	From    uint64 // an index
	Last    uint64 // how many entries before the snapshot's end
	Since   int64  // when entries were stored, in µs since 1970 UTC
	Count   uint64 // the most entries to send, 0 for no limit
	Through uint64 // the last index, 0 for none
	Scan    uint64 // the most entries to look at, 0 for no limit

	Time, Hash bool          // whether lines have these members
	Where      *where.Filter // nil for every entry
}

// The members that have a meaning only in a read, sorted by name. In other messages they are
// ignored, like all unknown members.
const (
	optionHash = iota
	optionLast
	optionScan
	optionSince
	optionThrough
	optionTime
	optionWhere
	optionCount
)

// optionNames are their names and the values that they take.
var optionNames = [optionCount]struct{ name, want string }{
	optionHash:    {"hash", "true or false"},
	optionLast:    {"last", wantIndex},
	optionScan:    {"scan", wantIndex},
	optionSince:   {"since", `a time such as "2026-11-28T09:00:00Z"`},
	optionThrough: {"through", wantIndex},
	optionTime:    {"time", "true or false"},
	optionWhere:   {"where", "an object"},
}

const wantIndex = "a whole number from 1 on"

// options are the members of a message that have a meaning only in a read.
type options [optionCount]struct {
	text  []byte // the value, as JSON text; nil if there is none
	twice bool
}

// option parses the value of a member of the given name, a JSON string, that has a meaning
// only in a read, or none at all.
func (p *parser) option(name []byte) error {
	text, err := p.text()
	if err != nil {
		return err
	}
	name = unescape(name)
	for i := range optionNames {
		if string(name[1:len(name)-1]) != optionNames[i].name {
			continue
		}
		if p.options == nil {
			p.options = new(options)
		}
		o := &p.options[i]
		o.twice = o.text != nil
		o.text = text
	}
	return nil
}

// begins reports whether the message says where a read begins. Messages that were sent with a
// token or for the status before "last" and "since" had a meaning are not reads.
func (p *parser) begins() bool {
	return p.from.seen != absent || p.options != nil && p.token.seen == absent && p.stat.seen == absent &&
		(p.options[optionLast].text != nil || p.options[optionSince].text != nil)
}

// query returns the content of a read, or what is wrong with it.
func (p *parser) query() (q *Query, fault string) {
	q = &Query{From: p.first, Count: p.count}
	o := p.options
	if o == nil {
		o = new(options)
	}
	var begins []string
	for _, b := range []struct {
		name string
		text []byte
	}{{"from", p.from.text}, {"last", o[optionLast].text}, {"since", o[optionSince].text}} {
		if b.text != nil {
			begins = append(begins, b.name)
		}
	}
	switch {
	case len(begins) > 1:
		return q, fmt.Sprintf("it has both %q and %q, want one of them", begins[0], begins[1])
	case len(begins) == 0 || p.from.seen == bad:
		return q, p.fault(&p.from, "from", wantIndex)
	case p.read.seen == bad:
		return q, p.fault(&p.read, "read", wantIndex)
	}
	for i := range o {
		if o[i].text == nil {
			continue
		}
		if o[i].twice {
			return q, fmt.Sprintf("%q occurs twice, want it once", optionNames[i].name)
		}
		if fault := q.set(i, o[i].text); fault != "" {
			return q, fault
		}
	}
	if q.Scan > 0 && q.Where == nil {
		return q, `it has "scan" without "where", want both or "read"`
	}
	return q, ""
}

// set sets an option, or returns what is wrong with its value.
func (q *Query) set(option int, text []byte) (fault string) {
	var ok bool
	found := describe(text)
	switch option {
	case optionHash:
		q.Hash, ok = boolean(text)
	case optionLast:
		q.Last, ok = positive(text)
	case optionScan:
		q.Scan, ok = positive(text)
	case optionSince:
		if q.Since, ok = instant(text); text[0] == '"' && len(text) <= 40 {
			found = string(text)
		}
	case optionThrough:
		q.Through, ok = positive(text)
	case optionTime:
		q.Time, ok = boolean(text)
	case optionWhere:
		var err error
		if q.Where, err = where.Compile(text); err != nil {
			return err.Error()
		}
		ok = true
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%q is %s, want %s", optionNames[option].name, found, optionNames[option].want)
}
