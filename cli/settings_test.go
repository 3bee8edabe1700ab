package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

var update = flag.Bool("update", false, "write what documents should say instead of checking it")

// settingsTable is the table of the server's settings, as in the documents.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("| variable | flag | default | |\n|---|---|---|---|\n")
	for _, f := range settings() {
		doc := f.(cli.DocGenerationFlag)
		value := doc.GetDefaultText()
		if value == "" {
			value = doc.GetValue()
		}
		usage := doc.GetUsage()
		if before, after, ok := strings.Cut(usage, " (default: "); ok {
			usage, value = before, strings.TrimSuffix(after, ")")
		}
		fmt.Fprintf(&b, "| `%s` | `--%s` | %s | %s |\n", doc.GetEnvVars()[0], f.Names()[0], strings.Trim(value, `"`), strings.ReplaceAll(usage, "`", ""))
	}
	return b.String()
}

// TestSettingsTable compares the tables in the documents with the flags.
func TestSettingsTable(t *testing.T) {
	for _, name := range []string{"../docs/OPERATIONS.md"} {
		const begin, end = "<!-- settings -->\n", "<!-- /settings -->"
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(b), begin)
		table, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no %q and %q", name, begin, end)
		}
		want := settingsTable()
		if table == want {
			continue
		}
		if !*update {
			t.Errorf("the table in %s is not what the flags say; run `go test ./cli -run SettingsTable -update`; want\n%s", name, want)
			continue
		}
		if err := os.WriteFile(name, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDefaultsFile compares the file of settings that the package installs with the
// flags.
func TestDefaultsFile(t *testing.T) {
	const name, begin = "../packaging/default", "# ---\n"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, got, ok := strings.Cut(string(b), begin)
	if !ok {
		t.Fatalf("%s has no line %q, which begins the settings", name, begin)
	}
	var want strings.Builder
	for _, f := range settings() {
		doc := f.(cli.DocGenerationFlag)
		value := doc.GetDefaultText()
		if value == "" {
			value = doc.GetValue()
		}
		if f.Names()[0] == "data" {
			value = "/var/lib/tcp-log-server"
		}
		fmt.Fprintf(&want, "\n# %s\n#%s=%s\n", strings.ReplaceAll(doc.GetUsage(), "`", ""), doc.GetEnvVars()[0], strings.Trim(value, `"`))
	}
	if got == want.String() {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the flags; run `go test ./cli -run DefaultsFile -update`; want after its head\n%s", name, want.String())
	}
	if err := os.WriteFile(name, []byte(head+begin+want.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
