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

// A node is a JSON value in the model that these tests compare with. The model
// is slow and obvious, and uses nothing of this package.
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

// form returns the canonical form of n, with its numbers written by number. It
// reports whether a double holds all of them, so that RFC 8785 has the same form.
func (n node) form(number func(string) (string, bool)) (text string, exact bool) {
	exact = true
	switch n.kind {
	case '"':
		return quote(n.text), true
	case '0':
		return number(n.text)
	case '{', '[':
		var parts []string
		for _, i := range n.order() {
			text, ok := n.members[i].form(number)
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

// storedForm returns the form of earlier versions, which left numbers that a
// double does not hold as they were.
func (n node) storedForm() string {
	text, _ := n.form(func(src string) (string, bool) {
		text, exact := numberForm(src)
		if !exact {
			text = src
		}
		return text, exact
	})
	return text
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

// numberForm returns the canonical form of a number, and whether a double holds
// it. It compares exact rational values.
func numberForm(src string) (text string, exact bool) {
	digits, n := decimalOf(src)
	if digits == "" {
		return "0", true
	}
	if n.CmpAbs(big.NewInt(1000)) < 0 {
		if f, err := strconv.ParseFloat(src, 64); err == nil {
			text, err := jcs.NumberToJSON(f)
			if err == nil && sameValue(text, src) {
				return text, true
			}
		}
	}

	// ECMA-262, Number::toString, over all digits.
	sign := src[:strings.LastIndexByte(src[:1], '-')+1]
	k, at := len(digits), int(n.Int64())
	switch {
	case !n.IsInt64() || at > 21 || at <= -6:
		exp := new(big.Int).Sub(n, big.NewInt(1)).String()
		if exp[0] != '-' {
			exp = "+" + exp
		}
		text = digits[:1] + strings.TrimSuffix("."+digits[1:], ".") + "e" + exp
	case k <= at:
		text = digits + strings.Repeat("0", at-k)
	case at > 0:
		text = digits[:at] + "." + digits[at:]
	default:
		text = "0." + strings.Repeat("0", -at) + digits
	}
	return sign + text, false
}

// decimalOf returns the digits of a number from the first to the last that is
// not 0, and the n for which its absolute value is 0.digits × 10ⁿ.
func decimalOf(src string) (digits string, n *big.Int) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(src, "-")), "e")
	whole, frac, _ := strings.Cut(mantissa, ".")
	digits = strings.TrimLeft(whole+frac, "0")
	n, ok := new(big.Int).SetString(strings.TrimPrefix(cmp.Or(exponent, "0"), "+"), 10)
	if !ok {
		panic(src)
	}
	n.Add(n, big.NewInt(int64(len(digits)-len(frac))))
	return strings.TrimRight(digits, "0"), n
}

// sameValue reports whether two numbers, whose exponents must be small, have
// the same value.
func sameValue(a, b string) bool {
	x, ok := new(big.Rat).SetString(a)
	y, too := new(big.Rat).SetString(b)
	return ok && too && x.Cmp(y) == 0
}

// depth returns how deep src, which is JSON, is nested.
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

// vary writes n in a random way that has the same canonical form: with white
// space, escapes, and members in any order.
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
		// The digits as one integer, scaled back by the exponent.
		if digits, n := decimalOf(text); digits != "" {
			sign := text[:strings.LastIndexByte(text[:1], '-')+1]
			n.Sub(n, big.NewInt(int64(len(digits)+3)))
			return sign + digits + "000E" + n.String()
		}
	}
	return text
}
