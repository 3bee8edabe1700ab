package canonical

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gowebpki/jcs"
)

// oracleDepth is the maximum depth of encoding/json, jsontext and jcs.
// TestVeryDeep tests deeper values.
const oracleDepth = 10_000

// addSeeds adds the sources of all tables.
func addSeeds(f *testing.F, add func(src string)) {
	f.Helper()
	for _, tt := range forms {
		add(tt.src)
	}
	for _, tt := range numberForms {
		add("[" + tt.src + "]")
	}
	for _, tt := range refusals {
		add(tt.src)
	}
	for _, tt := range syntaxErrors {
		add(tt.src)
	}
}

// FuzzAppend compares Append and Check with other implementations: the end of
// the value, whether it is accepted, and its canonical form.
func FuzzAppend(f *testing.F) {
	addSeeds(f, func(src string) { f.Add([]byte(src)) })
	f.Fuzz(func(t *testing.T, src []byte) {
		if bytes.Count(src, []byte("["))+bytes.Count(src, []byte("{")) > oracleDepth {
			t.Skip()
		}
		out, n, err := Append([]byte("before"), src)
		if !bytes.HasPrefix(out, []byte("before")) || err != nil && len(out) != len("before") {
			t.Fatalf("%q does not append: %q, %v", src, out, err)
		}
		out = out[len("before"):]
		if out == nil {
			out = []byte{}
		}
		if checkExtent(t, src, n, err) {
			checkAppended(t, src[:n], out, err)
		}
	})
}

// checkExtent compares n and a SyntaxError of Append with encoding/json. It
// reports whether src starts with a value.
func checkExtent(t *testing.T, src []byte, n int, err error) bool {
	var raw json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(src))
	oracle := dec.Decode(&raw)
	space := len(src) - len(bytes.TrimLeft(src, " \t\r\n"))

	var syntax *SyntaxError
	if !errors.As(err, &syntax) {
		// The end of the input of Decode is past the value, which it trims.
		if oracle != nil || space != 0 || n != len(raw) {
			t.Fatalf("%q takes %d bytes, %v; encoding/json: %d, %v", src, n, err, len(raw), oracle)
		}
		return true
	}
	if n != 0 || syntax.Truncated != (syntax.Offset == len(src)) || syntax.Offset > len(src) {
		t.Fatalf("%q: %d, %+v", src, n, syntax)
	}
	if _, skipped := Skip(src); skipped == nil {
		t.Fatalf("%q: %v, but not for Skip", src, err)
	} else if skip := skipped.(*SyntaxError); *skip != *syntax && skip.Want != wantUTF8 {
		t.Fatalf("%q: %v, and for Skip %v", src, err, skipped)
	}
	switch {
	case space > 0:
		// encoding/json skips white space, Append refuses it.
	case syntax.Want == wantNoZeroFirst && syntax.Offset <= len("-0"):
		// encoding/json reads 01 at the top level as two values, 0 and 1.
	default:
		truncated := oracle == io.EOF || oracle == io.ErrUnexpectedEOF
		if oracle == nil || truncated != syntax.Truncated {
			t.Fatalf("%q: %+v; encoding/json: %v", src, syntax, oracle)
		}
	}
	return false
}

// checkAppended compares the result of Append for src, which is JSON, with
// jsontext, jcs and the model of oracle_test.go.
func checkAppended(t *testing.T, src, out []byte, err error) {
	if err != nil {
		checkRefused(t, src, err)
		return
	}
	if !jsontext.Value(src).IsValid() {
		t.Fatalf("%q is accepted, but not by jsontext", src)
	}
	if d := depth(src); d > maxDepth {
		t.Fatalf("%q is accepted with %d levels", src, d)
	}

	model, err := parse(src)
	if err != nil {
		t.Fatal(err)
	}
	want, exact := model.form(numberForm)
	if string(out) != want {
		t.Fatalf("%q:\n got %q\nwant %q", src, out, want)
	}
	// The other two round a number that a double does not hold (RFC 8785), or
	// fail.
	if exact {
		value := jsontext.Value(bytes.Clone(src))
		if err := value.Canonicalize(); err != nil || !bytes.Equal(value, out) {
			t.Fatalf("%q:\n got %q\njsontext has %q, %v", src, out, value, err)
		}
		if other, err := jcs.Transform(src); err != nil || !bytes.Equal(other, out) {
			t.Fatalf("%q:\n got %q\njcs has %q, %v", src, out, other, err)
		}
	}

	again, n, err := Append(nil, out)
	if err != nil || n != len(out) || !bytes.Equal(again, out) {
		t.Fatalf("%q is not canonical: %q, %d, %v", out, again, n, err)
	}
	if err := Check(out); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if err := Check(src); (err == nil) != bytes.Equal(src, out) {
		t.Fatalf("%q: %v", src, err)
	}
	if err := CheckStored(src); (err == nil) != (string(src) == model.storedForm()) {
		t.Fatalf("%q: %v", src, err)
	}
}

