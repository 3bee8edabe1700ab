package main

import (
	"strings"
	"testing"
)

// TestPairs: the ratio is the median of the rounds' ratios, not the ratio of medians.
func TestPairs(t *testing.T) {
	r := new(report)
	c := r.cell("append", "1x1")
	for i, base := range []float64{100, 200, 400} {
		tree := []float64{110, 180, 480}[i]
		c.target("base").Rounds = append(c.target("base").Rounds, measurement{"rate": base, "p99": .001, "server_cpu": 1})
		c.target("ours").Rounds = append(c.target("ours").Rounds, measurement{"rate": tree, "p99": .002, "server_cpu": 1})
	}
	c.summarize()
	var out strings.Builder
	if err := writePairs(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1.100", "1.000–1.150", " 200 ", " 180 ", "2.000", " 1000 ", " 2000 "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	c.target("base").Error = "broken"
	if err := writePairs(&out, r); err == nil || !strings.Contains(err.Error(), "append 1x1, base: broken") {
		t.Errorf("the error is %v", err)
	}
}
