package main

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the README's table and the chart anew, from docs/bench.json")

// TestReadme: the table and the chart in the README are those of the report beside
// them.
func TestReadme(t *testing.T) {
	const readme, chart = "../README.md", "../docs/append.svg"
	r, err := loadReport("../docs/bench.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- of docs/bench.json -->\n", "<!-- end -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table, between %q and %q", readme, begin, end)
	}
	want := before + begin + readmeTable(r) + end + after
	if *update {
		if err := os.WriteFile(readme, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(chart, []byte(drawChart(r)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("the table in %s is not that of docs/bench.json: go test -run Readme -update .", readme)
	}
	if got, err := os.ReadFile(chart); err != nil || string(got) != drawChart(r) {
		t.Errorf("%s is not the chart of docs/bench.json (%v): go test -run Readme -update .", chart, err)
	}
}
