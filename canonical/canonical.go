// Package canonical brings JSON values into the one form in which they are
// stored and hashed, in a single pass that also checks them and finds their
// end.
//
// # The form
//
// It is the JSON Canonicalization Scheme of RFC 8785: no white space, members
// sorted by the UTF-16 code units of their names, strings with the fewest and
// shortest escapes, numbers as ECMAScript writes them (ECMA-262,
// Number::toString).
//
// RFC 8785 takes every number for an IEEE 754 double and so loses what a
// double cannot hold. Here a number keeps all its significant digits, and
// ECMAScript's rules say only where the point and the exponent go:
// 9007199254740993.0 becomes 9007199254740993, 10E399 becomes 1e+400. So
// numbers of equal value have one form, and numbers of different value have
// different ones. For numbers that a double holds, the form is that of RFC 8785
// to the letter.
//
// The canonical form is a fixed point: bringing it into canonical form again
// gives back the same bytes.
//
// # How it works
//
// A pass walks the source by recursive descent. It copies nothing as long as
// the source is canonical as it stands: the text since the last deviation is
// copied as one run when the next deviation comes (white space, an escape or
// number to rewrite) or at the end. Objects are written in source order; those
// whose members turn out not to be sorted are noted, and one rearrangement at
// the very end moves every member to its place, so that the bytes copied stay
// proportional to the size of the value however deep it is nested.
//
// All functions may be called concurrently.
package canonical

import (
	"sync"
	"unsafe"
)

// maxDepth is the number of levels arrays and objects may be nested. It bounds
// the recursion of a pass.
const maxDepth = 128

// Append appends to dst the canonical form of the one JSON value that src
// starts with. It returns the extended buffer and n, the length of the value in
// src in bytes.
//
// src must start with the value itself: leading white space is a syntax error.
// What follows the value is not looked at, except that a number extends as far
// as the grammar of numbers lets it, and that a digit after a leading zero is
// an error.
//
// The error is a [*SyntaxError] if src does not start with a JSON value
// (RFC 8259), n being 0; or a [*RefusedError] if the value is JSON but may not
// be stored, n still being its length. If several causes for refusal apply,
// the one reported is the one that was found first; duplicate names may be
// found only at the end of their object. With an error, out is dst as it was,
// though bytes between its length and its capacity may have been overwritten.
//
// The form is shorter than the value in most cases but can be longer (1e20
// becomes 100000000000000000000). dst and src must not overlap. Append keeps
// neither.
//
// It takes O(n log n) time. It allocates only to extend dst, to report an error,
// and for scratch where a value needs more than earlier ones did: in the worst
// case, that of nothing but tiny members out of order, some 30 bytes for each
// byte of the value. Scratch of more than 1 MiB is not kept.
func Append(dst, src []byte) (out []byte, n int, err error) {
	return appendForm(dst, src, false)
}

// appendForm is Append. If stored, it leaves the numbers alone that earlier
// versions did not rewrite.
func appendForm(dst, src []byte, stored bool) (out []byte, n int, err error) {
	p := passes.Get().(*pass)
	p.src, p.out, p.stored = src, dst, stored

	n = p.value(0, 0)
	if n >= 0 {
		p.flush(n)
		if len(p.moves) > 0 {
			p.rearrange(len(dst))
		}
		out = p.out
	} else {
		out, n, err = dst, 0, p.err
		if _, refused := err.(*RefusedError); refused {
			// The pass gave up in the middle. The end of the value is still
			// wanted, and so is to know whether it is JSON at all.
			end, syntax := skip(src, false)
			if n = end; syntax != nil {
				err = syntax
			}
		}
	}

	p.release()
	return out, n, err
}

// A pass is the state of one call of Append.
//
// Its methods take a position in src and return the position after what they
// have read, or -1 with err set. They see to it that what they have read is
// represented in canonical form by out followed by src[copied:position].
type pass struct {
	src    []byte
	out    []byte
	copied int   // src before it is represented in out
	stored bool  // see appendForm
	err    error // *SyntaxError or *RefusedError

	// members are those read so far of the objects that are not closed yet.
	members []member

	// moves are the closed objects whose members are to be rearranged, inner
	// ones before the ones around them; pieces are their members, and scratch
	// is the text they are rearranged from.
	moves   []move
	pieces  []piece
	scratch []byte

	refs []ref // scratch of sort
}

