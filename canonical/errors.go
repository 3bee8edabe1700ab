package canonical

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The reasons for refusing a JSON value. A [RefusedError] has one of them as its
// Kind and unwraps to it.
var (
	// ErrDuplicateMember: two members of one object have the same name after
	// unescaping. Readers disagree on which of the two counts.
	ErrDuplicateMember = errors.New("duplicate member")

	// ErrLoneSurrogate: a \u escape is one half of a surrogate pair without the
	// other half. UTF-8 cannot encode it.
	ErrLoneSurrogate = errors.New("lone surrogate")

	// ErrInvalidUTF8: the bytes of a string are not UTF-8.
	ErrInvalidUTF8 = errors.New("invalid UTF-8")

	// ErrTooDeep: arrays and objects are nested more than 128 levels deep. The
	// outermost one is level 1.
	ErrTooDeep = errors.New("more than " + strconv.Itoa(maxDepth) + " levels")
)

// RefusedError reports a value that is JSON by its grammar, so that its end is
// known, but that readers would not all understand alike.
type RefusedError struct {
	// Kind is ErrDuplicateMember, ErrLoneSurrogate, ErrInvalidUTF8 or
	// ErrTooDeep.
	Kind error

	// Offset is the position of the cause in the source, in bytes from 0: the
	// opening quote of the second of two equal names, the backslash of the
	// escape, the first byte that is not UTF-8, or the bracket that opens level
	// 129.
	Offset int

	// Name is the duplicate name, unescaped and cut between two characters to at
	// most 64 bytes. It is empty for the other kinds.
	Name string
}

func (e *RefusedError) Error() string {
	if e.Kind == ErrDuplicateMember {
		return fmt.Sprintf("%v %q at byte %d of the entry", e.Kind, e.Name, e.Offset)
	}
	return fmt.Sprintf("%v at byte %d of the entry", e.Kind, e.Offset)
}

// Unwrap returns e.Kind.
func (e *RefusedError) Unwrap() error { return e.Kind }

// SyntaxError reports where and how a text is not JSON.
type SyntaxError struct {
	// Offset is the position of the first byte that is not allowed, in bytes
	// from 0. It is the length of the source if Truncated is set.
	Offset int

	// Truncated is set if the source ends inside the value and is valid so far:
	// more bytes may complete it.
	Truncated bool

	// Want describes, for people, what the grammar allows at Offset.
	Want string

	// Found is the byte at Offset, or 0 if Truncated is set.
	Found byte
}

func (e *SyntaxError) Error() string {
	if e.Truncated {
		return fmt.Sprintf("not JSON: ends at byte %d, want %s", e.Offset, e.Want)
	}
	found := fmt.Sprintf("0x%02x", e.Found)
	if ' ' < e.Found && e.Found < 0x7f {
		found = strconv.QuoteRune(rune(e.Found))
	}
	return fmt.Sprintf("not JSON: found %s at byte %d, want %s", found, e.Offset, e.Want)
}

// The values of SyntaxError.Want.
const (
	wantValue       = "a value"
	wantValueOrEnd  = "a value or ']'"
	wantName        = "a member name"
	wantNameOrEnd   = "a member name or '}'"
	wantColon       = "':'"
	wantObjectNext  = "',' or '}'"
	wantArrayNext   = "',' or ']'"
	wantQuote       = "the string's closing quote"
	wantNoControl   = "control characters escaped"
	wantEscape      = `one of "\/bfnrtu`
	wantHex         = "four hexadecimal digits"
	wantUTF8        = "UTF-8"
	wantDigit       = "a digit"
	wantNoZeroFirst = "no digit after a leading zero"
)

// syntaxAt returns the error that src has something else at pos than want.
func syntaxAt(src []byte, pos int, want string) *SyntaxError {
	if pos >= len(src) {
		return &SyntaxError{Offset: len(src), Truncated: true, Want: want}
	}
	return &SyntaxError{Offset: pos, Want: want, Found: src[pos]}
}

// shorten cuts s, which is valid UTF-8, between two characters to at most
// maxNameShown bytes.
func shorten(s string) string {
	const maxNameShown = 64
	if len(s) <= maxNameShown {
		return s
	}
	end := maxNameShown
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
