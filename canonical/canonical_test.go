package canonical

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

// forms lists values and their canonical forms. They are seeds of the fuzz
// targets too.
var forms = []struct{ name, src, want string }{
	// Members sort by UTF-16 code units: RFC 8785, section 3.2.3.
	{"RFC 8785 sorting",
		`{
			"\u20ac": "Euro Sign",
			"\r": "Carriage Return",
			"\ufb33": "Hebrew Letter Dalet With Dagesh",
			"1": "One",
			"\ud83d\ude00": "Emoji: Grinning Face",
			"\u0080": "Control",
			"\u00f6": "Latin Small Letter O With Diaeresis"
		}`,
		`{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis",` +
			`"€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`},
	// RFC 8785, section 3.2.2, except for the first number, of which a double
	// keeps only 333333333.3333333.
	{"RFC 8785 primitives",
		`{
			"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
			"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
			"literals": [null, true, false]
		}`,
		`{"literals":[null,true,false],"numbers":[333333333.33333329,1e+30,4.5,0.002,1e-27],` +
			`"string":"€$\u000f\nA'B\"\\\\\"/"}`},

	{"empty object", `{ }`, `{}`},
	{"empty array", "[\r\n\t ]", `[]`},
	{"literals", `[ true , false , null ]`, `[true,false,null]`},
	{"string", `""`, `""`},
	{"sorted entry", sorted200, sorted200},
	{"unsorted entry", unsorted200, sorted200},

	{"short escapes", `"\b\f\n\r\t\"\\\/"`, `"\b\f\n\r\t\"\\/"`},
	{"long escapes", `"\u0008\u000c\u000A\u000d\u0009\u0022\u005c\u002f"`, `"\b\f\n\r\t\"\\/"`},
	{"control escapes", `"\u0000\u001F\u001f\u007f"`, `"\u0000\u001f\u001f` + "\x7f" + `"`},
	{"raw characters", `"\u00e9\ud834\uDD1E\u2028\ufffd"`, `"é𝄞` + "\u2028\ufffd" + `"`},
	{"long string", `"` + strings.Repeat("0123456789", 10) + `\/"`, `"` + strings.Repeat("0123456789", 10) + `/"`},

	{"nested order", `{"b":{"y":[{"d":1,"c":2},{}],"x":3},"a":{"z":4,"w":5}}`,
		`{"a":{"w":5,"z":4},"b":{"x":3,"y":[{"c":2,"d":1},{}]}}`},
	{"order inside an ordered object", `{"a":{"z":4,"w":5},"b":0,"c":{"z":{"z":4,"w":5},"w":5}}`,
		`{"a":{"w":5,"z":4},"b":0,"c":{"w":5,"z":{"w":5,"z":4}}}`},
	{"order in arrays", `[{"b":1,"a":2},7,{"d":[{"f":1,"e":2}],"c":4}]`,
		`[{"a":2,"b":1},7,{"c":4,"d":[{"e":2,"f":1}]}]`},
	{"the empty name is first", `{"a":1,"":2}`, `{"":2,"a":1}`},
	{"a prefix is before", `{"abcdefghi":1,"abcdefgh":2,"abcdefg":3}`, `{"abcdefg":3,"abcdefgh":2,"abcdefghi":1}`},
	{"NUL is after the end", `{"a\u0000":1,"a":2}`, `{"a":2,"a\u0000":1}`},
	{"names by their escapes", `{"a\\":1,"a\"":2,"a\n":3,"a0":4,"a\u001f":5,"a\t":6}`,
		`{"a\t":6,"a\n":3,"a\u001f":5,"a\"":2,"a0":4,"a\\":1}`},
	{"names with escapes far in", `{"12345678\u000a":1,"12345678\t":2,"12345678 ":3}`,
		`{"12345678\t":2,"12345678\n":1,"12345678 ":3}`},
	{"escaped names in order", `{"\u0061":1,"b":2,"\u0063":3}`, `{"a":1,"b":2,"c":3}`},
	{"escaped names out of order", `{"\u0063":1,"b":2,"\u0061":3}`, `{"a":3,"b":2,"c":1}`},
	{"surrogates before U+E000", "{\"\ue000\":1,\"\uffff\":2,\"\U00010000\":3,\"\ud7ff\":4,\"\U0010ffff\":5}",
		"{\"\ud7ff\":4,\"\U00010000\":3,\"\U0010ffff\":5,\"\ue000\":1,\"\uffff\":2}"},
	{"surrogates far in", "{\"12345678\ue000\":1,\"12345678\U00010000\":2}",
		"{\"12345678\U00010000\":2,\"12345678\ue000\":1}"},
	{"many members", manyMembers(100, true), manyMembers(100, false)},
	{"maximum depth", strings.Repeat(`[`, 128) + strings.Repeat(`]`, 128),
		strings.Repeat(`[`, 128) + strings.Repeat(`]`, 128)},
	{"maximum depth, out of order", strings.Repeat(`{"b":1,"a":`, 128) + "0" + strings.Repeat("}", 128),
		strings.Repeat(`{"a":`, 128) + "0" + strings.Repeat(`,"b":1}`, 128)},
}

