package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEventsTable compares the table of log events in docs/OPERATIONS.md with the
// events that the code logs.
func TestEventsTable(t *testing.T) {
	logged := make(map[string]bool)
	event := regexp.MustCompile(`Str\("event", "([a-z]+)"\)`)
	for _, pattern := range []string{"archive/*.go", "cli/*.go", "daemon/*.go", "engine/*.go", "internal/replica/*.go", "server/*.go"} {
		files, err := filepath.Glob(root + pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range event.FindAllSubmatch(b, -1) {
				logged[string(m[1])] = true
			}
		}
	}
	b, err := os.ReadFile(root + "docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "| event | level | meaning |")
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z`, ]+) \\|").FindAllStringSubmatch(table, -1) {
		for _, m := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(row[1], -1) {
			documented[m[1]] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(logged)); !slices.Equal(got, want) {
		t.Errorf("docs/OPERATIONS.md has the events\n%q, the code logs\n%q", got, want)
	}
}
