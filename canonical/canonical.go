// Package canonical writes JSON values in the one form in which a log stores
// and hashes them. A single pass checks the value, finds its end and writes its
// canonical form:
//
//	form, n, err := canonical.Append(nil, []byte(`{"b": 1.50, "a": "\u0041"} …`))
//	// form is {"a":"A","b":1.5}, n is 26
//
// # The form
//
// The form is that of RFC 8785, the JSON Canonicalization Scheme: no white
// space, members sorted by the UTF-16 code units of their names, strings with
// the fewest and shortest escapes, numbers as ECMAScript writes them (ECMA-262,
// Number::toString).
//
// RFC 8785 rounds every number to an IEEE 754 double. Here a number keeps all its
// significant digits, and ECMAScript's rules say only where the point and the exponent
// go: 9007199254740993.0 becomes 9007199254740993, 10E399 becomes 1e+400. So numbers of
// equal value have one form, and numbers of different value have different ones. For
// numbers that a double holds, the form is exactly that of RFC 8785.
//
// The canonical form of a canonical form is the same bytes.
//
// # How it works
//
// A pass walks the source by recursive descent. Text that is canonical already
// is copied in runs, each of which ends at the next white space, or the next
// escape or number to rewrite. Objects are written in source order. Those whose
// members are not sorted are recorded, and one rearrangement at the end moves
// every member to its place, so that the number of bytes copied is proportional
// to the size of the value, however deep it is nested.
//
// All functions may be called concurrently.
package canonical

import (
	"sync"
	"unsafe"

	"tcp-log-server/internal/pieces"
)

// maxDepth is how many levels arrays and objects may be nested. It bounds the
// recursion of a pass.
const maxDepth = 128

// Append appends the canonical form of the JSON value at the start of src to
// dst. It returns the extended buffer, and the length n of the value in src in
// bytes.
//
// src must start with the value itself: leading white space is a syntax error.
// Append ignores what follows the value, except that a number extends as far
// as the grammar of numbers allows, and that a digit after a leading zero is an
// error.
//
// If src does not start with a JSON value (RFC 8259), the error is a
// [*SyntaxError] and n is 0. If the value is JSON but may not be stored, the
// error is a [*RefusedError] and n is the length of the value. If a value may
// not be stored for several reasons, Append reports the one it finds first; it
// may find a duplicate name only at the end of the object. With an error, out is
// dst unchanged, but bytes between its length and its capacity may have been
// overwritten.
//
// The form is usually shorter than the value but can be longer (1e20 becomes
// 100000000000000000000). dst and src must not overlap. Append retains neither.
//
// Append takes O(n log n) time. It allocates only to extend dst, to report an
// error, and for scratch space when a value needs more than earlier ones did. In
// the worst case, a value of nothing but tiny members out of order, scratch
// takes some 30 bytes for each byte of the value. Append does not retain more
// than 1 MiB of it.
func Append(dst, src []byte) (out []byte, n int, err error) {
	return appendForm(dst, src, false)
}

// appendForm implements Append. If stored is set, it leaves numbers as they are
// that earlier versions did not rewrite.
func appendForm(dst, src []byte, stored bool) (out []byte, n int, err error) {
	p := passes.Get().(*pass)
	p.src, p.out, p.stored = src, dst, stored

	n = p.value(0, 0)
	if n >= 0 {
		p.flush(n)
		if len(p.sorts) > 0 {
			p.rearrange(len(dst))
		}
		out = p.out
	} else {
		out, n, err = dst, 0, p.err
		if _, refused := err.(*RefusedError); refused {
			// The pass stopped in the middle. Find the end of the value, and
			// whether it is JSON at all.
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
// read, or -1 with err set. When they return, out followed by
// src[copied:position] is the canonical form of what has been read, except for
// the order of members.
type pass struct {
	src    []byte
	out    []byte
	copied int   // src[:copied] is in out
	stored bool  // see appendForm
	err    error // *SyntaxError or *RefusedError

	// members are those read so far of the objects that are still open.
	members []member

	// sorts are the closed objects whose members are out of order, inner objects
	// before those around them. spans are their members, and scratch is the text
	// that they are copied from.
	sorts   []sorting
	spans   []span
	scratch []byte

	refs []ref // scratch space of sort
}

var passes = sync.Pool{New: func() any { return new(pass) }}

// release resets p and puts it back into the pool, unless its buffers are too
// large to keep.
func (p *pass) release() {
	const maxKept = 1 << 20 // bytes
	size := cap(p.members)*int(unsafe.Sizeof(member{})) +
		cap(p.sorts)*int(unsafe.Sizeof(sorting{})) +
		cap(p.spans)*int(unsafe.Sizeof(span{})) +
		cap(p.refs)*int(unsafe.Sizeof(ref{})) +
		cap(p.scratch)
	if size > maxKept {
		return
	}
	p.src, p.out, p.copied, p.err = nil, nil, 0, nil
	p.members, p.sorts, p.spans = p.members[:0], p.sorts[:0], p.spans[:0]
	passes.Put(p)
}

// flush copies what is missing of src[:pos] to out.
func (p *pass) flush(pos int) {
	p.out = pieces.Append(p.out, p.src[p.copied:pos])
	p.copied = pos
}

// replace writes text in place of src[pos:end].
func (p *pass) replace(pos, end int, text []byte) {
	p.out = append(append(p.out, p.src[p.copied:pos]...), text...)
	p.copied = end
}

// outPos returns the position in out of the byte at src[pos], unless that byte
// is replaced or dropped.
func (p *pass) outPos(pos int) int { return len(p.out) + pos - p.copied }

// syntax ends the pass: src has something else at pos than want.
func (p *pass) syntax(pos int, want string) int {
	p.err = syntaxAt(p.src, pos, want)
	return -1
}

// refuse ends the pass because of what is at pos.
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

// drop is the slow path of space, rare in compact sources.
func (p *pass) drop(pos int) int {
	end := skipSpace(p.src, pos)
	p.out = append(p.out, p.src[p.copied:pos]...)
	p.copied = end
	return end
}

// value reads the value at pos, inside depth arrays and objects.
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

// array reads the array whose bracket is at pos, at level depth.
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
