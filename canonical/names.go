package canonical

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// nameKey returns a number that orders a name, given in canonical form without
// its quotes, like compareNames does as far as its first eight bytes decide. It
// may read up to the capacity of name, where a quote must follow the name.
func nameKey(name []byte) (key uint64) {
	n := min(len(name), 8)
	if room := name[:cap(name)]; len(room) >= 8 {
		w := binary.LittleEndian.Uint64(room)
		if bits.TrailingZeros64(special(w))/8 >= n {
			pad := 64 - 8*n // the bits of what follows the name
			return bits.ReverseBytes64(w) >> pad << pad
		}
	}
	for shift := 56; len(name) > 0 && shift >= 0; shift -= 8 {
		c, width := rank(name)
		key |= uint64(c) << shift
		name = name[width:]
	}
	return key
}

// compareNames compares two names, given in canonical form without their
// quotes, by the UTF-16 code units of what they stand for (RFC 8785,
// section 3.2.3).
//
// It needs not decode them: bytewise, UTF-8 sorts like UTF-16 but for the
// characters of U+E000 to U+FFFF, which UTF-16 has after the surrogates that
// make up the higher ones and UTF-8 has before them.
func compareNames(a, b []byte) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		x, y := a[i], b[i]
		if x == y && x != '\\' {
			continue
		}
		if x < utf8.RuneSelf && y < utf8.RuneSelf && x != '\\' && y != '\\' {
			return int(x) - int(y)
		}
		x, width := rank(a[i:])
		y, _ = rank(b[i:])
		if x != y {
			return int(x) - int(y)
		}
		// A character has but one canonical form, so it is equally wide in
		// both, and the names are equal up to its end.
		i += width - 1
	}
	return len(a) - len(b)
}

// rank returns a byte that orders the first byte or escape of a name in
// canonical form among all others, and the width of that byte or escape.
func rank(name []byte) (c byte, width int) {
	switch c = name[0]; c {
	case '\\':
		return unescape(name)
	case 0xee, 0xef: // first bytes of U+E000 to U+FFFF
		return c + 0x10, 1 // beyond 0xf4, the last first byte of all
	}
	return c, 1
}
