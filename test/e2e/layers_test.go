package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// layers reads the table of packages in docs/ARCHITECTURE.md: the packages of this module that each
// may import. The table lets the server serve any log, and keeps fsck from opening one for writing.
func layers(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(root + "docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed := make(map[string][]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\| ([a-z0-9/, ]*)\\|").FindAllStringSubmatch(string(b), -1) {
		allowed[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' })
	}
	return allowed
}

// TestLayers checks the imports of every package against the table.
func TestLayers(t *testing.T) {
	allowed := layers(t)
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	main, err := exec.Command("go", "list", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	module := strings.TrimSpace(string(main))
	packages := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name := "main"
		if words[0] != module {
			name = strings.TrimPrefix(words[0], module+"/")
		}
		packages++
		imports, known := allowed[name]
		if !known {
			t.Errorf("docs/ARCHITECTURE.md has no row for package %s", name)
		}
		for _, imported := range words[1:] {
			short, ours := strings.CutPrefix(imported, module+"/")
			if ours && !slices.Contains(imports, short) && !slices.Contains(imports, "any") {
				t.Errorf("%s imports %s, which its row in docs/ARCHITECTURE.md does not allow", name, short)
			}
			if imported == "github.com/tidwall/wal" && name != "segment" {
				t.Errorf("%s imports tidwall/wal, which only segment may", name)
			}
		}
	}
	if len(allowed) != packages {
		t.Errorf("docs/ARCHITECTURE.md has rows for %d packages, there are %d", len(allowed), packages)
	}
}

// TestArchitectureNames checks that the files and functions that docs/ARCHITECTURE.md names exist.
func TestArchitectureNames(t *testing.T) {
	b, err := os.ReadFile(root + "docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\b[a-z]+/[a-z/_]+\.go\b`).FindAllString(string(b), -1) {
		if _, err := os.Stat(root + m); err != nil {
			t.Errorf("docs/ARCHITECTURE.md names %s: %v", m, err)
		}
	}
	// `Type.Method`, path/file.go, or with "in" between them
	place := regexp.MustCompile("`([A-Za-z]+)\\.([A-Za-z]+)`(?:,|\\s+in)\\s+([a-z]+/[a-z/_]+\\.go)")
	places := place.FindAllStringSubmatch(string(b), -1)
	if len(places) < 8 {
		t.Errorf("docs/ARCHITECTURE.md names %d functions with their files, want 8 or more", len(places))
	}
	for _, m := range places {
		source, err := os.ReadFile(root + m[3])
		if err != nil {
			t.Error(err)
			continue
		}
		declared := regexp.MustCompile(`(?m)^func (\([a-z]+ \*?` + m[1] + `\) )?` + m[2] + `\(`)
		if !declared.Match(source) {
			t.Errorf("docs/ARCHITECTURE.md places %s.%s in %s, which does not declare it", m[1], m[2], m[3])
		}
	}
}