var passes = sync.Pool{New: func() any { return new(pass) }}

// release makes p ready for the next call and puts it back into the pool,
// unless its buffers have grown so much that they are better given up.
func (p *pass) release() {
	const maxKept = 1 << 20 // bytes
	size := cap(p.members)*int(unsafe.Sizeof(member{})) +
		cap(p.moves)*int(unsafe.Sizeof(move{})) +
		cap(p.pieces)*int(unsafe.Sizeof(piece{})) +
		cap(p.refs)*int(unsafe.Sizeof(ref{})) +
		cap(p.scratch)
	if size > maxKept {
		return
	}
	p.src, p.out, p.copied, p.err = nil, nil, 0, nil
	p.members, p.moves, p.pieces = p.members[:0], p.moves[:0], p.pieces[:0]
	passes.Put(p)
}

// flush brings out up to date with src[:pos].
func (p *pass) flush(pos int) {
	p.out = append(p.out, p.src[p.copied:pos]...)
	p.copied = pos
}

// replace writes text in place of src[pos:end].
func (p *pass) replace(pos, end int, text []byte) {
	p.out = append(append(p.out, p.src[p.copied:pos]...), text...)
	p.copied = end
}

// outPos returns where in out the byte will be that src has at pos, unless it
// is replaced or dropped.
func (p *pass) outPos(pos int) int { return len(p.out) + pos - p.copied }

// syntax gives up because src does not go on at pos with what is wanted.
func (p *pass) syntax(pos int, want string) int {
	p.err = syntaxAt(p.src, pos, want)
	return -1
}

// refuse gives up because of what is at pos.
func (p *pass) refuse(kind error, pos int) int {
	p.err = &RefusedError{Kind: kind, Offset: pos}
	return -1
}

// space drops the white space at pos.
func (p *pass) space(pos int) int {
	if pos < len(p.src) && p.src[pos] <= ' ' {
		return p.drop(pos)
	}
	return pos
}

// drop is the part of space that is rare in compact sources.
func (p *pass) drop(pos int) int {
	end := skipSpace(p.src, pos)
	p.out = append(p.out, p.src[p.copied:pos]...)
	p.copied = end
	return end
}

// value reads the value at pos, which depth arrays and objects are around.
func (p *pass) value(pos, depth int) int {
	if pos >= len(p.src) {
		return p.syntax(pos, wantValue)
	}
	switch p.src[pos] {
	case '"':
		return p.str(pos + 1)
	case '{':
		return p.object(pos, depth+1)
	case '[':
		return p.array(pos, depth+1)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return p.number(pos)
	case 't':
		return p.literal(pos, "true")
	case 'f':
		return p.literal(pos, "false")
	case 'n':
		return p.literal(pos, "null")
	}
	return p.syntax(pos, wantValue)
}

// literal reads word, whose first letter is at pos.
func (p *pass) literal(pos int, word string) int {
	end, ok := scanLiteral(p.src, pos, word)
	if !ok {
		return p.syntax(end, word)
	}
	return end
}

// array reads the array whose bracket is at pos and which is at level depth.
func (p *pass) array(pos, depth int) int {
	if depth > maxDepth {
		return p.refuse(ErrTooDeep, pos)
	}
	src := p.src
	pos = p.space(pos + 1)
	if pos >= len(src) {
		return p.syntax(pos, wantValueOrEnd)
	}
	if src[pos] == ']' {
		return pos + 1
	}
	for {
		if pos = p.value(pos, depth); pos < 0 {
			return pos
		}
		pos = p.space(pos)
		if pos >= len(src) {
			return p.syntax(pos, wantArrayNext)
		}
		switch src[pos] {
		case ',':
			pos = p.space(pos + 1)
		case ']':
			return pos + 1
		default:
			return p.syntax(pos, wantArrayNext)
		}
	}
}
