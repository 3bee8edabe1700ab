package canonical

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads the string whose opening quote is before pos.
func (p *pass) str(pos int) int {
	src := p.src
	for {
		pos = scanPlain(src, pos)
		if pos >= len(src) {
			return p.syntax(pos, wantQuote)
		}
		switch c := src[pos]; {
		case c == '"':
			return pos + 1
		case c == '\\':
			if pos = p.escape(pos); pos < 0 {
				return pos
			}
		case c >= utf8.RuneSelf:
			var ok bool
			if pos, ok = scanRunes(src, pos); !ok {
				return p.refuse(ErrInvalidUTF8, pos)
			}
		default:
			return p.syntax(pos, wantNoControl)
		}
	}
}

// escape reads the escape whose backslash is at pos, and rewrites it unless it is
// canonical.
func (p *pass) escape(pos int) int {
	src := p.src
	if pos+1 >= len(src) {
		return p.syntax(pos+1, wantEscape)
	}
	switch src[pos+1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		return pos + 2
	case '/':
		p.replace(pos, pos+2, src[pos+1:pos+2])
		return pos + 2
	case 'u':
	default:
		return p.syntax(pos+1, wantEscape)
	}

	r, digits := hex4(src, pos+2)
	if digits < 4 {
		return p.syntax(pos+2+digits, wantHex)
	}
	end := pos + 6
	if utf16.IsSurrogate(r) {
		if end+1 >= len(src) || src[end] != '\\' || src[end+1] != 'u' {
			return p.refuse(ErrLoneSurrogate, pos)
		}
		low, digits := hex4(src, end+2)
		if r = utf16.DecodeRune(r, low); digits < 4 || r == utf8.RuneError {
			return p.refuse(ErrLoneSurrogate, pos)
		}
		end += 6
	}
	var buf [6]byte
	if text := appendChar(buf[:0], r); string(text) != string(src[pos:end]) {
		p.replace(pos, end, text)
	}
	return end
}

// shortEscapes has, for each character, the letter of its canonical two-byte
// escape, or 0 if it has none (RFC 8785, section 3.2.2.2).
var shortEscapes = ['\\' + 1]byte{
	'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r', '"': '"', '\\': '\\',
}

// appendChar appends the canonical form of a character of a string.
func appendChar(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	if int(r) < len(shortEscapes) && shortEscapes[r] != 0 {
		return append(dst, '\\', shortEscapes[r])
	}
	if r < ' ' {
		return append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
	}
	return utf8.AppendRune(dst, r)
}

// unescape returns the character of the canonical escape at the start of text,
// and the length of the escape.
func unescape(text []byte) (c byte, width int) {
	switch c = text[1]; c {
	case 'b':
		return '\b', 2
	case 't':
		return '\t', 2
	case 'n':
		return '\n', 2
	case 'f':
		return '\f', 2
	case 'r':
		return '\r', 2
	case 'u':
		r, _ := hex4(text, 2)
		return byte(r), 6
	}
	return c, 2 // a quote or a backslash
}

// hex4 returns the value of the four hexadecimal digits at pos, and how many of
// them are present.
func hex4(src []byte, pos int) (r rune, digits int) {
	for ; digits < 4 && pos+digits < len(src); digits++ {
		c := src[pos+digits]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return r, digits
		}
		r = r<<4 | rune(c)
	}
	return r, digits
}

// scanPlain returns the position of the first byte at or after pos that is a
// quote, a backslash, a control character or not ASCII, or len(src).
func scanPlain(src []byte, pos int) int {
	for pos+8 <= len(src) {
		if m := special(binary.LittleEndian.Uint64(src[pos:])); m != 0 {
			return pos + bits.TrailingZeros64(m)/8
		}
		pos += 8
	}
	for pos < len(src) {
		if c := src[pos]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
		pos++
	}
	return pos
}

// special tests eight bytes at once. It returns a word whose lowest set bit is
// the top bit of the lowest byte that scanPlain looks for, or 0 if there is none.
//
// Subtracting n from a byte less than n sets its top bit, and a byte equals c if
// its XOR with c is less than 1. A borrow may wrongly set the top bits of higher
// bytes, but not those of lower ones.
func special(w uint64) uint64 {
	const (
		ones = 0x0101010101010101
		tops = 0x80 * ones
	)
	quote := w ^ '"'*ones
	backslash := w ^ '\\'*ones
	// A byte whose top bit is set is special anyway, so the subtractions need not
	// be right for it.
	return (w | (w - ' '*ones) | (quote - ones) | (backslash - ones)) & tops
}

// scanRunes returns the position of the first ASCII byte at or after pos, or
// len(src). If the bytes before it are not UTF-8, it returns the position of the
// first that is not, and false.
func scanRunes(src []byte, pos int) (end int, ok bool) {
	for pos < len(src) && src[pos] >= utf8.RuneSelf {
		r, width := utf8.DecodeRune(src[pos:])
		if r == utf8.RuneError && width == 1 {
			return pos, false
		}
		pos += width
	}
	return pos, true
}
