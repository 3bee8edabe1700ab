package canonical

import "unicode/utf8"

// Skip checks the grammar (RFC 8259) of the JSON value at the start of src and
// returns its length n in bytes. It is for values that are not stored, so it
// accepts any nesting, duplicate names and lone surrogates. Like [Append], it
// allows no white space before the value and ignores what follows it.
//
// The error is a [*SyntaxError], and n is 0 then. A string that is not UTF-8 is a
// syntax error.
//
// Skip takes linear time and does not recurse. Above 512 levels of nesting it
// allocates about one bit for each level.
func Skip(src []byte) (n int, err error) {
	n, syntax := skip(src, true)
	if syntax != nil {
		return 0, syntax
	}
	return n, nil
}

// skip implements Skip. It checks that strings are UTF-8 only if strict is set.
func skip(src []byte, strict bool) (int, *SyntaxError) {
	var open levels
	pos := 0
value:
	if pos >= len(src) {
		return 0, syntaxAt(src, pos, wantValue)
	}
	switch c := src[pos]; c {
	case '{':
		pos = skipSpace(src, pos+1)
		if pos < len(src) && src[pos] == '}' {
			pos++
			break
		}
		open.push(true)
		if pos >= len(src) || src[pos] != '"' {
			return 0, syntaxAt(src, pos, wantNameOrEnd)
		}
		goto name
	case '[':
		pos = skipSpace(src, pos+1)
		if pos >= len(src) {
			return 0, syntaxAt(src, pos, wantValueOrEnd)
		}
		if src[pos] == ']' {
			pos++
			break
		}
		open.push(false)
		goto value
	case '"':
		end, want := skipString(src, pos+1, strict)
		if want != "" {
			return 0, syntaxAt(src, end, want)
		}
		pos = end
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		t := scanNumber(src, pos)
		if t.want != "" {
			return 0, syntaxAt(src, t.end, t.want)
		}
		pos = t.end
	case 't', 'f', 'n':
		word := "true"
		if c == 'f' {
			word = "false"
		} else if c == 'n' {
			word = "null"
		}
		end, ok := scanLiteral(src, pos, word)
		if !ok {
			return 0, syntaxAt(src, end, word)
		}
		pos = end
	default:
		return 0, syntaxAt(src, pos, wantValue)
	}

	// A value ends at pos. Continue in the array or object around it.
	for open.depth > 0 {
		pos = skipSpace(src, pos)
		want, end := wantArrayNext, byte(']')
		if open.object() {
			want, end = wantObjectNext, '}'
		}
		if pos >= len(src) || src[pos] != ',' && src[pos] != end {
			return 0, syntaxAt(src, pos, want)
		}
		pos++
		if src[pos-1] == end {
			open.depth--
			continue
		}
		pos = skipSpace(src, pos)
		if !open.object() {
			goto value
		}
		if pos >= len(src) || src[pos] != '"' {
			return 0, syntaxAt(src, pos, wantName)
		}
		goto name
	}
	return pos, nil

name:
	end, want := skipString(src, pos+1, strict)
	if want != "" {
		return 0, syntaxAt(src, end, want)
	}
	pos = skipSpace(src, end)
	if pos >= len(src) || src[pos] != ':' {
		return 0, syntaxAt(src, pos, wantColon)
	}
	pos = skipSpace(src, pos+1)
	goto value
}

// levels is a stack of the open arrays and objects, one bit for each.
type levels struct {
	depth int
	few   [8]uint64 // the first 512 levels, without allocation
	more  []uint64  // the others
}

// word returns the word that holds the bit of a level.
func (l *levels) word(level int) *uint64 {
	if i := level / 64; i < len(l.few) {
		return &l.few[i]
	}
	return &l.more[level/64-len(l.few)]
}

// push opens an object or, if object is false, an array.
func (l *levels) push(object bool) {
	if l.depth/64 == len(l.few)+len(l.more) {
		l.more = append(l.more, 0)
	}
	word, bit := l.word(l.depth), uint64(1)<<(l.depth%64)
	*word &^= bit
	if object {
		*word |= bit
	}
	l.depth++
}

// object reports whether the innermost level is an object. There must be one.
func (l *levels) object() bool {
	top := l.depth - 1
	return *l.word(top)>>(top%64)&1 != 0
}

// skipSpace returns the position of the first byte at or after pos that is not
// white space, or len(src).
func skipSpace(src []byte, pos int) int {
	for pos < len(src) {
		switch src[pos] {
		case ' ', '\t', '\n', '\r':
			pos++
		default:
			return pos
		}
	}
	return pos
}

// scanLiteral returns the end of the word at pos. If src has something else
// there, it returns the position of the first byte that differs, and false.
func scanLiteral(src []byte, pos int, word string) (end int, ok bool) {
	if end = pos + len(word); end <= len(src) && string(src[pos:end]) == word {
		return end, true
	}
	for end = pos; end < len(src) && src[end] == word[end-pos]; {
		end++
	}
	return end, false
}

// skipString returns the end of the string whose opening quote is before pos. If
// the string is invalid, it returns the position, and what the grammar wants
// there.
func skipString(src []byte, pos int, strict bool) (end int, want string) {
	for {
		pos = scanPlain(src, pos)
		if pos >= len(src) {
			return pos, wantQuote
		}
		switch c := src[pos]; {
		case c == '"':
			return pos + 1, ""
		case c == '\\':
			if pos, want = skipEscape(src, pos); want != "" {
				return pos, want
			}
		case c >= utf8.RuneSelf && !strict:
			pos++
		case c >= utf8.RuneSelf:
			var ok bool
			if pos, ok = scanRunes(src, pos); !ok {
				if !utf8.FullRune(src[pos:]) {
					pos = len(src)
				}
				return pos, wantUTF8
			}
		default:
			return pos, wantNoControl
		}
	}
}

// skipEscape returns the end of the escape whose backslash is at pos. If the
// escape is invalid, it returns the position, and what the grammar wants there.
func skipEscape(src []byte, pos int) (end int, want string) {
	if pos++; pos >= len(src) {
		return pos, wantEscape
	}
	switch src[pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return pos + 1, ""
	case 'u':
		_, digits := hex4(src, pos+1)
		if pos += 1 + digits; digits < 4 {
			return pos, wantHex
		}
		return pos, ""
	}
	return pos, wantEscape
}
