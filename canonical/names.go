package canonical

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// nameKey returns a number for a name in canonical form without its quotes.
// Names with different keys are ordered by their keys; compareNames orders the
// others. nameKey may read up to the capacity of name, where a quote must follow
// the name.
func nameKey(name []byte) (key uint64) {
	n := min(len(name), 8)
	if room := name[:cap(name)]; len(room) >= 8 {
		w := binary.LittleEndian.Uint64(room)
		if bits.TrailingZeros64(special(w))/8 >= n {
			pad := 64 - 8*n // bits after the name
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

// compareNames compares two names in canonical form without their quotes by the
// UTF-16 code units of their characters (RFC 8785, section 3.2.3).
//
// It does not decode them: the bytes of UTF-8 sort like UTF-16, except that
// UTF-16 puts U+E000 to U+FFFF after the higher characters, which it encodes as
// surrogates.
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
		// A character has one canonical form, so it is equally wide in both
		// names, and they are equal up to its end.
		i += width - 1
	}
	return len(a) - len(b)
}

// rank returns a byte that sorts the first byte or escape of a name in canonical
// form, and the width of that byte or escape.
func rank(name []byte) (c byte, width int) {
	switch c = name[0]; c {
	case '\\':
		return unescape(name)
	case 0xee, 0xef: // first bytes of U+E000 to U+FFFF
		return c + 0x10, 1 // above 0xf4, the largest first byte
	}
	return c, 1
}
