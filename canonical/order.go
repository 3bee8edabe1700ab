package canonical

import (
	"cmp"
	"slices"

	"tcp-log-server/internal/pieces"
)

// A span is the text out[start:end]. sorts[sortsLo:sortsHi] are the objects in it
// whose members are out of order.
type span struct {
	start, end       int
	sortsLo, sortsHi int
}

// A sorting is an object whose members are out of order. out[start:end] is the
// text between its braces, and spans[spansLo:spansHi] are its members in order.
// The sortings of the objects inside it come before it in pass.sorts, from
// sortsLo on.
type sorting struct {
	start, end       int
	spansLo, spansHi int
	sortsLo          int
}

// A ref refers to a member by its index in source order while an object is
// sorted.
type ref struct {
	key   uint64
	index int
}

// sort records how to sort an object: out ends with its text up to the closing
// brace, members[first:] are its members in source order, and sorts[firstSort:]
// are the objects inside it that are out of order. It reports whether the names
// are distinct.
func (p *pass) sort(first, firstSort int) bool {
	members := p.members[first:]
	s := sorting{
		start:   members[0].start,
		end:     len(p.out),
		spansLo: len(p.spans),
		spansHi: len(p.spans) + len(members),
		sortsLo: firstSort,
	}
	end, sortsHi := s.end, len(p.sorts)
	for i := len(members) - 1; i >= 0; i-- {
		m := &members[i]
		m.end, m.sortsHi = end, sortsHi
		end, sortsHi = m.start-1, m.sortsLo // before the comma
	}

	p.refs = p.refs[:0]
	if len(members) > cap(p.refs) {
		p.refs = make([]ref, 0, max(2*cap(p.refs), len(members)))
	}
	for i := range members {
		p.refs = append(p.refs, ref{members[i].key, i})
	}
	p.sortRefs(members)
	if s.spansHi > cap(p.spans) {
		p.spans = grown(p.spans, p.more(len(p.spans), len(members)))
	}

	repeated := -1 // the first member that repeats a name
	for i, r := range p.refs {
		if i > 0 && (repeated < 0 || r.index < repeated) && p.compare(members, p.refs[i-1], r) == 0 {
			repeated = r.index
		}
		p.spans = append(p.spans, members[r.index].span)
	}
	if repeated >= 0 {
		m := &members[repeated]
		p.duplicate(m.src, p.out[m.start+1:m.nameEnd])
		return false
	}
	p.sorts = append(p.sorts, s)
	return true
}

// sortRefs sorts refs by the names of their members, and equal names by their
// order in the source.
func (p *pass) sortRefs(members []member) {
	const maxInsertion = 16 // members up to which insertion sort is fastest
	refs := p.refs
	if len(refs) > maxInsertion {
		slices.SortFunc(refs, func(a, b ref) int {
			if c := p.compare(members, a, b); c != 0 {
				return c
			}
			return a.index - b.index
		})
		return
	}
	for i := 1; i < len(refs); i++ {
		r, at := refs[i], i
		for at > 0 && (r.key < refs[at-1].key ||
			r.key == refs[at-1].key && p.compare(members, r, refs[at-1]) < 0) {
			refs[at] = refs[at-1]
			at--
		}
		refs[at] = r
	}
}

// compare compares the names of two members. Both are in out.
func (p *pass) compare(members []member, a, b ref) int {
	if a.key != b.key {
		return cmp.Compare(a.key, b.key)
	}
	x, y := &members[a.index], &members[b.index]
	return compareNames(p.out[x.start+1:x.nameEnd], p.out[y.start+1:y.nameEnd])
}

// rearrange sorts the objects in out[base:] that are out of order.
func (p *pass) rearrange(base int) {
	p.scratch = pieces.Append(p.scratch[:0], p.out[base:])
	for i := range p.sorts {
		p.sorts[i].start -= base
		p.sorts[i].end -= base
	}
	for i := range p.spans {
		p.spans[i].start -= base
		p.spans[i].end -= base
	}
	p.place(p.out[base:], span{end: len(p.scratch), sortsHi: len(p.sorts)})
}

// place copies a span of scratch to the end of out, sorts the objects in it, and
// returns the rest of out. It works backwards, so that the last of several
// sortings is always the outermost.
func (p *pass) place(out []byte, text span) []byte {
	end := text.end
	for sortsHi := text.sortsHi; sortsHi > text.sortsLo; {
		s := &p.sorts[sortsHi-1]
		out = prependTo(out, p.scratch[s.end:end])
		for i := s.spansHi - 1; i >= s.spansLo; i-- {
			out = p.place(out, p.spans[i])
			if i > s.spansLo {
				out[len(out)-1] = ','
				out = out[:len(out)-1]
			}
		}
		end, sortsHi = s.start, s.sortsLo
	}
	return prependTo(out, p.scratch[text.start:end])
}

// prependTo copies text to the end of out and returns the rest of out.
func prependTo(out, text []byte) []byte {
	rest := len(out) - len(text)
	copy(out[rest:], text)
	return out[:rest]
}
