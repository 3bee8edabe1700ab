package cli

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"tcp-log-server/client"
)

// values reads all of the input and returns place and value of each, or the error.
func values(v *valueReader) (got []string) {
	for range 10_000 {
		value, place, err := v.next()
		var bad *valueError
		switch {
		case errors.Is(err, io.EOF):
			return got
		case errors.As(err, &bad) && bad.fatal:
			return append(got, fmt.Sprintf("%d fatal", place))
		case errors.As(err, &bad):
			got = append(got, fmt.Sprintf("%d bad", place))
		case err != nil:
			return append(got, fmt.Sprintf("%d %v", place, err))
		default:
			got = append(got, fmt.Sprintf("%d %s", place, value))
		}
	}
	return append(got, "no end")
}

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		input string
		array bool
		want  string
	}{
		{"", false, ""},
		{" \r\n\t", false, ""},
		{"{}", false, "1 {}"},
		{"{}\n[]\n", false, "1 {}|2 []"},
		{"\n\n{}[]\r\n null", false, "3 {}|3 []|4 null"},
		{"{\"a\":\"}\\\"]\"}{}", false, "1 {\"a\":\"}\\\"]\"}|1 {}"},
		{"1 2.5e3 \"x\" true", false, "1 1|1 2.5e3|1 \"x\"|1 true"},
		{"12", false, "1 12"},
		{"{\n\"a\":\n[1,\n2]}\n{}", false, "1 {\n\"a\":\n[1,\n2]}|5 {}"},
		{"nope\n{}\nno {}\n[]", false, "1 bad|2 {}|3 bad|4 []"},
		{"nope", false, "1 bad"},
		{"{\"a\":1\n{\"b\":2}\n", false, "1 bad|2 {\"b\":2}"},
		{"[1\n\n  [2]\n", false, "1 bad|3 [2]"},
		{"[\n{\"a\":1}\n{\"b\":2}\n]", false, "1 fatal"},
		{"{}\n[1", false, "1 {}|2 fatal"},
		{"{}]\n[]", false, "1 {}|1 bad|2 []"},
		{"[]", true, ""},
		{" [ 1 , {\"a\":[2]} ,\nnull ] \n", true, "1 1|2 {\"a\":[2]}|3 null"},
		{"[{}{}]", true, "1 {}|2 fatal"},
		{"[{},]", true, "1 {}|2 fatal"},
		{"[,{}]", true, "1 fatal"},
		{"[{}]{}", true, "1 {}|2 fatal"},
		{"{}", true, "1 fatal"},
		{"[{}", true, "1 {}|2 fatal"},
		{"[{},[", true, "1 {}|2 fatal"},
		{"", true, "1 fatal"},
	} {
		for name, in := range map[string]io.Reader{
			"whole":        strings.NewReader(tt.input),
			"byte by byte": iotest.OneByteReader(strings.NewReader(tt.input)),
			"with its end": iotest.DataErrReader(strings.NewReader(tt.input)),
		} {
			if got := strings.Join(values(newValueReader(in, tt.array)), "|"); got != tt.want {
				t.Errorf("%q, %s: got %s, want %s", tt.input, name, got, tt.want)
			}
		}
	}
	broken := errors.New("broken")
	in := io.MultiReader(strings.NewReader("{}\n{\"a\":"), iotest.ErrReader(broken))
	if got := strings.Join(values(newValueReader(in, false)), "|"); got != "1 {}|2 broken" {
		t.Errorf("an input that fails: got %s", got)
	}
}

// TestValuesPieces: values of all sizes arrive intact however the input is split.
func TestValuesPieces(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var input strings.Builder
	var want []string
	line := 1
	for n := range 400 {
		size := rng.IntN(200)
		if n%50 == 7 {
			size = rng.IntN(1 << 20)
		}
		value := fmt.Sprintf(`{"n":%d,"s":"%s","more":[%s]}`, n, strings.Repeat(`x}"`[:2], size/2), strings.Repeat("\n", rng.IntN(2))+"1")
		want = append(want, fmt.Sprintf("%d %s", line, value))
		input.WriteString(value + strings.Repeat("\n", rng.IntN(3)))
		line = 1 + strings.Count(input.String(), "\n")
	}
	for _, most := range []int{0, 7, 1 << 10, 1 << 16} {
		in := io.Reader(strings.NewReader(input.String()))
		if most > 0 {
			in = &pieces{in, rng, most}
		}
		got := values(newValueReader(in, false))
		if len(got) != len(want) {
			t.Fatalf("pieces of %d: %d values, want %d", most, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("pieces of %d: value %d is %.100s, want %.100s", most, i, got[i], want[i])
			}
		}
	}
}

