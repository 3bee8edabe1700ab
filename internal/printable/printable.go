// Package printable makes text from outside, such as the name of a file or what a
// client sent, safe to show on a terminal: escape sequences in it could move the cursor
// or change the colours, a newline could forge a line, and characters without a width
// could hide a part of it. It also writes numbers of bytes for people.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text is s with everything that is not printable escaped, as JSON does it: `\u001b`. So JSON
// text stays JSON text with the same value. A byte that is no UTF-8 comes out as `\xff`.
func Text(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b = fmt.Appendf(b, `\x%02x`, s[0])
		case unprintable(r) && r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		case unprintable(r):
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	return string(b)
}

// unprintable counts the replacement character, which stands for bytes that are no UTF-8.
func unprintable(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }
