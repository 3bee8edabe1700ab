package main

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables and the chart in the documents from the reports beside them")

// TestPublished: the tables and the chart in the documents match the reports beside
// them.
func TestPublished(t *testing.T) {
	const chart = "../../docs/append.svg"
	tables := func(r *report) string {
		var b strings.Builder
		writeTables(&b, r)
		return b.String()
	}
	// The tables for users; the rest is in the notes.
	summary := func(r *report) string {
		return tables(r.only("append", "replay", "fanout").without("null"))
	}
	for _, p := range []struct {
		document, report string
		text             func(*report) string
	}{
		{"../../README.md", "bench.json", readmeTable},
		{"../../docs/PERFORMANCE.md", "bench.json", summary},
		{"../../docs/PERFORMANCE-NOTES.md", "bench-http.json", tables},
		{"../../docs/PERFORMANCE-NOTES.md", "bench-cluster.json", tables},
		{"../../docs/PERFORMANCE-NOTES.md", "bench.json", tables},
		{"../../docs/PERFORMANCE-NOTES.md", "bench-client.json", tables},
	} {
		r, err := loadReport("../../docs/" + p.report)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(p.document)
		if err != nil {
			t.Fatal(err)
		}
		begin, end := "<!-- of docs/"+p.report+" -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(string(text), begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no place for %s, between %q and %q", p.document, p.report, begin, end)
		}
		if want := before + begin + p.text(r) + end + after; *update {
			if err := os.WriteFile(p.document, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if string(text) != want {
			t.Errorf("the tables in %s are not those of docs/%s: go test -run Published -update .", p.document, p.report)
		}
	}
	r, err := loadReport("../../docs/bench.json")
	if err != nil {
		t.Fatal(err)
	}
	image := drawChart(r.only("append", "replay"))
	if *update {
		if err := os.WriteFile(chart, []byte(image), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got, err := os.ReadFile(chart); err != nil || string(got) != image {
		t.Errorf("%s is not the chart of docs/bench.json (%v): go test -run Published -update .", chart, err)
	}
}

// TestCellsAreDocumented: docs/PERFORMANCE.md describes each group of cells and no other. Each cell is
// in one of the groups, so it runs by default.
func TestCellsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/PERFORMANCE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| `-cells` |")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(.+?)` \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, m[1])
	}
	if !slices.Equal(documented, groupNames()) {
		t.Errorf("docs/PERFORMANCE.md has the groups %q, want %q", documented, groupNames())
	}
	for _, c := range allCells(settings{}) {
		if !slices.Contains(groupNames(), c.group) {
			t.Errorf("the cell %s/%s is in no group that is run and shown", c.group, c.name)
		}
	}
}
