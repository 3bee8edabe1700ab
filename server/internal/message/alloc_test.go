package message

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestAllocation: a line takes no more memory than its length justifies, whatever its
// content: its canonical form is at most about four times as long (1e20), and growing the
// memory for it leaves several times that as garbage.
func TestAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	const times, plus = 24, 64 << 10
	files, err := filepath.Glob(filepath.Join("testdata", "fuzz", "FuzzParse", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no corpus: %v", err)
	}
	lines := [][]byte{
		[]byte(`{"id":"x","entry":[` + strings.Repeat("1e20,", 20_000) + `1]}`), // the canonical form writes these out
		[]byte(`{"id":"x","entry":` + strings.Repeat("[", 100_000)),
		[]byte(`{"id":"x","entries":[` + strings.Repeat("[],", 20_000) + `[]]}`),
		[]byte(`{"id":"x","entries":[` + strings.Repeat("7,", 20_000) + `[]]}`),
		[]byte(`{"id":"x","entries":[` + strings.Repeat(`{"":1,"":1},`, 5_000) + `[]]}`),
		[]byte(`{"id":"x","entry":{` + strings.Repeat(`"":{},`, 20_000) + `"a":1}}`),
		[]byte(`{"id":"` + strings.Repeat(`\u0041`, 20_000) + `","entry":[]}`),
		[]byte(`{"` + strings.Repeat(`\u0069`, 20_000) + `":1,"entry":[]}`),
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSpace(strings.TrimPrefix(string(b), "go test fuzz v1\n"))
		line, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(text, "[]byte("), ")"))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		lines = append(lines, []byte(line))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, line := range lines {
		for range 20 {
			least := ^uint64(0)
			for range 3 { // others may allocate meanwhile
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				Parse(line, nil)
				LeadingID(line)
				runtime.ReadMemStats(&after)
				least = min(least, after.TotalAlloc-before.TotalAlloc)
			}
			if limit := uint64(times*len(line) + plus); least > limit {
				t.Fatalf("%d bytes are allocated for a line of %d, want %d at most: %.200q", least, len(line), limit, line)
			}
			if line = bytes.Clone(line); len(line) > 2 {
				for range 1 + random.IntN(3) {
					line[random.IntN(len(line))] = `{}[]",:\u019eE-. ntf`[random.IntN(20)]
				}
				at := random.IntN(len(line))
				line = append(line[:at:at], line[min(at+random.IntN(3), len(line)):]...)
			}
		}
	}
}
