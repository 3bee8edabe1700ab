package canonical

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	for _, tt := range []struct{ name, src string }{
		{"sorted", sorted200},
		{"unsorted", unsorted200},
		{"numbers", string(numbers())},
		{"escapes", `{"\u0062":"\u00e9\/\ud834\udd1e\u0001","\u0061":[1E3,0.10,12345678901234567]}`},
	} {
		src := []byte(tt.src)
		out := make([]byte, 0, 2*len(src))
		if n := testing.AllocsPerRun(1000, func() { out, _, _ = Append(out[:0], src) }); n != 0 {
			t.Errorf("Append allocates %v times for %s", n, tt.name)
		}
		if n := testing.AllocsPerRun(1000, func() { _, _ = Skip(src) }); n != 0 {
			t.Errorf("Skip allocates %v times for %s", n, tt.name)
		}
	}
}

// TestAllocBounds: whatever the input, Append allocates memory in proportion to
// its length. The worst case is tiny members out of order: some 30 bytes of scratch
// for each byte, and the smaller buffers that scratch outgrows.
func TestAllocBounds(t *testing.T) {
	const times, plus = 64, 64 << 10
	var inputs [][]byte
	for _, target := range []string{"FuzzAppend", "FuzzSkip", "FuzzVariants"} {
		files, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no corpus of %s: %v", target, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, text, _ := strings.Cut(string(b), "[]byte(")
			text, _, _ = strings.Cut(text, "\n")
			src, err := strconv.Unquote(strings.TrimSuffix(text, ")"))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			inputs = append(inputs, []byte(src))
		}
	}
	for _, s := range []string{
		"[" + strings.Repeat("1e20,", 50_000) + "1]",
		"[" + strings.Repeat("1e-400,10E99999999999999999999,", 10_000) + strings.Repeat("1234567890", 30_000) + "]",
		strings.Repeat("[", 100_000),
		strings.Repeat(`{"a":`, 100) + strings.Repeat(`{"b":1,"a":2},`, 10_000),
		"{" + strings.Repeat(`"b":1,`, 50_000),
		"[" + strings.Repeat(`"\u0041\/",`, 20_000) + "1]",
		manyNames(20_000),
	} {
		inputs = append(inputs, []byte(s))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, src := range inputs {
		for range 10 {
			least := ^uint64(0)
			for range 3 { // other goroutines may allocate meanwhile
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				Append(nil, src)
				Skip(src)
				runtime.ReadMemStats(&after)
				least = min(least, after.TotalAlloc-before.TotalAlloc)
			}
			if limit := uint64(times*len(src) + plus); least > limit {
				t.Fatalf("Append allocates %d bytes for an input of %d, want at most %d: %.200q", least, len(src), limit, src)
			}
			if src = bytes.Clone(src); len(src) > 0 {
				src[random.IntN(len(src))] = `{}[]",:\u019eE-. ntf`[random.IntN(20)]
			}
		}
	}
}

// manyNames returns an object of n members out of order.
func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%d":0`, n-i)
	}
	return "{" + b.String()[1:] + "}"
}
