package canonical

import (
	"cmp"
	"slices"
)

// A piece is a part of the text in out, in positions of out, together with the
// moves[movesLo:movesHi] to be made within it.
type piece struct {
	start, end       int
	movesLo, movesHi int
}

// A move is an object whose members are not in order: out[start:end] is what
// is between its braces, and is to become pieces[piecesLo:piecesHi] with
// commas between them. The moves of the objects inside are those before it in
// pass.moves, from movesLo on.
type move struct {
	start, end         int
	piecesLo, piecesHi int
	movesLo            int
}

// A ref stands for a member while an object is sorted: the one at the given
// index in source order.
type ref struct {
	key   uint64
	index int
}

// sort notes how to rearrange the object whose text out ends with, short of
// the closing brace, whose members are members[first:] in the order of the
// source, and inside which moves[firstMove:] are to be made. It reports
// whether the names are distinct.
func (p *pass) sort(first, firstMove int) bool {
	members := p.members[first:]
	mv := move{
		start:    members[0].start,
		end:      len(p.out),
		piecesLo: len(p.pieces),
		piecesHi: len(p.pieces) + len(members),
		movesLo:  firstMove,
	}
	end, movesHi := mv.end, len(p.moves)
	for i := len(members) - 1; i >= 0; i-- {
		m := &members[i]
		m.end, m.movesHi = end, movesHi
		end, movesHi = m.start-1, m.movesLo // before the comma
	}

	p.refs = p.refs[:0]
	for i := range members {
		p.refs = append(p.refs, ref{members[i].key, i})
	}
	p.sortRefs(members)

	twice := -1 // the first member that repeats a name
	for i, r := range p.refs {
		if i > 0 && (twice < 0 || r.index < twice) && p.compare(members, p.refs[i-1], r) == 0 {
			twice = r.index
		}
		p.pieces = append(p.pieces, members[r.index].piece)
	}
	if twice >= 0 {
		m := &members[twice]
		p.duplicate(m.src, p.out[m.start+1:m.nameEnd])
		return false
	}
	p.moves = append(p.moves, mv)
	return true
}

// sortRefs sorts refs by the names of the members they stand for, and equal
// names by their order in the source.
func (p *pass) sortRefs(members []member) {
	const few = 16 // up to which insertion is the fastest way
	refs := p.refs
	if len(refs) > few {
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

// compare compares the names of two members that are in out.
func (p *pass) compare(members []member, a, b ref) int {
	if a.key != b.key {
		return cmp.Compare(a.key, b.key)
	}
	x, y := &members[a.index], &members[b.index]
	return compareNames(p.out[x.start+1:x.nameEnd], p.out[y.start+1:y.nameEnd])
}

// rearrange makes the moves in out[base:].
func (p *pass) rearrange(base int) {
	p.scratch = append(p.scratch[:0], p.out[base:]...)
	for i := range p.moves {
		p.moves[i].start -= base
		p.moves[i].end -= base
	}
	for i := range p.pieces {
		p.pieces[i].start -= base
		p.pieces[i].end -= base
	}
	p.place(p.out[base:], piece{end: len(p.scratch), movesHi: len(p.moves)})
}

// place writes a piece of scratch, with the moves within it made, to the end of
// out, and returns out without it. It works from back to front because that
// way the last of several moves is the outermost.
func (p *pass) place(out []byte, pc piece) []byte {
	end := pc.end
	for movesHi := pc.movesHi; movesHi > pc.movesLo; {
		mv := &p.moves[movesHi-1]
		out = prependTo(out, p.scratch[mv.end:end])
		for i := mv.piecesHi - 1; i >= mv.piecesLo; i-- {
			out = p.place(out, p.pieces[i])
			if i > mv.piecesLo {
				out[len(out)-1] = ','
				out = out[:len(out)-1]
			}
		}
		end, movesHi = mv.start, mv.movesLo
	}
	return prependTo(out, p.scratch[pc.start:end])
}

// prependTo copies text to the end of out and returns out without it.
func prependTo(out, text []byte) []byte {
	rest := len(out) - len(text)
	copy(out[rest:], text)
	return out[:rest]
}
