package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestList: every mutation of the list fits this tree.
func TestList(t *testing.T) {
	all, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Errorf("there are %d mutations, want 20 or more", len(all))
	}
	for _, m := range all {
		if _, err := m.apply("../../.."); err != nil {
			t.Error(err)
		}
	}
}

// TestApply: a line that is missing, or occurs more than once, is an error.
func TestApply(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte("func a() {\n\tone()\n}\nfunc b() {\n\tone()\n\ttwo()\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ in, old, want, err string }{
		{"", "two()", "func a() {\n\tone()\n}\nfunc b() {\n\tone()\nnew\n}\n", ""},
		{"func b", "one()", "func a() {\n\tone()\n}\nfunc b() {\nnew\n\ttwo()\n}\n", ""},
		{"", "one()", "", "more than one"},
		{"", "three()", "", "has no line"},
		{"func c", "one()", "", "begins with"},
	} {
		got, err := mutation{name: "m", file: "x.go", in: tt.in, old: tt.old, new: "new"}.apply(dir)
		if string(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("in %q, %q: %q, %v, want %q and %q", tt.in, tt.old, got, err, tt.want, tt.err)
		}
	}
}

// TestParse: an invalid list is refused.
func TestParse(t *testing.T) {
	const good = "name: a\nfile: f\nold: x\nnew: y\ntest: t\n"
	if all, err := parse("# comment\n\n" + good); err != nil || len(all) != 1 {
		t.Errorf("a good list is %v, %v", all, err)
	}
	for _, text := range []string{good + "\n" + good, "name: a\n", good + "odd: 1\n", strings.Replace(good, "y", "x", 1)} {
		if _, err := parse(text); err == nil {
			t.Errorf("the list %q is taken", text)
		}
	}
}
