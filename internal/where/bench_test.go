package where

import (
	"bytes"
	"fmt"
	"testing"
)

// benchRun returns a run of entries of about 200 bytes, one in 1000 of them by ann.
func benchRun(b *testing.B, entries int) []byte {
	var run bytes.Buffer
	for i := range entries {
		user := fmt.Sprintf("user-%03d", 1+i%999)
		if i%1000 == 500 {
			user = "ann"
		}
		entry := form(b, fmt.Sprintf(`{"id":%d,"user":%q,"order":{"state":"paid","total":%d.5,"lines":[{"sku":"A-%04d","n":2},{"sku":"B-%04d","n":1}]},"note":"left at the \"back door\"","time":"2026-11-28T09:00:%02d.%06dZ"}`,
			1_000_000+i, user, i%500, i%10_000, i%7777, i%60, i%1_000_000))
		run.Write(entry)
		run.WriteByte('\n')
	}
	b.Logf("%.0f bytes an entry: %s", float64(run.Len())/float64(entries), run.Bytes()[:bytes.IndexByte(run.Bytes(), '\n')])
	return run.Bytes()
}

// BenchmarkNext reports the entries searched per second.
func BenchmarkNext(b *testing.B) {
	const entries = 10_000
	run := benchRun(b, entries)
	for _, bb := range []struct {
		name, filter string
		matches      int
	}{
		{"one in 1000", `{"user":"ann"}`, entries / 1000},
		{"none, needle in none", `{"user":"bob"}`, 0},
		{"none, needle in all", `{"state":"paid"}`, 0},
		{"none, needle in all, deep", `{"order":{"order":{"state":"paid"}}}`, 0},
		{"none, a number that a double does not hold", `{"id":9007199254740993}`, 0},
		{"all", `{"order":{"state":"paid"}}`, entries},
		{"all, by two members", `{"note":"left at the \"back door\"","order":{"state":"paid"}}`, entries},
		{"all, {}", `{}`, entries},
	} {
		b.Run(bb.name, func(b *testing.B) {
			f := compile(b, bb.filter)
			b.SetBytes(int64(len(run)))
			b.ReportAllocs()
			for b.Loop() {
				matches, lines := 0, 0
				for rest := run; rest != nil; {
					passed, line, after := f.Next(rest)
					lines += passed
					if line != nil {
						lines++
						matches++
					}
					rest = after
				}
				if lines != entries || matches != bb.matches {
					b.Fatalf("%d of %d entries match, want %d of %d", matches, lines, bb.matches, entries)
				}
			}
			b.ReportMetric(float64(b.N)*entries/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
