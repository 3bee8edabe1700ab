package where

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"tcp-log-server/canonical"
)

// decode returns a JSON value as encoding/json decodes it, with numbers in canonical form.
func decode(t testing.TB, text []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("%s: more than one value", text)
	}
	return v
}

// contains is the definition of Match, for values of encoding/json.
func contains(t testing.TB, entry, filter any) bool {
	f, ok := filter.(map[string]any)
	if !ok {
		return equal(t, entry, filter)
	}
	e, ok := entry.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range f {
		if there, ok := e[name]; !ok || !contains(t, there, value) {
			return false
		}
	}
	return true
}

// equal compares two values of encoding/json.
func equal(t testing.TB, a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && len(a) == len(b) && contains(t, a, b) && contains(t, b, a)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			// Inside arrays objects must be equal.
			if !equal(t, a[i], b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		return ok && string(form(t, string(a))) == string(form(t, string(b)))
	}
	return a == b
}

// A source makes random JSON values with few names, so that one often contains another.
type source struct{ *rand.Rand }

var (
	names = []string{`"a"`, `"b"`, `"ab"`, `""`, `"\""`, `"\\"`, `"\n"`, `"\u0041"`, `"é"`, "\"\ue000\"", "\"\U0001f600\"", `"a\"b"`, `"a\":1,\"b"`}
	// groups of equal scalars
	scalars = [][]string{
		{`1`, `1.0`, `10e-1`}, {`12`}, {`0`, `-0`}, {`-1`}, {`0.1`, `1e-1`}, {`1e300`},
		{`1e400`, `1E400`, `10e399`}, {`-1e400`}, {`9007199254740993`, `9007199254740993.0`}, {`9007199254740992`},
		{`true`}, {`false`}, {`null`}, {`"a"`, `"\u0061"`}, {`"1"`}, {`""`}, {`"a\":1"`}, {`"}"`}, {`"\\"`},
	}
)

func (s source) pick(from []string) string { return from[s.IntN(len(from))] }

func (s source) value(depth int) any {
	switch n := s.IntN(10); {
	case n < 4 && depth > 0:
		return s.object(depth)
	case n == 4 && depth > 0:
		array := make([]any, s.IntN(3))
		for i := range array {
			array[i] = s.value(depth - 1)
		}
		return array
	}
	return s.IntN(len(scalars))
}

func (s source) object(depth int) map[string]any {
	object := make(map[string]any)
	for range s.IntN(5) {
		object[s.pick(names)] = s.value(depth - 1)
	}
	return object
}

// part returns a value that v contains, or, rarely, one that it almost contains.
func (s source) part(v any) any {
	if s.IntN(40) == 0 {
		return s.value(1)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	part := make(map[string]any)
	for name, value := range object {
		if s.IntN(2) == 0 {
			part[name] = s.part(value)
		}
	}
	return part
}

// write writes a value, with each scalar as scalar writes it.
func write(b *strings.Builder, v any, scalar func(group int) string) {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		sep := ""
		for name, value := range v {
			b.WriteString(sep + name + ":")
			write(b, value, scalar)
			sep = ","
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, value := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, value, scalar)
		}
		b.WriteByte(']')
	case int:
		b.WriteString(scalar(v))
	}
}

func text(v any, scalar func(group int) string) string {
	var b strings.Builder
	write(&b, v, scalar)
	return b.String()
}

// entry returns v as a log holds it: in canonical form, except for numbers that a double does not
// hold, which may be in any notation.
func (s source) entry(t *testing.T, v any) []byte {
	// The scalars are inserted after the members have been sorted.
	marked := text(v, func(group int) string { return fmt.Sprintf(`"#%d#"`, group) })
	out := form(t, marked)
	for group, notations := range scalars {
		mark := fmt.Appendf(nil, `"#%d#"`, group)
		for bytes.Contains(out, mark) {
			notation := s.pick(notations)
			if canonical.CheckStored([]byte(notation)) != nil {
				notation = string(form(t, notation))
			}
			out = bytes.Replace(out, mark, []byte(notation), 1)
		}
	}
	if err := canonical.CheckStored(out); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return out
}

// TestRandom compares Match and Next with the definition.
func TestRandom(t *testing.T) {
	s := source{rand.New(rand.NewPCG(1, 2))}
	const rounds, lines = 1500, 12
	matched := 0
	for range rounds {
		var run []byte
		var entries [][]byte
		var values []any
		for range lines {
			v := s.object(4)
			entry := s.entry(t, v)
			entries, values = append(entries, entry), append(values, v)
			run = append(append(run, entry...), '\n')
		}
		v := s.part(values[s.IntN(lines)])
		if _, ok := v.(map[string]any); !ok {
			continue
		}
		object := text(v, func(group int) string { return s.pick(scalars[group]) })
		matched += checkRun(t, compile(t, object), []byte(object), entries, run)
	}
	if all := rounds * lines; matched < all/10 || matched > all*9/10 {
		t.Errorf("%d of %d entries match: the test shows little", matched, all)
	}
}

// checkRun compares the matches of f in entries, and in the run of them, with the definition. It
// returns the number of matches.
func checkRun(t *testing.T, f *Filter, object []byte, entries [][]byte, run []byte) (matched int) {
	t.Helper()
	filter := decode(t, object)
	passed := 0
	for _, entry := range entries {
		got, want := f.Match(entry), contains(t, decode(t, entry), filter)
		if got != want {
			t.Fatalf("%s in %s: %v, want %v", object, entry, got, want)
		}
		if !got {
			passed++
			continue
		}
		n, line, rest := f.Next(run)
		if n != passed || !bytes.Equal(line, entry) {
			t.Fatalf("%s in %s: Next passes %d and finds %s, want %d and %s", object, run, n, line, passed, entry)
		}
		matched, passed, run = matched+1, 0, rest
	}
	if n, line, rest := f.Next(run); n != passed || line != nil || rest != nil {
		t.Fatalf("%s in %s: Next passes %d and finds %s, want %d and nothing", object, run, n, line, passed)
	}
	return matched
}
