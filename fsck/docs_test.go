package fsck

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestDocumented compares docs/FSCK.md with the code: every kind of finding has a
// section, under its severity and in order, and every member of the printed objects is
// named.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/FSCK.md")
	must(t, err)
	text := string(b)
	_, text, _ = strings.Cut(text, "\n## Errors\n")
	sections, format, ok := strings.Cut(text, "\n## `--json`\n")
	if !ok {
		t.Fatal("there is no section on --json")
	}
	var documented []string
	severity := Error
	for line := range strings.Lines(sections) {
		if line == "## Hints\n" {
			severity = Hint
		}
		if kind, ok := strings.CutPrefix(line, "### "); ok {
			kind = strings.TrimSpace(kind)
			documented = append(documented, kind)
			if got := Kind(kind).Severity(); got != severity {
				t.Errorf("%s is a %s, and documented as a %s", kind, got, severity)
			}
		}
	}
	var kinds []string
	for _, k := range Kinds() {
		kinds = append(kinds, string(k))
	}
	if !reflect.DeepEqual(documented, kinds) {
		t.Errorf("documented are\n%v, there are\n%v", documented, kinds)
	}
	for _, v := range []any{Finding{First: 1, Last: 1, Want: "x", Got: "x"}, Summary{}, Step{First: 1, Last: 1}, Outcome{}} {
		b, err := json.Marshal(v)
		must(t, err)
		var members map[string]any
		must(t, json.Unmarshal(b, &members))
		for name := range members {
			if !strings.Contains(format, "`"+name+"`") {
				t.Errorf("member %q of %T is not documented", name, v)
			}
		}
	}
}
