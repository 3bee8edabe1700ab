package canonical

import "strconv"

const (
	// doubleDigits is how many significant decimal digits every double of the
	// normal range gives back (DBL_DIG of IEEE 754 binary64). No two decimals
	// of that many digits have the same nearest double, so a decimal of that
	// many digits is the shortest, and the only one as short, that its double
	// can be written as.
	doubleDigits = 15

	// maxDigits is how many significant digits the shortest decimal of a double
	// has at most.
	maxDigits = 17

	// maxNumber bounds the length of what decimal.appendTo writes and of the
	// minus: -0.00000 and 17 digits, or a number below 1e21, or one with an
	// exponent, all fit.
	maxNumber = 32
)

// A decimal is the absolute value 0.d₁d₂…d₍count₎ × 10^exp of a number, where
// neither the first nor the last digit is 0. Zero has no digits.
type decimal struct {
	digits [maxDigits]byte // as text
	count  int
	exp    int
}

// readDecimal returns the value of a number. It reports false if that has more
// than maxDigits significant digits.
func readDecimal(src []byte, t numberText) (d decimal, ok bool) {
	zeros := 0 // since the last digit that is not 0
	point := t.intEnd - t.digits
	for i := t.digits; i < t.fracEnd; i++ {
		switch c := src[i]; c {
		case '.':
		case '0':
			if d.count == 0 {
				point-- // a leading zero
			} else {
				zeros++
			}
		default:
			if d.count+zeros >= maxDigits {
				return d, false
			}
			for ; zeros > 0; zeros-- {
				d.digits[d.count] = '0'
				d.count++
			}
			d.digits[d.count] = c
			d.count++
		}
	}
	if d.count > 0 {
		d.exp = point + readExponent(src[t.fracEnd:t.end])
	}
	return d, true
}

// readExponent returns the value of the exponent of a number, from the e on.
// Values too large to be made up for by the length of any source are cut down
// to one that still is.
func readExponent(text []byte) int {
	const enough = 1 << 50
	if len(text) == 0 {
		return 0
	}
	text = text[1:]
	negative := text[0] == '-'
	if text[0] == '-' || text[0] == '+' {
		text = text[1:]
	}
	e := 0
	for _, c := range text {
		if e = 10*e + int(c-'0'); e > enough {
			e = enough
		}
	}
	if negative {
		return -e
	}
	return e
}

// givenBack reports whether the double nearest to d is written by ECMAScript
// with the value of d. Since ECMAScript writes the shortest decimal that has
// that double as its nearest, this is so if and only if d is that decimal.
func (d *decimal) givenBack() bool {
	// The range of the doubles is 5e-324 to 1.8e308, that of the normal ones,
	// which have all the precision, starts at 2.2e-308.
	if d.count == 0 {
		return true
	}
	if d.exp < -330 || d.exp > 310 {
		return false
	}
	if d.count <= doubleDigits && -306 <= d.exp && d.exp <= 308 {
		return true
	}
	if d.count == 16 && d.exp == 16 && string(d.digits[:d.count]) <= "9007199254740992" {
		return true // An integer up to 2^53 is a double, at least 1 from its like.
	}

	var buf, back [maxNumber]byte
	text := append(buf[:0], d.digits[:d.count]...)
	text = append(text, 'e')
	text = strconv.AppendInt(text, int64(d.exp-d.count), 10)
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil { // beyond all doubles
		return false
	}
	shortest := strconv.AppendFloat(back[:0], f, 'e', -1, 64)
	b, ok := readDecimal(shortest, scanNumber(shortest, 0))
	return ok && b == *d
}

// appendTo appends d as ECMAScript writes numbers (ECMA-262,
// Number::toString; n and k are the names used there).
func (d *decimal) appendTo(dst []byte) []byte {
	digits, k, n := d.digits[:d.count], d.count, d.exp
	switch {
	case k == 0:
		return append(dst, '0')
	case k <= n && n <= 21:
		dst = append(dst, digits...)
		return appendZeros(dst, n-k)
	case 0 < n && n <= 21:
		dst = append(dst, digits[:n]...)
		dst = append(dst, '.')
		return append(dst, digits[n:]...)
	case -6 < n && n <= 0:
		dst = append(dst, '0', '.')
		dst = appendZeros(dst, -n)
		return append(dst, digits...)
	}
	dst = append(dst, digits[0])
	if k > 1 {
		dst = append(dst, '.')
		dst = append(dst, digits[1:]...)
	}
	dst = append(dst, 'e')
	if n > 0 {
		dst = append(dst, '+')
	}
	return strconv.AppendInt(dst, int64(n-1), 10)
}

// appendZeros appends n zeros.
func appendZeros(dst []byte, n int) []byte {
	for ; n > 0; n-- {
		dst = append(dst, '0')
	}
	return dst
}
