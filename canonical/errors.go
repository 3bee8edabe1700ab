package canonical

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The reasons for which a JSON value is refused. A [RefusedError] carries one
// of them as its Kind and unwraps to it.
var (
	// ErrDuplicateMember: two members of one object have the same name once
	// their escapes are undone. Readers disagree on which of the two counts.
	ErrDuplicateMember = errors.New("duplicate member")

	// ErrLoneSurrogate: a \u escape stands for one half of a surrogate pair
	// without the other half. UTF-8 has no form for it.
	ErrLoneSurrogate = errors.New("lone surrogate")

	// ErrInvalidUTF8: the bytes of a string are not UTF-8.
	ErrInvalidUTF8 = errors.New("invalid UTF-8")

	// ErrTooDeep: arrays and objects are nested more than 128 levels deep, an
	// array or object at the top being level 1.
	ErrTooDeep = errors.New("more than " + strconv.Itoa(maxDepth) + " levels")
)

// RefusedError says that a value is JSON by its grammar, so that its end is
// known, but has no canonical form that every reader would understand alike.
type RefusedError struct {
	// Kind is ErrDuplicateMember, ErrLoneSurrogate, ErrInvalidUTF8 or
	// ErrTooDeep.
	Kind error

	// Offset is where in the source the cause is, in bytes from 0: the opening
	// quote of the later of two equal names, the backslash of the escape, the
	// first byte that is not UTF-8, or the bracket that opens one level too
	// many.
	Offset int

	// Name is the name that occurs twice, its escapes undone, cut to at most 64
	// bytes between two characters. It is empty for the other kinds.
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

// SyntaxError says where and how a text is not JSON.
type SyntaxError struct {
	// Offset is where in the source the first byte is that cannot be, in bytes
	// from 0. It is the length of the source if Truncated.
	Offset int

	// Truncated says that the source ended inside the value, and that there
	// was nothing wrong with it so far.
	Truncated bool

	// Want names what the grammar asks for at Offset, for people to read.
	Want string

	// Found is the byte at Offset, 0 if Truncated.
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

// What a SyntaxError may want.
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

// syntaxAt returns the error for src not going on at pos with what is wanted.
func syntaxAt(src []byte, pos int, want string) *SyntaxError {
	if pos >= len(src) {
		return &SyntaxError{Offset: len(src), Truncated: true, Want: want}
	}
	return &SyntaxError{Offset: pos, Want: want, Found: src[pos]}
}

// shorten returns the start of s that fits maxNameShown bytes and does not
// end within a character. s is valid UTF-8.
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