// pieces reads at most that many bytes at a time.
type pieces struct {
	r    io.Reader
	rng  *rand.Rand
	most int
}

func (p *pieces) Read(b []byte) (int, error) {
	return p.r.Read(b[:min(len(b), 1+p.rng.IntN(p.most))])
}

// endless is a line without an end.
type endless struct{ read, most int }

func (e *endless) Read(b []byte) (int, error) {
	if e.read >= e.most {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = 'x'
	}
	e.read += len(b)
	return len(b), nil
}

// TestByteOrderMark: that of UTF-8 is skipped at the start, and only there, however it arrives;
// those of UTF-16 are named. A value does not have to wait for more bytes.
func TestByteOrderMark(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	for input, want := range map[string]string{
		mark + "{}\n[1]":  "[1 {} 2 [1]]",
		mark + "\n\n{}":   "[3 {}]",
		mark:              "[]",
		mark + " ":        "[]",
		mark + mark + "1": "[1 bad]",
		"{}" + mark:       "[1 {} 1 bad]",
		"\xef":            "[1 bad]",
		"\xef\xbb[]":      "[1 bad]",
		"\xff\xfe{\x00}":  "[1 fatal]",
		"\xfe\xff\x00{":   "[1 fatal]",
		"\xff":            "[1 bad]",
	} {
		for name, in := range map[string]io.Reader{"whole": strings.NewReader(input), "byte by byte": iotest.OneByteReader(strings.NewReader(input))} {
			if got := fmt.Sprint(values(newValueReader(in, false))); got != want {
				t.Errorf("%q, %s: %s, want %s", input, name, got, want)
			}
		}
	}
	if got := fmt.Sprint(values(newValueReader(strings.NewReader(mark+"[{},[]]"), true))); got != "[1 {} 2 []]" {
		t.Errorf("an array: %s", got)
	}
	_, _, err := newValueReader(strings.NewReader("\xff\xfe[\x00]\x00"), false).next()
	if err == nil || !strings.Contains(err.Error(), "UTF-16") {
		t.Errorf("UTF-16: %v", err)
	}
	in, out := io.Pipe()
	defer out.Close()
	go out.Write([]byte("[]"))
	if text, _, err := newValueReader(in, false).next(); string(text) != "[]" || err != nil {
		t.Errorf("two bytes: %s, %v", text, err)
	}
}

// TestValuesMemory: invalid values are skipped without being kept.
func TestValuesMemory(t *testing.T) {
	v := newValueReader(&endless{most: 100 << 20}, false)
	if got := values(v); len(got) != 1 || got[0] != "1 bad" {
		t.Errorf("got %q", got)
	}
	if len(v.buf) > 1<<20 {
		t.Errorf("the buffer has grown to %d bytes", len(v.buf))
	}
}

