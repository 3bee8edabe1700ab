package canonical

import (
	"errors"
	"strings"
	"testing"
)

var refusals = []struct {
	src    string
	kind   error
	offset int
	text   string
}{
	{`{"a":1,"b":2,"a":3}`, ErrDuplicateMember, 13, `duplicate member "a" at byte 13 of the entry`},
	{`{"a":1,"a":1}`, ErrDuplicateMember, 7, `duplicate member "a" at byte 7 of the entry`},
	{`{"":1,"":1}`, ErrDuplicateMember, 6, `duplicate member "" at byte 6 of the entry`},
	{`{"b":1,"\u0061":1,"a":1}`, ErrDuplicateMember, 18, `duplicate member "a" at byte 18 of the entry`},
	{`{"é":1,"\u00e9":1}`, ErrDuplicateMember, 8, `duplicate member "é" at byte 8 of the entry`},
	{`{"\n":1,"\u000a":1}`, ErrDuplicateMember, 8, `duplicate member "\n" at byte 8 of the entry`},
	{`{"\u0001\b\t\f\r\"\\":1,"\u0001\b\t\f\r\"\u005c":1}`, ErrDuplicateMember, 24,
		`duplicate member "\x01\b\t\f\r\"\\" at byte 24 of the entry`},
	{`{"c":1,"b":2,"c":3,"b":4}`, ErrDuplicateMember, 13, `duplicate member "c" at byte 13 of the entry`},
	{`[0,{"x":{"a":1,"a":1}}]`, ErrDuplicateMember, 15, `duplicate member "a" at byte 15 of the entry`},
	{`{"` + strings.Repeat("é", 40) + `":1,"` + strings.Repeat("é", 40) + `":1}`, ErrDuplicateMember, 86,
		`duplicate member "` + strings.Repeat("é", 32) + `" at byte 86 of the entry`},
	{`{"x` + strings.Repeat("é", 40) + `":1,"x` + strings.Repeat("é", 40) + `":1}`, ErrDuplicateMember, 87,
		`duplicate member "x` + strings.Repeat("é", 31) + `" at byte 87 of the entry`},
	{strings.TrimSuffix(manyMembers(100, true), "}") + `,"member Cx":0}`, ErrDuplicateMember, 1401,
		`duplicate member "member Cx" at byte 1401 of the entry`},

	{`["a\ud800"]`, ErrLoneSurrogate, 3, `lone surrogate at byte 3 of the entry`},
	{`["\ud800\u0061"]`, ErrLoneSurrogate, 2, `lone surrogate at byte 2 of the entry`},
	{`["\ud800\ud800\udc00"]`, ErrLoneSurrogate, 2, `lone surrogate at byte 2 of the entry`},
	{`["\ud800\n"]`, ErrLoneSurrogate, 2, `lone surrogate at byte 2 of the entry`},
	{`["\uDC00"]`, ErrLoneSurrogate, 2, `lone surrogate at byte 2 of the entry`},
	{`{"\udfff":0}`, ErrLoneSurrogate, 2, `lone surrogate at byte 2 of the entry`},

	{"[\"ab\xff\"]", ErrInvalidUTF8, 4, `invalid UTF-8 at byte 4 of the entry`},
	{"{\"\xc3\":0}", ErrInvalidUTF8, 2, `invalid UTF-8 at byte 2 of the entry`},
	{"\"é\xc0\x80\"", ErrInvalidUTF8, 3, `invalid UTF-8 at byte 3 of the entry`},
	{"\"\xed\xa0\x80\"", ErrInvalidUTF8, 1, `invalid UTF-8 at byte 1 of the entry`},
	{"\"\xf4\x90\x80\x80\"", ErrInvalidUTF8, 1, `invalid UTF-8 at byte 1 of the entry`},

	{strings.Repeat("[", 129) + strings.Repeat("]", 129), ErrTooDeep, 128, `more than 128 levels at byte 128 of the entry`},
	{strings.Repeat(`{"a":`, 128) + "[]" + strings.Repeat("}", 128), ErrTooDeep, 640,
		`more than 128 levels at byte 640 of the entry`},
	{strings.Repeat("[", 128) + "{}" + strings.Repeat("]", 128), ErrTooDeep, 128,
		`more than 128 levels at byte 128 of the entry`},
	{strings.Repeat(`[`, 1000) + strings.Repeat(`{"a":[`, 1000) + strings.Repeat("]}", 1000) + strings.Repeat("]", 1000),
		ErrTooDeep, 128, `more than 128 levels at byte 128 of the entry`},
}

