package where

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"tcp-log-server/canonical"
)

// form returns the canonical form of a JSON value.
func form(t testing.TB, text string) []byte {
	t.Helper()
	out, n, err := canonical.Append(nil, []byte(text))
	if err != nil || n != len(text) {
		t.Fatalf("%s: %d, %v", text, n, err)
	}
	return out
}

func compile(t testing.TB, object string) *Filter {
	t.Helper()
	f, err := Compile([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var matches = []struct {
	filter, entry string
	want          bool
}{
	{`{}`, `{}`, true},
	{`{}`, `{"a":1}`, true},
	{`{}`, `[]`, false},
	{`{}`, `[{}]`, false},
	{`{}`, `null`, false},
	{`{"a":1}`, `[{"a":1}]`, false},
	{`{"a":1}`, `{}`, false},
	{`{"a":1}`, `{"a":1}`, true},
	{`{"a":1}`, `{"a":12}`, false},
	{`{"a":12}`, `{"a":1}`, false},
	{`{"a":1}`, `{"a":"1"}`, false},
	{`{"a":1}`, `{"a":[1]}`, false},
	{`{"a":1}`, `{"b":{"a":1}}`, false},
	{`{"a":1}`, `{"b":[{"a":1}]}`, false},
	{`{"a":1}`, `{"aa":1}`, false},
	{`{"aa":1}`, `{"a":1}`, false},
	{`{"a":1.0}`, `{"a":1}`, true},
	{`{"a":1e2}`, `{"a":100}`, true},
	{`{"a":-0}`, `{"a":0}`, true},
	{`{"b":2}`, `{"a":1,"b":2,"c":3}`, true},
	{`{"c":3,"a":1}`, `{"a":1,"b":2,"c":3}`, true},
	{`{"a":1,"d":3}`, `{"a":1,"b":2,"c":3}`, false},
	{`{"a":"x"}`, `{"a":"x"}`, true},
	{`{"a":"x"}`, `{"a":"xy"}`, false},
	{`{"a":"xy"}`, `{"a":"x"}`, false},
	{`{"a":""}`, `{"a":""}`, true},
	{`{"a":"\u0041\u000a\/"}`, `{"a":"A\n/"}`, true},
	{`{"\u0061":1}`, `{"a":1}`, true},
	{`{"":1}`, `{"":1}`, true},
	{`{"a":null}`, `{"a":null}`, true},
	{`{"a":null}`, `{}`, false},
	{`{"a":true}`, `{"a":false}`, false},
	{`{"a":false}`, `{"a":false}`, true},
	{`{"a":[1,2]}`, `{"a":[1,2]}`, true},
	{`{"a":[1,2]}`, `{"a":[1,2,3]}`, false},
	{`{"a":[1]}`, `{"a":[1,2]}`, false},
	{`{"a":[]}`, `{"a":[1]}`, false},
	{`{"a":[]}`, `{"a":{}}`, false},
	{`{"a":[{"c":1,"b":2.0}]}`, `{"a":[{"b":2,"c":1}]}`, true},
	{`{"a":[{"b":2}]}`, `{"a":[{"b":2,"c":1}]}`, false},
	{`{"a":{}}`, `{"a":{}}`, true},
	{`{"a":{}}`, `{"a":{"b":1}}`, true},
	{`{"a":{}}`, `{"a":[]}`, false},
	{`{"a":{}}`, `{"a":1}`, false},
	{`{"a":{}}`, `{"b":{}}`, false},
	{`{"a":{"b":1}}`, `{"a":{}}`, false},
	{`{"a":{"b":1}}`, `{"a":{},"b":1}`, false},
	{`{"a":{"b":1}}`, `{"a":{"a":0,"b":1,"c":2},"z":0}`, true},
	{`{"a":{"b":{"c":1}},"d":2}`, `{"a":{"b":{"c":1}},"d":2}`, true},
	{`{"a":{"b":{"c":1}},"d":2}`, `{"a":{"b":{"c":1,"x":[{}]},"x":"}"},"b":0,"d":2,"e":0}`, true},
	{`{"a":{"b":{"c":1}},"d":2}`, `{"a":{"b":{"c":1,"d":2},"d":2}}`, false},
	{`{"a":{"b":{}},"d":2}`, `{"a":{"b":{"x":1}},"d":2}`, true},
	{`{"a":{"b":{}},"d":2}`, `{"a":{"b":{"x":1},"d":2}}`, false},
	{`{"order":{"state":"paid"},"user":"ann"}`, `{"order":{"id":7,"state":"paid"},"user":"ann"}`, true},
	{`{"order":{"state":"paid"},"user":"ann"}`, `{"order":{"id":7},"state":"paid","user":"ann"}`, false},
	// text that looks like members
	{`{"a":1}`, `{"b":"\"a\":1"}`, false},
	{`{"a":"b"}`, `{"x":"{\"a\":\"b\"}"}`, false},
	{`{"c":1}`, `{"a":"}","b":"\\","c":1}`, true},
	{`{"c":1}`, `{"a":{"x":"}{[\\\""},"c":1}`, true},
	{`{"a\"b":1}`, `{"a\"b":1}`, true},
	{`{"b":1}`, `{"a\"b":1}`, false},
	// names in the order of UTF-16, which is not that of their bytes
	{"{\"\U0001f600\":1,\"\ue000\":2}", "{\"\ue000\":2,\"\U0001f600\":1}", true},
	{"{\"\ue000\":2}", "{\"\ue000\":2,\"\U0001f600\":1}", true},
	{"{\"\U0001f600\":1}", "{\"\ue000\":2,\"\U0001f600\":1}", true},
	{`{"\n":1,"z":2}`, `{"\n":1,"!":0,"\"":0,"\\":3,"z":2}`, true},
	{`{"\"":1,"\\":2}`, `{"!":0,"\"":1,"A":0,"\\":2,"z":0}`, true},
	// numbers that a double does not hold
	{`{"a":9007199254740993}`, `{"a":9007199254740993}`, true},
	{`{"a":9007199254740993}`, `{"a":9007199254740992}`, false},
	{`{"a":9007199254740993.0}`, `{"a":9007199254740993}`, true},
	{`{"a":1e400}`, `{"a":10e399}`, true},
	{`{"a":1e400}`, `{"a":"1e+400"}`, false},
	{`{"a":[1e400,{"b":1}]}`, `{"a":[10e399,{"b":1}]}`, true},
	{`{"a":1e400}`, `{"a":[1e400]}`, false},
}

func TestMatch(t *testing.T) {
	for _, tt := range matches {
		f, entry := compile(t, tt.filter), form(t, tt.entry)
		if got := f.Match(entry); got != tt.want {
			t.Errorf("%s in %s: %v, want %v", tt.filter, entry, got, tt.want)
		}
		if !bytes.HasPrefix(entry, []byte("{")) {
			continue
		}
		// the same deeper down, with other members around it
		f = compile(t, `{"m":`+tt.filter+`,"t":2}`)
		entry = form(t, `{"b":{"m":1,"t":2},"m":`+tt.entry+`,"t":2,"z":[]}`)
		if got := f.Match(entry); got != tt.want {
			t.Errorf("%s in %s: %v, want %v", f.form, entry, got, tt.want)
		}
	}
}

// TestStoredNumbers matches entries as earlier versions stored them: a number that a double does
// not hold is in the writer's notation.
func TestStoredNumbers(t *testing.T) {
	for _, tt := range []struct {
		filter, entry string
		want          bool
	}{
		{`{"a":1e400}`, `{"a":1E400}`, true},
		{`{"a":1e400}`, `{"a":10e399}`, true},
		{`{"a":1e400}`, `{"a":1E401}`, false},
		{`{"a":1e400,"b":1}`, `{"a":1E400,"b":1}`, true},
		{`{"a":1e400,"b":1}`, `{"a":1E400,"b":2}`, false},
		{`{"a":9007199254740993}`, `{"a":9007199254740993.0}`, true},
		{`{"a":-9007199254740993}`, `{"a":-9007199254740993.0}`, true},
		{`{"a":9007199254740993.0}`, `{"a":900719925474099300e-2}`, true},
		{`{"a":0.12345678901234567890}`, `{"a":0.12345678901234567890}`, true},
		{`{"a":0.1234567890123456789}`, `{"a":12345678901234567890E-20}`, true},
		{`{"a":1234567890123456789012345}`, `{"a":1234567890123456789012345}`, true},
		{`{"a":1234567890123456789012345}`, `{"a":1234567890123456789012346}`, false},
		{`{"a":[{"b":1e400},"x"]}`, `{"a":[{"b":1E400},"x"]}`, true},
		{`{"a":[{"b":1e400},"x"]}`, `{"a":[{"b":1E400},"y"]}`, false},
		{`{"a":{"b":1e400}}`, `{"a":{"b":1E400,"c":1E400}}`, true},
	} {
		if err := canonical.CheckStored([]byte(tt.entry)); err != nil {
			t.Fatalf("%s: %v", tt.entry, err)
		}
		f := compile(t, tt.filter)
		if got := f.Match([]byte(tt.entry)); got != tt.want {
			t.Errorf("%s in %s: %v, want %v", tt.filter, tt.entry, got, tt.want)
		}
		if _, line, _ := f.Next([]byte("{}\n" + tt.entry + "\n")); (line != nil) != tt.want {
			t.Errorf("%s in %s: Next finds %q", tt.filter, tt.entry, line)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, tt := range []struct{ object, want string }{
		{`[]`, `"where" is an array, want an object`},
		{`"a"`, `"where" is a string, want an object`},
		{`-1`, `"where" is a number, want an object`},
		{`0`, `"where" is a number, want an object`},
		{`true`, `"where" is true, want an object`},
		{`false`, `"where" is false, want an object`},
		{`null`, `"where" is null, want an object`},
		{``, `"where" is not JSON: ends at byte 0, want a value`},
		{` `, `"where" is not JSON: ends at byte 1, want a value`},
		{` {"a":x}`, `"where" is not JSON: found 'x' at byte 6, want a value`},
		{`{"a":1`, `"where" is not JSON: ends at byte 6, want ',' or '}'`},
		{` {} {}`, `"where" is not one object: unexpected data after it, at byte 4`},
		{` {"a":1,"\u0061":1}`, `"where" has duplicate member "a", at byte 8`},
		{`{"a":{"b":1,"b":2}}`, `"where" has duplicate member "b", at byte 12`},
		{`{"a":"\ud800"}`, `"where" has lone surrogate, at byte 6`},
		{"{\"a\":\"\xff\"}", `"where" has invalid UTF-8, at byte 6`},
		{strings.Repeat(`{"a":`, 129) + `1` + strings.Repeat(`}`, 129), `"where" has more than 128 levels, at byte 640`},
	} {
		f, err := Compile([]byte(tt.object))
		if f != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.object, err, tt.want)
		}
	}
	compile(t, " \t\r\n{ } \t\r\n")
}

func TestNext(t *testing.T) {
	type found struct {
		passed int
		line   string
	}
	const user = `{"user":"ann"}`
	for _, tt := range []struct {
		filter, run string
		want        []found // the last has no line
	}{
		{user, "", []found{{0, ""}}},
		{`{}`, "", []found{{0, ""}}},
		{`{}`, "null\n", []found{{1, ""}}},
		{`{}`, "{}\n[]\n{}\n", []found{{0, "{}"}, {1, "{}"}, {0, ""}}},
		{`{}`, "{}", []found{{0, "{}"}, {0, ""}}},
		{user, "{}\n[]", []found{{2, ""}}},
		{user, user + "\n", []found{{0, user}, {0, ""}}},
		{user, "{}\n" + user, []found{{1, user}, {0, ""}}},
		// a line with the needle in a place that does not count
		{user, "{\"a\":" + user + "}\n{}\n" + user + "\n{}\n{}\n", []found{{2, user}, {2, ""}}},
		{user, "[" + user + "]\n[" + user + "]\n", []found{{2, ""}}},
		{`{"n":1}`, "{\"n\":12}\n{\"n\":1}\n{\"n\":1}\n", []found{{1, `{"n":1}`}, {0, `{"n":1}`}, {0, ""}}},
	} {
		f, run := compile(t, tt.filter), []byte(tt.run)
		for _, want := range tt.want {
			passed, line, rest := f.Next(run)
			if passed != want.passed || string(line) != want.line || (line == nil) != (want.line == "") {
				t.Errorf("%s in %q: %d, %q, want %v", tt.filter, run, passed, line, want)
			}
			run = rest
		}
		if run != nil {
			t.Errorf("%s in %q: %q is left", tt.filter, tt.run, run)
		}
	}
}

func TestNeedle(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, tt := range []struct {
		filter, want string
		loose        bool
	}{
		{`{}`, ``, false},
		{`{"a":{}}`, `"a":{`, false},
		{`{"a":{"b":{}},"ccc":{}}`, `"ccc":{`, false},
		{`{"active":true,"n":17}`, `"n":17`, false},
		{`{"active":true,"n":7}`, `"active":true`, false},
		{`{"subscription":"on","user":"ann"}`, `"user":"ann"`, false},
		{`{"a":{"b":{"c":"deep down"}},"d":"short"}`, `"c":"deep down"`, false},
		{`{"a":"` + long + `z"}`, long[:maxNeedle-2] + `z"`, false},
		{`{"a":[1, 2,{"b":3}]}`, `"a":[1,2,{"b":3}]`, false},
		{`{"a":1e400}`, `"a":`, true},
		{`{"a":[1,{"b":9007199254740993}],"c":5}`, `"c":5`, true},
		{`{"a":9007199254740992}`, `"a":9007199254740992`, false},
		{`{"a":["9007199254740993",0.1,1e300]}`, `"a":["9007199254740993",0.1,1e+300]`, false},
	} {
		f := compile(t, tt.filter)
		if string(f.needle) != tt.want || f.loose != tt.loose {
			t.Errorf("%s: needle %s, loose %v, want %s, %v", tt.filter, f.needle, f.loose, tt.want, tt.loose)
		}
	}
}

func TestAllocations(t *testing.T) {
	run := []byte(strings.Repeat("{\"a\":{\"user\":\"ann\"},\"id\":1E400}\n{\"a\":[],\"user\":\"ann\"}\n", 100))
	for _, object := range []string{`{}`, `{"user":"ann"}`, `{"user":"bob"}`, `{"a":{},"user":"ann"}`, `{"a":{"user":"ann"}}`} {
		f := compile(t, object)
		if n := testing.AllocsPerRun(10, func() {
			for rest := run; rest != nil; {
				_, _, rest = f.Next(rest)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", object, n)
		}
	}
}

// TestHostile matches filters and entries that are made to be slow. With quadratic time it would
// not end.
func TestHostile(t *testing.T) {
	members := func(count int) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range count {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"%06d":1`, i)
		}
		b.WriteByte('}')
		return b.String()
	}
	size, many := 4<<20, 100_000
	if testing.Short() {
		size, many = size/4, many/4
	}
	deep := strings.Repeat(`{"a":`, 127) + `{"b":1}` + strings.Repeat(`}`, 127)
	slashes := `{"a":"` + strings.Repeat(`\\`, size/2) + `"}`
	quotes := `{"a":"` + strings.Repeat(`\"`, size/2) + `"}`
	array := `{"a":[` + strings.Repeat(`{"a":1},`, size/8) + `{"a":1}]}`
	text := `{"a":"` + strings.Repeat("a", size) + `"}`
	values := []string{`{}`, members(many), deep, slashes, quotes, array, text}
	for i, object := range values {
		f := compile(t, object)
		for j, entry := range values {
			if got, want := f.Match([]byte(entry)), i == j || i == 0; got != want {
				t.Errorf("filter %d, entry %d: %v", i, j, got)
			}
		}
		// A small entry does not pay for a large filter.
		small := strings.Repeat(object[:min(len(object)/2, 100)]+"\n", many)
		f.Next([]byte(small))
		small = strings.Repeat("{\"000000\":1,\"a\":[{\"a\":1}]}\n", many)
		for rest := []byte(small); len(rest) > 0; {
			line, after, _ := bytes.Cut(rest, newline)
			f.Match(line)
			rest = after
		}
	}
}
