package canonical

import "unicode/utf8"

// Skip checks the grammar of the JSON value that src starts with (RFC 8259)
// and returns its length n in bytes. It is for parts of a message that are not
// stored: it takes any nesting, equal names and lone surrogates. Like
// [Append] it wants no white space before the value and ignores what follows.
//
// The error is a [*SyntaxError], n being 0 then. Bytes of a string that are not
// UTF-8 count as one.
//
// Skip takes linear time and does not recurse; above 512 levels of nesting it
// allocates in the order of one bit for each level.
func Skip(src []byte) (n int, err error) {
	n, syntax := skip(src, true)
	if syntax != nil {
		return 0, syntax
	}
	return n, nil
}

// skip is Skip, which checks strings to be UTF-8 only if strict. It returns 0
// with an error.
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

	// A value ends at pos. Go on with what is around it.
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

// levels is a stack of the arrays and objects that are open, one bit for each.
type levels struct {
	depth int
	few   [8]uint64 // for the first levels, to do without allocation
	more  []uint64  // for those beyond
}

// word returns the word with the bit of a level that is or was open.
func (l *levels) word(level int) *uint64 {
	if i := level / 64; i < len(l.few) {
		return &l.few[i]
	}
	return &l.more[level/64-len(l.few)]
}

// push opens an object, or else an array.
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

// object reports whether what was opened last is an object. There must be
// something open.
func (l *levels) object() bool {
	top := l.depth - 1
	return *l.word(top)>>(top%64)&1 != 0
}

// skipSpace returns the position from pos on of the first byte that is not
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

// scanLiteral returns the end of word at pos; or if that is not there, the
// position of the first byte that differs, and false.
func scanLiteral(src []byte, pos int, word string) (end int, ok bool) {
	if end = pos + len(word); end <= len(src) && string(src[pos:end]) == word {
		return end, true
	}
	for end = pos; end < len(src) && src[end] == word[end-pos]; {
		end++
	}
	return end, false
}

// skipString returns the end of the string that continues at pos, after its
// opening quote; or if it is broken, where and what is wanted there.
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

// skipEscape returns the end of the escape whose backslash is at pos; or if it
// is broken, where and what is wanted there.
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
