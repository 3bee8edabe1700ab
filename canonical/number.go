package canonical

// maxPlain is how many digits ECMAScript writes before the point. A larger
// number gets an exponent.
const maxPlain = 21

// number reads the number at pos, where there is a minus or a digit. Nearly all
// numbers are canonical as they are.
func (p *pass) number(pos int) int {
	src := p.src
	t := scanNumber(src, pos)
	if t.want != "" {
		return p.syntax(t.end, t.want)
	}
	zero := src[t.digits] == '0' // the integer part is 0
	if t.intEnd-t.digits <= maxPlain {
		switch t.end {
		case t.intEnd:
			if !zero || t.digits == pos {
				return t.end
			}
		case t.fracEnd:
			if src[t.end-1] != '0' && (!zero || !startsWithZeros(src[t.intEnd+1:t.end])) {
				return t.end
			}
		}
	}
	if p.stored && !heldByDouble(src[pos:t.end]) {
		return t.end
	}
	p.flush(pos)
	p.out = appendNumber(p.out, src, pos, t)
	p.copied = t.end
	return t.end
}

// startsWithZeros reports whether a fraction starts with six zeros. If it does,
// a number whose integer part is 0 needs an exponent.
func startsWithZeros(frac []byte) bool {
	const zeros = "000000"
	return len(frac) > len(zeros) && string(frac[:len(zeros)]) == zeros
}

// A numberText holds the positions of the parts of a number. Missing parts are
// empty.
type numberText struct {
	digits  int    // start of the integer part, after the minus
	intEnd  int    // end of the integer part; the point is here
	fracEnd int    // end of the fraction; the e is here
	end     int    // end of the exponent, or where the grammar is broken
	want    string // what the grammar wants at end, "" if the number is complete
}

// scanNumber finds the parts of the number at pos (RFC 8259, section 6).
func scanNumber(src []byte, pos int) (t numberText) {
	if pos < len(src) && src[pos] == '-' {
		pos++
	}
	t.digits = pos
	t.intEnd = skipDigits(src, pos)
	t.fracEnd, t.end = t.intEnd, t.intEnd
	if t.intEnd == pos {
		t.want = wantDigit
		return t
	}
	if src[pos] == '0' && t.intEnd > pos+1 {
		t.end, t.want = pos+1, wantNoZeroFirst
		return t
	}
	if t.end < len(src) && src[t.end] == '.' {
		t.end = skipDigits(src, t.intEnd+1)
		t.fracEnd = t.end
		if t.end == t.intEnd+1 {
			t.want = wantDigit
			return t
		}
	}
	if t.end < len(src) && src[t.end]|0x20 == 'e' {
		t.end++
		if t.end < len(src) && (src[t.end] == '+' || src[t.end] == '-') {
			t.end++
		}
		start := t.end
		if t.end = skipDigits(src, start); t.end == start {
			t.want = wantDigit
		}
	}
	return t
}

// skipDigits returns the position of the first byte at or after pos that is not
// a digit, or len(src).
func skipDigits(src []byte, pos int) int {
	for pos < len(src) && src[pos]-'0' <= 9 {
		pos++
	}
	return pos
}