// checkRefused checks that src, which is JSON, has the fault that err reports.
func checkRefused(t *testing.T, src []byte, err error) {
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Offset >= len(src) {
		t.Fatalf("%q: %#v", src, err)
	}
	at := src[refused.Offset:]
	ok := false
	switch refused.Kind {
	case ErrDuplicateMember:
		// jsontext has no error of its own for duplicate names. With everything
		// else allowed, it refuses nothing but them.
		ok = !jsontext.Value(src).IsValid(jsontext.AllowInvalidUTF8(true))
		name, err := jsontext.AppendUnquote(nil, at[:stringLen(at)])
		ok = ok && err == nil && strings.HasPrefix(string(name), refused.Name) &&
			(len(name) <= 64 && len(name) == len(refused.Name) || len(name) > 64 && len(refused.Name) > 60)
	case ErrLoneSurrogate:
		ok = !jsontext.Value(src).IsValid(jsontext.AllowDuplicateNames(true)) && bytes.HasPrefix(at, []byte(`\u`))
	case ErrInvalidUTF8:
		r, width := utf8.DecodeRune(at)
		ok = r == utf8.RuneError && width == 1
	case ErrTooDeep:
		ok = depth(src) > maxDepth && (at[0] == '{' || at[0] == '[')
	}
	if !ok {
		t.Fatalf("%q: %v, for no reason", src, err)
	}
}

// stringLen returns the length of the JSON string at the start of text.
func stringLen(text []byte) int {
	i := 1
	for text[i] != '"' {
		if text[i] == '\\' {
			i++
		}
		i++
	}
	return i + 1
}

// FuzzSkip compares Skip with encoding/json and unicode/utf8.
func FuzzSkip(f *testing.F) {
	addSeeds(f, func(src string) { f.Add([]byte(src)) })
	f.Fuzz(func(t *testing.T, src []byte) {
		if bytes.Count(src, []byte("["))+bytes.Count(src, []byte("{")) > oracleDepth {
			t.Skip()
		}
		n, err := Skip(src)
		if err == nil {
			if !json.Valid(src[:n]) || !utf8.Valid(src[:n]) {
				t.Fatalf("Skip(%q) = %d, which is not JSON", src, n)
			}
			// src is one value if only white space follows.
			rest := len(bytes.Trim(src[n:], " \t\r\n"))
			if (rest == 0) != json.Valid(src) {
				t.Fatalf("Skip(%q) = %d, json.Valid: %v", src, n, rest != 0)
			}
			return
		}
		if n != 0 {
			t.Fatalf("Skip(%q) = %d, %v", src, n, err)
		}
		if utf8.Valid(src) && json.Valid(src) && !bytes.ContainsAny(src[:1], " \t\r\n") {
			t.Fatalf("Skip(%q): %v, but it is JSON", src, err)
		}
		// The bytes before the error must be valid: on their own they are
		// truncated, and have no earlier error.
		syntax := err.(*SyntaxError)
		_, err = Skip(src[:syntax.Offset])
		if early, ok := err.(*SyntaxError); ok && !early.Truncated {
			t.Fatalf("Skip(%q) fails at %d, and up to there at %d", src, syntax.Offset, early.Offset)
		}
	})
}

// FuzzVariants checks that all ways of writing a value have one canonical form.
func FuzzVariants(f *testing.F) {
	addSeeds(f, func(src string) { f.Add([]byte(src), uint64(len(src))) })
	f.Fuzz(func(t *testing.T, src []byte, seed uint64) {
		out, n, err := Append(nil, src)
		if err != nil {
			t.Skip()
		}
		model, err := parse(src[:n])
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for range 4 {
			variant := model.vary(r)
			got, n, err := Append(nil, []byte(variant))
			if err != nil || n != len(variant) || !bytes.Equal(got, out) {
				t.Fatalf("%q:\n got %q, %d, %v\nwant %q", variant, got, n, err, out)
			}
		}
	})
}

// FuzzNumber checks numbers alone and compares exact values.
func FuzzNumber(f *testing.F) {
	for _, tt := range numberForms {
		f.Add(tt.src)
	}
	for _, tt := range rfcNumbers {
		f.Add(tt.want)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if !json.Valid([]byte(src)) || strings.Trim(src, "+-.0123456789eE") != "" {
			t.Skip()
		}
		out, n, err := Append(nil, []byte(src))
		if want, _ := numberForm(src); err != nil || n != len(src) || string(out) != want {
			t.Fatalf("Append(%q) = %q, %d, %v; want %q", src, out, n, err, want)
		}
		if err := Check(out); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if _, n := decimalOf(src); n.CmpAbs(big.NewInt(10_000)) < 0 && !sameValue(src, string(out)) {
			t.Fatalf("Append(%q) = %q, which has another value", src, out)
		}
	})
}
