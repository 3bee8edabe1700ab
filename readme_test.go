package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

var update = flag.Bool("update", false, "write what documents should say instead of checking it")

// settingsTable is the table of the daemon's settings, as the documents have it.
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

// TestSettingsTable holds the tables in the documents to the flags.
func TestSettingsTable(t *testing.T) {
	for _, name := range []string{"README.md", "docs/OPERATIONS.md"} {
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
			t.Errorf("the table in %s is not what the flags say; run `go test -run SettingsTable -update .`; want\n%s", name, want)
			continue
		}
		if err := os.WriteFile(name, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadmeSession plays the netcat session of the README: each command's input
// is sent to a fresh server as netcat would, and the answer must be what follows
// the command.
func TestReadmeSession(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, session, ok := strings.Cut(string(b), "```console\n")
	session, _, ok2 := strings.Cut(session, "```")
	if !ok || !ok2 {
		t.Fatal("README.md has no console session")
	}
	command := regexp.MustCompile(`^echo '(.*)' \| nc -N localhost 8089$`)
	d := start(t, "DATA=memory")
	played := 0
	for _, step := range strings.Split("\n"+session, "\n$ ")[1:] {
		line, want, _ := strings.Cut(step, "\n")
		m := command.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("the session has a command that this test cannot play: %s", line)
		}
		if got := talk(t, d.addr, m[1]+"\n"); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s\nanswers %swant    %s", line, got, want)
		}
		played++
	}
	if played < 2 {
		t.Errorf("the session has %d commands, want 2 or more", played)
	}
}
