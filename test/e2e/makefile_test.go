package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThoroughTestsAreRun: make test-long runs every test that leaves something out of a short run.
// It names its package and, unless it runs the whole package, the test.
func TestThoroughTestsAreRun(t *testing.T) {
	b, err := os.ReadFile(root + "Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(b), "\ntest-long:\n")
	recipe, _, _ = strings.Cut(strings.ReplaceAll(recipe, "\\\n", ""), "\n\n")
	pattern := regexp.MustCompile(`-run '([^']*)'`)
	run := map[string][]*regexp.Regexp{} // by package: the patterns of its tests that are run
	for _, line := range strings.Split(recipe, "\n") {
		if strings.Contains(line, "$(RACE)") {
			continue // another run of the same tests
		}
		line, _, _ = strings.Cut(line, "#")
		which := "."
		if m := pattern.FindStringSubmatch(line); m != nil {
			which = strings.ReplaceAll(m[1], "$$", "$")
		}
		for _, word := range strings.Fields(line) {
			if dir, ok := strings.CutPrefix(word, "./"); ok {
				run[dir] = append(run[dir], regexp.MustCompile(which))
			}
		}
	}
	short := 0
	for dir, tests := range shortTests(t) {
		for _, test := range tests {
			short++
			named := false
			for _, which := range run[dir] {
				named = named || which.MatchString(test)
			}
			if !named {
				t.Errorf("%s of ./%s leaves something out of a short run, and make test-long does not run it", test, dir)
			}
		}
	}
	if short < 10 {
		t.Errorf("%d tests leave something out of a short run, want more", short)
	}
}

// shortTests returns the functions that call testing.Short, by the directory of their package. If a helper
// does, test-long must run its whole package.
func shortTests(t *testing.T) map[string][]string {
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root || e.Name() == "node_modules" || e.Name() == ".git" {
				return fs.SkipDir // another module
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(filepath.Dir(path), root)
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Short" {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "testing" {
						found[dir] = append(found[dir], fn.Name.Name)
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