func TestServerAddress(t *testing.T) {
	for _, tt := range []struct{ host, port, arg, want string }{
		{"", "", "", "localhost:8089"},
		{"", "9000", "", "localhost:9000"},
		{"10.1.2.3", "9000", "", "10.1.2.3:9000"},
		{"0.0.0.0", "", "", "localhost:8089"},
		{"::", "", "", "localhost:8089"},
		{"::1", "", "", "[::1]:8089"},
		{"10.1.2.3", "9000", ":1", "10.1.2.3:1"},
		{"10.1.2.3", "9000", "log.example", "log.example:9000"},
		{"10.1.2.3", "9000", "log.example:1", "log.example:1"},
		{"", "", "0.0.0.0:1", "localhost:1"},
		{"", "", "::1", "[::1]:8089"},
		{"", "", "[::1]", "[::1]:8089"},
		{"", "", "[::1]:7", "[::1]:7"},
		{"", "", "192.0.2.1", "192.0.2.1:8089"},
		{"", "0", "", "PORT is \"0\", want 1 to 65535"},
		{"", "0", ":9", "localhost:9"},
		{"", "", ":", `the port of ":" is "", want 1 to 65535`},
		{"", "", "h:x", `the port of "h:x" is "x", want 1 to 65535`},
		{"", "", "h:1:2", `"h:1:2" is not an address, want host:port, host or :port`},
		{"", "", "log_2.example.", "log_2.example.:8089"},
		{"", "", "bücher.example", "bücher.example:8089"},
		{"", "", "fe80::1%eth0", "[fe80::1%eth0]:8089"},
		{"", "", "1.2.3", `"1.2.3" is not an address, want host:port, host or :port`},
		{"", "", "a b:80", `"a b:80" is not an address, want host:port, host or :port`},
		{"", "", "8089", `"8089" is not an address; for a port write :8089`},
		{"", "", "http://h:1/x", `"http://h:1/x" is a URL, not an address; write h:1`},
		{"h:9", "", "", "HOST is \"h:9\", want a host without a port: set it to h and PORT to 9"},
		{"h:9", "", "i", "i:8089"},
		{"", "", ".", `"." is a directory, not an address`},
	} {
		t.Setenv("HOST", tt.host)
		t.Setenv("PORT", tt.port)
		got, err := serverAddress(tt.arg)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("HOST=%q PORT=%q %q: %s, want %s", tt.host, tt.port, tt.arg, got, tt.want)
		}
	}
	for arg, want := range map[string]bool{`{"a":1}`: true, "[1]": true, "null": true, "{": true, "[]": true, "[::1]:80": false, "[::1]": false, "[1]:80": true, "localhost": false, ":80": false, "null:80": false,
		"": true, `"text"`: true, "true": true, "two words": true, "1.5": true, "8089": false, "hello": false, "a:b": false, "http://h": false, `{"u":"http://h"}`: true} {
		if got := looksLikeEntry(arg); got != want {
			t.Errorf("%s looks like an entry: %v", arg, got)
		}
	}
}

func TestAppendForTerminal(t *testing.T) {
	for text, want := range map[string]string{
		`{"a\"":["b",1,-2.5,null,true,{}],"c":"d"}`: "{<name>\"a\\\"\"<end>:[<string>\"b\"<end>,<other>1<end>,<other>-2.5<end>,<other>null<end>,<other>true<end>,{}],<name>\"c\"<end>:<string>\"d\"<end>}",
		"[\"é\x7f\u009b\u00a0\"]":                   "[<string>\"é\\u007f\\u009b\u00a0\"<end>]",
		`7`:                                         "<other>7<end>",
	} {
		painted := strings.NewReplacer("<name>", colorName, "<string>", colorString, "<other>", colorOther, "<end>", colorEnd).Replace(want)
		if got := string(appendForTerminal(nil, []byte(text), true)); got != painted {
			t.Errorf("%s becomes %q, want %q", text, got, painted)
		}
		plain := strings.NewReplacer("<name>", "", "<string>", "", "<other>", "", "<end>", "").Replace(want)
		if got := string(appendForTerminal(nil, []byte(text), false)); got != plain {
			t.Errorf("%s becomes %q without colour, want %q", text, got, plain)
		}
	}
}

func TestOutcomeOf(t *testing.T) {
	for err, want := range map[error]outcome{
		nil:               stored,
		client.ErrRefused: refused,
		fmt.Errorf("%w: %w", client.ErrRefused, client.ErrUnauthorized):                                   unsent,
		fmt.Errorf("%w: %w", client.ErrUnknown, client.ErrUnauthorized):                                   unknown,
		fmt.Errorf("%w: %w: %w", client.ErrRefused, client.ErrServer, errors.New("too many connections")): unsent,
		fmt.Errorf("%w: %w", client.ErrNotSent, client.ErrInvalid):                                        refused,
		client.ErrNotSent: unsent,
		client.ErrUnknown: unknown,
		io.EOF:            unknown,
	} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
}