func TestRefused(t *testing.T) {
	for _, tt := range refusals {
		out, n, err := Append([]byte("before"), []byte(tt.src+" 1"))
		var refused *RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("Append(%q): %v, want %v", tt.src, err, tt.kind)
			continue
		}
		if !errors.Is(err, tt.kind) || refused.Offset != tt.offset || err.Error() != tt.text {
			t.Errorf("Append(%q): %v, want %s", tt.src, err, tt.text)
		}
		if string(out) != "before" || n != len(tt.src) {
			t.Errorf("Append(%q) = %q, %d; want %q, %d", tt.src, out, n, "before", len(tt.src))
		}

		// A value with a syntax error later on is not JSON, whatever comes before.
		for cut := range min(len(tt.src), 2000) {
			_, n, err := Append(nil, []byte(tt.src[:cut]))
			if e, ok := err.(*SyntaxError); !ok || !e.Truncated || e.Offset != cut || n != 0 {
				t.Errorf("Append(%q) = %d, %v; want it truncated", tt.src[:cut], n, err)
			}
		}
	}
}

var syntaxErrors = []struct{ src, text string }{
	{" 1", `found 0x20 at byte 0, want a value`},
	{"]", `found ']' at byte 0, want a value`},
	{"+1", `found '+' at byte 0, want a value`},
	{"\xef\xbb\xbf1", `found 0xef at byte 0, want a value`},
	{"NaN", `found 'N' at byte 0, want a value`},
	{"[1,]", `found ']' at byte 3, want a value`},
	{"[,1]", `found ',' at byte 1, want a value`},
	{"[1 2]", `found '2' at byte 3, want ',' or ']'`},
	{"[1}", `found '}' at byte 2, want ',' or ']'`},
	{"[1\xff]", `found 0xff at byte 2, want ',' or ']'`},
	{"[1\v]", `found 0x0b at byte 2, want ',' or ']'`},
	{"[1/**/]", `found '/' at byte 2, want ',' or ']'`},
	{`{"a":1,}`, `found '}' at byte 7, want a member name`},
	{`{"a":1 "b":2}`, `found '"' at byte 7, want ',' or '}'`},
	{`{"a":1]`, `found ']' at byte 6, want ',' or '}'`},
	{`{a:1}`, `found 'a' at byte 1, want a member name or '}'`},
	{`{"a" 1}`, `found '1' at byte 5, want ':'`},
	{`{"a":}`, `found '}' at byte 5, want a value`},
	{`trux`, `found 'x' at byte 3, want true`},
	{`fAlse`, `found 'A' at byte 1, want false`},
	{`nul0`, `found '0' at byte 3, want null`},
	{"[\"a\x00\"]", `found 0x00 at byte 3, want control characters escaped`},
	{"[\"a\nbcdefgh\"]", `found 0x0a at byte 3, want control characters escaped`},
	{"{\"a\x1f\":1}", `found 0x1f at byte 3, want control characters escaped`},
	{`"\a"`, `found 'a' at byte 2, want one of "\/bfnrtu`},
	{`"\u12g4"`, `found 'g' at byte 5, want four hexadecimal digits`},
	{`"\ud800\u12g4"`, `found 'g' at byte 11, want four hexadecimal digits`},
	{`{"\x":1}`, `found 'x' at byte 3, want one of "\/bfnrtu`},
	{`01`, `found '1' at byte 1, want no digit after a leading zero`},
	{`[-00]`, `found '0' at byte 3, want no digit after a leading zero`},
	{`[-]`, `found ']' at byte 2, want a digit`},
	{`[1.]`, `found ']' at byte 3, want a digit`},
	{`[1.e1]`, `found 'e' at byte 3, want a digit`},
	{`[.5]`, `found '.' at byte 1, want a value`},
	{`[1e]`, `found ']' at byte 3, want a digit`},
	{`[1e+]`, `found ']' at byte 4, want a digit`},
	{`[1E-x]`, `found 'x' at byte 4, want a digit`},
	{`[0x1]`, `found 'x' at byte 2, want ',' or ']'`},
	{`{"a":1,"a":2,[`, `found '[' at byte 13, want a member name`},

	{``, `ends at byte 0, want a value`},
	{`[`, `ends at byte 1, want a value or ']'`},
	{`[1`, `ends at byte 2, want ',' or ']'`},
	{`[1,`, `ends at byte 3, want a value`},
	{`{`, `ends at byte 1, want a member name or '}'`},
	{`{"a"`, `ends at byte 4, want ':'`},
	{`{"a":1`, `ends at byte 6, want ',' or '}'`},
	{`{"a":1,`, `ends at byte 7, want a member name`},
	{`"a`, `ends at byte 2, want the string's closing quote`},
	{`"\`, `ends at byte 2, want one of "\/bfnrtu`},
	{`"\u00`, `ends at byte 5, want four hexadecimal digits`},
	{`-`, `ends at byte 1, want a digit`},
	{`1.`, `ends at byte 2, want a digit`},
	{`1e`, `ends at byte 2, want a digit`},
	{`tru`, `ends at byte 3, want true`},
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range syntaxErrors {
		out, n, err := Append([]byte("before"), []byte(tt.src))
		if _, ok := err.(*SyntaxError); !ok || err.Error() != "not JSON: "+tt.text {
			t.Errorf("Append(%q): %v, want %s", tt.src, err, tt.text)
		}
		if string(out) != "before" || n != 0 {
			t.Errorf("Append(%q) = %q, %d; want %q, 0", tt.src, out, n, "before")
		}
		n, err = Skip([]byte(tt.src))
		if _, ok := err.(*SyntaxError); !ok || n != 0 || err.Error() != "not JSON: "+tt.text {
			t.Errorf("Skip(%q): %d, %v, want %s", tt.src, n, err, tt.text)
		}
	}
}

// TestTruncated cuts values at every byte. Append and Skip must report the rest
// as truncated, at its end.
func TestTruncated(t *testing.T) {
	for _, tt := range forms {
		if len(tt.src) > 1000 {
			continue
		}
		for cut := range len(tt.src) {
			src := []byte(tt.src[:cut])
			_, n, err := Append(nil, src)
			if e, ok := err.(*SyntaxError); !ok || !e.Truncated || e.Offset != cut || n != 0 {
				t.Errorf("Append(%q) = %d, %v; want it truncated", src, n, err)
			}
			n, err = Skip(src)
			if e, ok := err.(*SyntaxError); !ok || !e.Truncated || e.Offset != cut || n != 0 {
				t.Errorf("Skip(%q) = %d, %v; want it truncated", src, n, err)
			}
		}
	}
}

func TestSkip(t *testing.T) {
	for _, tt := range refusals {
		n, err := Skip([]byte(tt.src + " 1"))
		if tt.kind == ErrInvalidUTF8 {
			e, ok := err.(*SyntaxError)
			if !ok || e.Offset != tt.offset || e.Truncated || e.Want != wantUTF8 || n != 0 {
				t.Errorf("Skip(%q) = %d, %v; want a SyntaxError at byte %d", tt.src, n, err, tt.offset)
			}
		} else if n != len(tt.src) || err != nil {
			t.Errorf("Skip(%q) = %d, %v; want %d", tt.src, n, err, len(tt.src))
		}
	}
}

// TestVeryDeep nests far deeper than recursion could.
func TestVeryDeep(t *testing.T) {
	const levels = 8 << 20
	src := []byte(strings.Repeat("[", levels))
	_, n, err := Append(nil, src)
	if e, ok := err.(*SyntaxError); !ok || !e.Truncated || n != 0 {
		t.Errorf("Append = %d, %v; want it truncated", n, err)
	}
	src = append(src, strings.Repeat("]", levels)...)
	if n, err := Skip(src); err != nil || n != len(src) {
		t.Errorf("Skip = %d, %v; want %d", n, err, len(src))
	}
}
