package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	testNamed = regexp.MustCompile("`((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")
)

// TestReliability compares docs/RELIABILITY.md with the tests: each row of the matrix
// names its test, each named test exists, and each test of test/faults/ and
// test/cluster/ is named.
func TestReliability(t *testing.T) {
	sources := make(map[string][]string) // by test: the files with a test of that name
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "node_modules" || e.Name() == ".git") {
			return fs.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range testFunc.FindAllSubmatch(b, -1) {
			sources[string(m[1])] = append(sources[string(m[1])], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(root + "docs/RELIABILITY.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)

	_, matrix, _ := strings.Cut(text, "\n## The matrix\n")
	matrix, _, found := strings.Cut(matrix, "\n## ")
	if !found {
		t.Fatal("docs/RELIABILITY.md has no matrix")
	}
	rows := 0
	for line := range strings.Lines(matrix) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[0]) == "fault" {
			continue
		}
		rows++
		if len(cells) != 5 || !testNamed.MatchString(cells[len(cells)-1]) {
			t.Errorf("this row has %d cells, want 5, the last with a test's name:\n%s", len(cells), line)
		}
	}
	if rows == 0 {
		t.Error("the matrix of docs/RELIABILITY.md has no rows")
	}

	named := make(map[string]bool)
	for _, m := range testNamed.FindAllStringSubmatch(text, -1) {
		name, sub := m[1], m[2]
		named[name] = true
		if len(sources[name]) == 0 {
			t.Errorf("docs/RELIABILITY.md names %s, and there is no such test", name)
		} else if sub != "" && !hasSubtest(t, sources[name], sub) {
			t.Errorf("docs/RELIABILITY.md names %s/%s, and %s has no %q", name, sub, sources[name], sub)
		}
	}
	for name, files := range sources {
		for _, file := range files {
			dir := filepath.Dir(file)
			if (dir == root+"test/faults" || dir == root+"test/cluster") && name != "TestMain" && !named[name] {
				t.Errorf("%s has %s, and docs/RELIABILITY.md does not name it", file, name)
			}
		}
	}
}

// hasSubtest reports whether one of the files has a string that is the name of a
// subtest, as go test prints it.
func hasSubtest(t *testing.T, files []string, sub string) bool {
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{sub, strings.ReplaceAll(sub, "_", " ")} {
			if strings.Contains(string(b), strconv.Quote(name)) {
				return true
			}
		}
	}
	return false
}
