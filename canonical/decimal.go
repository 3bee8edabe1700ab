package canonical

import (
	"bytes"
	"slices"
	"strconv"
)

// appendNumber appends the canonical form of the number at src[pos:t.end]. It
// follows ECMA-262, Number::toString, whose names k and n it uses: the number
// is 0.d₁d₂…dₖ × 10ⁿ, where neither d₁ nor dₖ is 0. ECMAScript takes the digits
// from a double, appendNumber takes those of the source.
//
// It takes time linear in the length of the source, whatever the exponent.
func appendNumber(dst, src []byte, pos int, t numberText) []byte {
	whole, frac := src[t.digits:t.intEnd], src[t.intEnd:t.fracEnd]
	if len(frac) > 0 {
		frac = frac[1:] // the point
	}
	point := int64(len(whole)) // n without the exponent
	if whole[0] == '0' {
		digits := bytes.TrimLeft(frac, "0")
		point = int64(len(digits) - len(frac))
		whole, frac = nil, digits
	}
	if frac = bytes.TrimRight(frac, "0"); len(frac) == 0 {
		whole = bytes.TrimRight(whole, "0")
	}
	k := int64(len(whole) + len(frac))
	if k == 0 {
		return append(dst, '0') // -0 too
	}
	if t.digits > pos {
		dst = append(dst, '-')
	}

	exp := readExponent(src[t.fracEnd:t.end])
	n, start := point+exp.value, int64(len(dst))
	switch {
	case k <= n && n <= maxPlain:
		dst = append(append(dst, whole...), frac...)
		return appendZeros(dst, n-k)
	case 0 < n && n <= maxPlain:
		dst = append(append(dst, whole...), frac...)
		return slices.Insert(dst, int(start+n), '.')
	case -6 < n && n <= 0:
		dst = appendZeros(append(dst, "0."...), -n)
		return append(append(dst, whole...), frac...)
	}
	dst = append(append(dst, whole...), frac...)
	if k > 1 {
		dst = slices.Insert(dst, int(start+1), '.')
	}
	return exp.appendPlus(append(dst, 'e'), point-1)
}

// appendZeros appends n zeros.
func appendZeros(dst []byte, n int64) []byte {
	for ; n > 0; n-- {
		dst = append(dst, '0')
	}
	return dst
}

// An exponent is the exponent of a number, of any size.
type exponent struct {
	value int64  // ±longExponent where long is set
	long  []byte // the digits without leading zeros if they are more than maxShort
}

const (
	// maxShort is how many digits always fit an int64, with room to add the
	// length of any source.
	maxShort = 18

	// longExponent stands for any exponent of more than maxShort digits.
	longExponent = 1e18
)

// readExponent parses an exponent that starts with its e.
func readExponent(text []byte) (e exponent) {
	if len(text) == 0 {
		return e
	}
	text = text[1:]
	negative := text[0] == '-'
	if text[0] == '-' || text[0] == '+' {
		text = text[1:]
	}
	text = bytes.TrimLeft(text, "0")
	if len(text) > maxShort {
		e.value, e.long = longExponent, text
	} else {
		for _, c := range text {
			e.value = 10*e.value + int64(c-'0')
		}
	}
	if negative {
		e.value = -e.value
	}
	return e
}

// appendPlus appends the sum of e and delta, with its sign. delta is at most the
// length of a source, so it does not change the sign of a long exponent.
func (e exponent) appendPlus(dst []byte, delta int64) []byte {
	sum := e.value + delta
	if sum >= 0 {
		dst = append(dst, '+')
	}
	if e.long == nil {
		return strconv.AppendInt(dst, sum, 10)
	}
	if sum < 0 {
		dst, delta = append(dst, '-'), -delta
	}
	start := len(dst)
	dst = append(dst, '0') // for a carry
	dst = append(dst, e.long...)
	for i := len(dst) - 1; delta != 0; i-- {
		delta += int64(dst[i] - '0')
		digit := (delta%10 + 10) % 10
		dst[i] = '0' + byte(digit)
		delta = (delta - digit) / 10
	}
	digits := bytes.TrimLeft(dst[start:], "0")
	return append(dst[:start], digits...)
}

// heldByDouble reports whether ECMAScript writes the double nearest to a number
// with the value of that number.
func heldByDouble(number []byte) bool {
	f, err := strconv.ParseFloat(string(number), 64)
	if err != nil { // beyond all doubles
		return false
	}
	shortest := strconv.AppendFloat(nil, f, 'e', -1, 64)
	a := appendNumber(nil, number, 0, scanNumber(number, 0))
	b := appendNumber(nil, shortest, 0, scanNumber(shortest, 0))
	return bytes.Equal(a, b)
}
