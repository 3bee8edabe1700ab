package message

import (
	"cmp"
	"errors"
	"fmt"

	"tcp-log-server/appends"
	"tcp-log-server/canonical"
)

// Terms are what a write asks for besides being stored, by its members "entries", "if", "once"
// and "receipt". In other messages the last three are ignored.
//
// The methods may be called on nil, which stands for a write without these members.
type Terms struct {
	Count   int  // of the entries in "entries"; 0 for a write with "entry"
	Receipt bool // the reply includes the hash and time
	on      appends.Condition
}

// Plain reports whether a write asks only to be stored.
func (t *Terms) Plain() bool {
	return t == nil || t.Count == 0 && !t.Receipt && t.on.Kind == appends.Always
}

// Alone reports whether a write needs its own append.
func (t *Terms) Alone() bool { return t != nil && (t.Count > 0 || t.on.Kind == appends.Expect) }

// Condition returns the condition of a write.
func (t *Terms) Condition() (on appends.Condition) {
	if t != nil {
		on = t.on
	}
	return on
}

// terms are the Terms of the message that is being parsed.
type terms struct {
	Terms
	come    come // the members that have occurred
	expects bool // "if" has a value, head
	once    bool
	head    uint64
	batch   string // what is wrong with "entries"
	fault   string // the first error in any of the others
}

// come is a set of members.
type come uint8

const (
	comeEntries come = 1 << iota
	comeIf
	comeOnce
	comeReceipt
)

// has notes that the member has occurred, and reports whether it had occurred before.
func (p *parser) has(m come) (t *terms, twice bool) {
	if p.terms == nil {
		p.terms = new(terms)
	}
	t = p.terms
	twice = t.come&m != 0
	t.come |= m
	return t, twice
}

// batched reports whether the message has "entries".
func (p *parser) batched() bool { return p.terms != nil && p.terms.come&comeEntries != 0 }

// expect parses the value of "if".
func (p *parser) expect() error {
	t, twice := p.has(comeIf)
	text, err := p.text()
	if err == nil {
		t.head, t.expects = whole(text)
		t.check("if", twice, t.expects, text, "a whole number from 0 on")
	}
	return err
}

// flag parses the value of "once" or "receipt". False is treated as absent.
func (p *parser) flag(m come, name string, flag func(t *terms) *bool) error {
	t, twice := p.has(m)
	text, err := p.text()
	if err == nil {
		value, ok := boolean(text)
		*flag(t) = value
		t.check(name, twice, ok, text, "true or false")
	}
	return err
}

// check notes what is wrong with a member, if anything.
func (t *terms) check(name string, twice, ok bool, text []byte, want string) {
	switch {
	case twice:
		t.fault = cmp.Or(t.fault, fmt.Sprintf("%q occurs twice, want it once", name))
	case !ok:
		t.fault = cmp.Or(t.fault, fmt.Sprintf("%q is %s, want %s", name, describe(text), want))
	}
}

// write returns the Terms of a write, or what is wrong with it.
func (p *parser) write() (_ *Terms, fault string) {
	fault = p.fault(&p.id, "id", "a string that is not empty")
	t := p.terms
	if t == nil {
		return nil, cmp.Or(fault, p.fault(&p.entry, "entry", wantEntry))
	}
	batched := p.batched()
	switch {
	case fault != "":
		return nil, fault
	case batched && p.entry.seen != absent:
		return nil, `it has both "entry" and "entries", want one of them`
	case batched && t.batch != "":
		return nil, t.batch
	case !batched && p.entry.seen != good:
		return nil, p.fault(&p.entry, "entry", wantEntry)
	case t.fault != "":
		return nil, t.fault
	case t.expects && t.once:
		return nil, `it has both "if" and "once", want one of them`
	case batched && t.once:
		return nil, `it has both "entries" and "once", want one of them`
	case t.expects:
		t.on = appends.Condition{Kind: appends.Expect, Head: t.head}
	case t.once:
		t.on = appends.Condition{Kind: appends.Once}
	}
	return &t.Terms, ""
}

const wantEntry = "an object, an array or null"

// beginsEntry reports whether an entry can begin with c.
func beginsEntry(c byte) bool { return c == '{' || c == '[' || c == 'n' }

// value parses the value of "entry" and appends its canonical form.
func (p *parser) value() (err error) {
	if p.at == len(p.line) {
		return ErrNotJSON
	}
	if !beginsEntry(p.line[p.at]) {
		return p.field(&p.entry, "entry", func([]byte) bool { return false })
	}
	if p.entry.seen != absent {
		p.twice = "entry"
	}
	p.entry.seen = good
	refused, err := p.store()
	if refused != nil {
		p.refused = refused
	}
	return err
}

// store parses the next object, array or null as an entry, and appends its canonical form and
// a newline. refused says why it is not acceptable.
func (p *parser) store() (refused, err error) {
	out, n, err := canonical.Append(p.entries, p.line[p.at:])
	if err == nil {
		p.entries = append(out, '\n')
	} else if _, ok := errors.AsType[*canonical.RefusedError](err); ok {
		refused = err
	} else {
		return nil, err
	}
	p.at += n
	return refused, nil
}

// values parses the value of "entries" and appends the canonical form of each. If one is not
// acceptable, all are refused.
func (p *parser) values() error {
	t, twice := p.has(comeEntries)
	if twice {
		p.twice = "entries"
	}
	if p.at == len(p.line) || p.line[p.at] != '[' {
		text, err := p.text()
		if err == nil {
			t.batch = `"entries" is ` + describe(text) + ", want an array of entries"
		}
		return err
	}
	first, why := 0, error(nil)
	p.at++
	p.space()
	t.Count = 0
	for end := p.take(']'); !end; {
		p.space()
		refused, err := p.element(why == nil)
		if err != nil {
			return err
		}
		if t.Count++; refused != nil && why == nil {
			first, why = t.Count, refused
		}
		p.space()
		if end = p.take(']'); !end && !p.take(',') {
			return ErrNotJSON
		}
	}
	switch {
	case t.Count == 0:
		t.batch = `"entries" is an empty array, want at least one entry in it`
	case why != nil:
		p.refused = fmt.Errorf("entry %d of %d: %w", first, t.Count, why)
	}
	return nil
}

// element parses the next value in "entries" as an entry. Unless first is set, to find the
// first refused one, it need not report another kind of value.
func (p *parser) element(first bool) (refused, err error) {
	if p.at < len(p.line) && beginsEntry(p.line[p.at]) {
		return p.store()
	}
	text, err := p.text()
	if err != nil || !first {
		return nil, err
	}
	return fmt.Errorf("it is %s, want %s", describe(text), wantEntry), nil
}
