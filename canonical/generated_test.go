package canonical

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// TestGenerated makes the comparisons of FuzzAppend with random values that are
// hard for Append. Mutating bytes seldom leads to such values.
func TestGenerated(t *testing.T) {
	for start := time.Now(); time.Since(start) < time.Second/2; {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		src := []byte(generate(r, 0).vary(r) + ",")
		out, n, err := Append([]byte{}, src)
		if !checkExtent(t, src, n, err) {
			t.Fatalf("seed %#x: %q: %v", seed, src, err)
		}
		checkAppended(t, src[:n], out, err)
	}
}

// generate returns a random value at a level of nesting.
func generate(r *rand.Rand, level int) node {
	switch k := r.IntN(8); {
	case level == 0 || k < 3 && level < 6:
		n := node{kind: '{'}
		for range r.IntN(1 + r.IntN(24)) {
			n.names = append(n.names, generateString(r))
			n.members = append(n.members, generate(r, level+1))
		}
		return n
	case k == 3 && level < 6:
		n := node{kind: '['}
		for range r.IntN(4) {
			n.members = append(n.members, generate(r, level+1))
		}
		return n
	case k == 4:
		return node{kind: '"', text: generateString(r)}
	case k == 5:
		return node{kind: 't', text: "true"}
	}
	return node{kind: '0', text: generateNumber(r)}
}

// generateString returns a string of characters that sort and escape in
// different ways, near the eight bytes of a nameKey.
func generateString(r *rand.Rand) string {
	alphabet := []rune("\x00\x01\b\n\x1f \"/09A\\a\u007f\u0080é\ud7ff\ue000\ufb33\ufffd\uffff\U00010000\U0010ffff")
	s := []rune("aaaaaaaa")[:r.IntN(9)]
	if r.IntN(2) == 0 {
		s = nil
	}
	for range r.IntN(4) {
		s = append(s, alphabet[r.IntN(len(alphabet))])
	}
	return string(s)
}

// generateNumber returns a number that a double holds, or one close to it.
func generateNumber(r *rand.Rand) string {
	f := math.Float64frombits(r.Uint64())
	switch r.IntN(6) {
	case 0:
		return strconv.FormatInt(r.Int64()>>r.IntN(64)-r.Int64N(2), 10)
	case 1:
		f = float64(r.IntN(2000)-1000) / math.Pow10(r.IntN(12))
	case 2:
		f = math.Ldexp(float64(1+r.IntN(3)), r.IntN(2100)-1074) // also the least ones
	case 3:
		f = float64(1<<53 + r.IntN(8) - 4)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	// The shortest text of f, or one with too few or too many digits to be it.
	digits := -1
	if r.IntN(2) == 0 {
		digits = 12 + r.IntN(8)
	}
	return strconv.FormatFloat(f, "eEgf"[r.IntN(4)], digits, 64)
}