// manyMembers returns an object of n members, sorted or in reverse.
func manyMembers(n int, reverse bool) string {
	var b strings.Builder
	for i := range n {
		if reverse {
			i = n - 1 - i
		}
		b.WriteString(`,"member ` + string(rune('A'+i/26)) + string(rune('a'+i%26)) + `":0`)
	}
	return "{" + b.String()[1:] + "}"
}

func TestAppend(t *testing.T) {
	for _, tt := range forms {
		t.Run(tt.name, func(t *testing.T) { checkForm(t, tt.src, tt.want) })
	}
}

// checkForm checks that the canonical form of src is want, that it is its own
// canonical form, and that Skip and Check agree.
func checkForm(t *testing.T, src, want string) {
	t.Helper()
	for _, after := range []string{"", " ", ",", "]", "\x00\xff"} {
		out, n, err := Append([]byte("before"), []byte(src+after))
		if err != nil {
			t.Fatalf("Append(%q): %v", src+after, err)
		}
		if got := string(out); got != "before"+want {
			t.Errorf("Append(%q):\n got %s\nwant %s", src+after, got, "before"+want)
		}
		if n != len(src) {
			t.Errorf("Append(%q) takes %d bytes, want %d", src+after, n, len(src))
		}
	}
	if n, err := Skip([]byte(src + ",")); n != len(src) || err != nil {
		t.Errorf("Skip(%q) = %d, %v; want %d", src, n, err, len(src))
	}
	again, _, err := Append(nil, []byte(want))
	if err != nil || string(again) != want {
		t.Errorf("Append(%q) is not itself but %q, %v", want, again, err)
	}
	if err := Check([]byte(want)); err != nil {
		t.Errorf("Check(%q): %v", want, err)
	}
	if err := Check([]byte(src)); (err == nil) != (src == want) {
		t.Errorf("Check(%q): %v", src, err)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{`{"b":1,"a":2}`, `not in canonical form at byte 2`},
		{`{"a": 1}`, `not in canonical form at byte 5`},
		{`1.0`, `not in canonical form at byte 1`},
		{`1e20`, `not in canonical form at byte 1`},
		{`[] `, `value in canonical form ends at byte 2 of 3`},
		{`[1,`, `not JSON: ends at byte 3, want a value`},
		{``, `not JSON: ends at byte 0, want a value`},
		{` 1`, `not JSON: found 0x20 at byte 0, want a value`},
		{`{"a":1,"a":1}`, `duplicate member "a" at byte 7 of the entry`},
	} {
		if err := Check([]byte(tt.src)); err == nil || err.Error() != tt.want {
			t.Errorf("Check(%q) = %v, want %s", tt.src, err, tt.want)
		}
	}
}

// TestAppendBounds: Append touches nothing outside the two slices. src may be
// part of a buffer that another goroutine is filling.
func TestAppendBounds(t *testing.T) {
	buf := []byte(`xx{"b":1,"a":"c` + `d"}`)
	src := buf[2 : len(buf)-3] // ends after the c, within capacity for more
	_, _, err := Append(nil, src)
	if e, ok := err.(*SyntaxError); !ok || !e.Truncated || e.Offset != len(src) {
		t.Errorf("Append reads beyond the end of src: %v", err)
	}

	src = []byte(unsorted200)
	if _, _, err := Append(nil, src); err != nil || string(src) != unsorted200 {
		t.Errorf("Append changes src to %s, %v", src, err)
	}
}

// TestAppendLarge checks objects whose scratch is too large to keep. Their cost
// must be about linear: quadratic copying or comparing would take minutes.
func TestAppendLarge(t *testing.T) {
	var wide, want bytes.Buffer
	const n = 25_000
	name := func(i int) string { return string(rune(0x4e00+i/400)) + string(rune(0x4e00+i%400)) }
	for i := range n {
		wide.WriteString(`,"` + name(n-1-i) + `":{"b":[],"a":1.0}`)
		want.WriteString(`,"` + name(i) + `":{"a":1,"b":[]}`)
	}
	checkForm(t, "{"+wide.String()[1:]+"}", "{"+want.String()[1:]+"}")

	text := strings.Repeat("x", 1<<18)
	checkForm(t,
		strings.Repeat(`{"b":1,"a":`, 128)+`"`+text+`"`+strings.Repeat("}", 128),
		strings.Repeat(`{"a":`, 128)+`"`+text+`"`+strings.Repeat(`,"b":1}`, 128))
}

func TestAppendConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				for _, tt := range forms {
					if out, _, err := Append(nil, []byte(tt.src)); err != nil || string(out) != tt.want {
						t.Errorf("Append(%q) = %q, %v; want %q", tt.src, out, err, tt.want)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}
