package canonical

import (
	"bytes"
)

// A member is one member of an object. Its span runs from the opening quote of
// the name to the end of the value.
type member struct {
	span
	nameEnd int    // position in out of the closing quote of the name
	src     int    // position in src of the opening quote of the name
	key     uint64 // nameKey of the name
}

// object reads the object whose brace is at pos, at level depth.
func (p *pass) object(pos, depth int) int {
	if depth > maxDepth {
		return p.refuse(ErrTooDeep, pos)
	}
	src := p.src
	pos = p.space(pos + 1)
	if pos >= len(src) || src[pos] != '"' {
		if pos < len(src) && src[pos] == '}' {
			return pos + 1
		}
		return p.syntax(pos, wantNameOrEnd)
	}

	first, firstSort := len(p.members), len(p.sorts)
	sorted := true
	var prev []byte // the name before, while sorted is true
	var prevKey uint64
	for {
		quote, start := pos, p.outPos(pos)
		if pos = p.str(pos + 1); pos < 0 {
			return pos
		}
		var name []byte
		if p.copied <= quote {
			name = src[quote+1 : pos-1 : len(src)]
		} else { // The name was rewritten: its canonical form is in out.
			p.flush(pos)
			name = p.out[start+1 : len(p.out)-1]
		}
		key := nameKey(name)
		if sorted && key <= prevKey && len(p.members) > first {
			sorted = key == prevKey
			if sorted {
				c := compareNames(prev, name)
				if c == 0 {
					return p.duplicate(quote, name)
				}
				sorted = c < 0
			}
		}
		prev, prevKey = name, key
		m := p.addMember()
		m.start, m.nameEnd = start, start+1+len(name)
		m.sortsLo = len(p.sorts)
		m.src, m.key = quote, key

		pos = p.space(pos)
		if pos >= len(src) || src[pos] != ':' {
			return p.syntax(pos, wantColon)
		}
		pos = p.space(pos + 1)
		if pos = p.value(pos, depth); pos < 0 {
			return pos
		}
		pos = p.space(pos)
		if pos >= len(src) {
			return p.syntax(pos, wantObjectNext)
		}

		switch src[pos] {
		case ',':
			pos = p.space(pos + 1)
			if pos >= len(src) || src[pos] != '"' {
				return p.syntax(pos, wantName)
			}
		case '}':
			if !sorted {
				p.flush(pos)
				if !p.sort(first, firstSort) {
					return -1
				}
			}
			p.members = p.members[:first]
			return pos + 1
		default:
			return p.syntax(pos, wantObjectNext)
		}
	}
}

// addMember extends members by one. The caller must set all of its fields except
// end and sortsHi, which sort sets. Appending a composite literal instead would
// copy it, which takes longer than everything else about a member.
func (p *pass) addMember() *member {
	n := len(p.members)
	if n == cap(p.members) {
		p.members = grown(p.members, p.more(n, 32))
	}
	p.members = p.members[:n+1]
	return &p.members[n]
}

// more returns for how many further members, at least need, to make room when there is room
// for n. For a text of many members it counts them once: growing and copying repeatedly would
// take more time, in steps that cannot be interrupted, see package pieces.
func (p *pass) more(n, need int) int {
	const few = 1024
	if n < few {
		return max(n, need)
	}
	return max(n/4, need, bytes.Count(p.src[p.copied:], afterName)+1)
}

// afterName comes after most names; after some comes white space.
var afterName = []byte(`":`)

// grown returns s with room for n more. slices.Grow would also clear that room, in one such
// step.
func grown[T member | span](s []T, n int) []T {
	return append(make([]T, 0, len(s)+n), s...)
}

// duplicate ends the pass: name, in canonical form, occurs again at pos.
func (p *pass) duplicate(pos int, name []byte) int {
	var text []byte
	for len(name) > 0 {
		if name[0] == '\\' {
			c, width := unescape(name)
			text, name = append(text, c), name[width:]
			continue
		}
		text, name = append(text, name[0]), name[1:]
	}
	p.err = &RefusedError{Kind: ErrDuplicateMember, Offset: pos, Name: shorten(string(text))}
	return -1
}
