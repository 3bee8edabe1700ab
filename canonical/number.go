package canonical

// number reads the number at pos, where there is a minus or a digit.
//
// Most numbers need no arithmetic: a decimal of up to doubleDigits significant
// digits is given back by a double, so its ECMAScript form has the digits of
// the source, and the source is canonical if its layout is.
func (p *pass) number(pos int) int {
	src := p.src
	t := scanNumber(src, pos)
	if t.want != "" {
		return p.syntax(t.end, t.want)
	}
	zero := src[t.digits] == '0' // the integer part is 0
	switch t.end {
	case t.intEnd:
		if t.end-t.digits <= doubleDigits && (!zero || t.digits == pos) {
			return t.end
		}
	case t.fracEnd:
		if t.end-t.digits <= doubleDigits+len(".") && src[t.end-1] != '0' &&
			(!zero || src[t.intEnd+1] != '0') {
			return t.end
		}
	}

	d, ok := readDecimal(src, t)
	if !ok || !d.givenBack() {
		return t.end // It stays as it is written.
	}
	var buf [maxNumber]byte
	text := buf[:0]
	if src[pos] == '-' && d.count > 0 {
		text = append(text, '-')
	}
	if text = d.appendTo(text); string(text) != string(src[pos:t.end]) {
		p.replace(pos, t.end, text)
	}
	return t.end
}

// A numberText says where the parts of a number are. Those that are missing
// are empty.
type numberText struct {
	digits  int    // start of the integer part, after the minus
	intEnd  int    // end of the integer part; the point is here
	fracEnd int    // end of the fraction; the e is here
	end     int    // end of the exponent, or where the grammar is broken
	want    string // what is wanted at end, "" if the number is in order
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

// skipDigits returns the position from pos on of the first byte that is not a
// digit, or len(src).
func skipDigits(src []byte, pos int) int {
	for pos < len(src) && src[pos]-'0' <= 9 {
		pos++
	}
	return pos
}
