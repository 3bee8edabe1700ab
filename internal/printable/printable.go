// Package printable makes untrusted text, such as the name of a file or a client's message, safe to
// show on a terminal: its escape sequences could move the cursor or change the colors, a newline
// could forge a line, and characters without width could hide a part. It also formats numbers of
// bytes for people.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns s with everything unprintable escaped as in JSON: `\u001b`. So JSON text stays JSON
// text with the same value. A byte that is not UTF-8 becomes `\xff`.
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

// unprintable includes the replacement character, which stands for bytes that are not UTF-8.
func unprintable(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }
