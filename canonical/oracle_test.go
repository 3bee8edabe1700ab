package canonical

import (
	"bytes"
	"cmp"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gowebpki/jcs"
)

// A node is a JSON value as the model of these tests has it: slow, obvious, and
// built on nothing of this package.
type node struct {
	kind    byte // that of jsontext: one of n f t " 0 { [
	text    string
	names   []string
	members []node // of an object or array
}

// parse reads a value that jsontext accepts.
func parse(src []byte) (node, error) {
	return parseNext(jsontext.NewDecoder(bytes.NewReader(src)))
}

func parseNext(dec *jsontext.Decoder) (n node, err error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return n, err
	}
	n.kind, n.text = byte(tok.Kind()), tok.String()
	if n.kind != '{' && n.kind != '[' {
		return n, nil
	}
	for end := jsontext.Kind(n.kind + 2); dec.PeekKind() != end; {
		if n.kind == '{' {
			name, err := dec.ReadToken()
			if err != nil {
				return n, err
			}
			n.names = append(n.names, name.String())
		}
		member, err := parseNext(dec)
		if err != nil {
			return n, err
		}
		n.members = append(n.members, member)
	}
	_, err = dec.ReadToken()
	return n, err
}

// form returns the canonical form of n, and whether all its numbers are given
// back by a double, so that it is that of RFC 8785 too.
func (n node) form() (text string, exact bool) {
	exact = true
	switch n.kind {
	case '"':
		return quote(n.text), true
	case '0':
		return numberForm(n.text)
	case '{', '[':
		var parts []string
		for _, i := range n.order() {
			text, ok := n.members[i].form()
			exact = exact && ok
			if n.kind == '{' {
				text = quote(n.names[i]) + ":" + text
			}
			parts = append(parts, text)
		}
		return string(rune(n.kind)) + strings.Join(parts, ",") + string(rune(n.kind+2)), exact
	}
	return n.text, true
}

// order returns the members of n in canonical order.
func (n node) order() []int {
	order := make([]int, len(n.members))
	for i := range order {
		order[i] = i
	}
	if n.kind == '{' {
		slices.SortFunc(order, func(i, j int) int {
			return slices.Compare(utf16.Encode([]rune(n.names[i])), utf16.Encode([]rune(n.names[j])))
		})
	}
	return order
}

func quote(s string) string {
	text, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// numberForm returns the canonical form of a number, and whether a double gives
// it back. It compares exact rational values.
func numberForm(src string) (text string, exact bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(src), "e")
	if strings.Trim(mantissa, "-0.") == "" {
		return "0", true
	}
	// No source here is long enough to make up for an exponent like this, and
	// math/big would be busy with it for ever.
	const tooMuch = 10_000
	if e, err := strconv.Atoi(cmp.Or(exponent, "0")); err != nil || e > tooMuch || e < -tooMuch {
		return src, false
	}
	f, err := strconv.ParseFloat(src, 64)
	if err != nil {
		return src, false
	}
	text, err = jcs.NumberToJSON(f)
	if err != nil {
		return src, false
	}
	written, _ := new(big.Rat).SetString(text)
	value, _ := new(big.Rat).SetString(src)
	if written.Cmp(value) != 0 {
		return src, false
	}
	return text, true
}

// depth returns how many levels src nests, which is JSON.
func depth(src []byte) (deepest int) {
	level, inside := 0, false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case c == '"':
			inside = !inside
		case inside && c == '\\':
			i++
		case inside:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// vary writes n in some other way that has the same canonical form: with white
// space, escapes and members in any order.
func (n node) vary(r *rand.Rand) string {
	space := func() string { return strings.Repeat(" \n\t\r"[r.IntN(4):][:1], max(0, r.IntN(6)-3)) }
	switch n.kind {
	case '"':
		return varyString(r, n.text)
	case '0':
		return varyNumber(r, n.text)
	case '{', '[':
		order := r.Perm(len(n.members))
		if n.kind == '[' {
			slices.Sort(order)
		}
		var parts []string
		for _, i := range order {
			text := space() + n.members[i].vary(r) + space()
			if n.kind == '{' {
				text = space() + varyString(r, n.names[i]) + space() + ":" + text
			}
			parts = append(parts, text)
		}
		return string(rune(n.kind)) + space() + strings.Join(parts, ",") + space() + string(rune(n.kind+2))
	}
	return n.text
}

func varyString(r *rand.Rand, s string) string {
	const hex = "0123456789abcdefABCDEF"
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		if c >= ' ' && c != '"' && c != '\\' && r.IntN(4) > 0 {
			b.WriteRune(c)
			continue
		}
		if i := strings.IndexRune("\b\f\n\r\t\"\\/", c); i >= 0 && r.IntN(2) > 0 {
			b.WriteString(`\` + `bfnrt"\/`[i:i+1])
			continue
		}
		for _, unit := range utf16.Encode([]rune{c}) {
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				digit := int(unit) >> shift & 0xf
				if digit > 9 {
					digit += 6 * r.IntN(2)
				}
				b.WriteByte(hex[digit])
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}

func varyNumber(r *rand.Rand, text string) string {
	if _, exact := numberForm(text); !exact {
		return text // It stands for itself alone.
	}
	switch r.IntN(4) {
	case 0:
		if !strings.ContainsAny(text, "eE") {
			return text + "e0"
		}
	case 1:
		if !strings.ContainsAny(text, ".eE") {
			return text + ".00"
		}
	case 2:
		// The digits as one integer, scaled back by the exponent. Leading zeros
		// are not allowed, and zero needs a digit.
		mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
		whole, frac, _ := strings.Cut(mantissa, ".")
		sign := whole[:strings.LastIndexByte(whole, '-')+1]
		digits := strings.TrimLeft(whole[len(sign):]+frac, "0")
		if e, err := strconv.Atoi(cmp.Or(exponent, "0")); err == nil && digits != "" {
			return sign + digits + "000E" + strconv.Itoa(e-len(frac)-3)
		}
	}
	return text
}
