package e2e

import (
	"bytes"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// manFor returns the manual page.
func manFor(t *testing.T) []byte {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	page, err := exec.Command(path, "man").Output()
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// TestManPage: the page has the commands and the flags of the help, each flag in
// the part of its command, and the examples unchanged.
func TestManPage(t *testing.T) {
	page := strings.ReplaceAll(string(manFor(t)), `\-`, "-")
	_, own, _ := strings.Cut(page, "\n.SH FLAGS\n")
	own, commands, _ := strings.Cut(own, "\n.SH COMMANDS\n")
	commands, _, _ = strings.Cut(commands, "\n.SH ")
	parts := map[string]string{"": own}
	for _, part := range strings.Split("\n"+commands, "\n.SS ")[1:] {
		name, _, _ := strings.Cut(strings.Fields(part)[0], " ")
		parts[name] = part
		if !strings.Contains(part, "tcp-log-server "+name) {
			t.Errorf("%s has no example", name)
		}
	}
	all := helped(t)
	if len(parts) != len(all) {
		t.Errorf("the page has %d parts, the help shows %d commands", len(parts), len(all))
	}
	flag := regexp.MustCompile(`\\fB(-[^\\]+)\\fR`)
	for name, want := range all {
		var got []string
		for _, m := range flag.FindAllStringSubmatch(parts[name], -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q has in the page the flags\n%q, the help shows\n%q", name, got, want)
		}
	}
}

// TestManPageForm checks the page with the tools that format manual pages.
func TestManPageForm(t *testing.T) {
	page := manFor(t)
	for _, tool := range [][]string{{"mandoc", "-Tlint", "-Wwarning"}, {"groff", "-man", "-ww", "-z"}} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			t.Logf("there is no %s here", tool[0])
			continue
		}
		cmd := exec.Command(tool[0], tool[1:]...)
		cmd.Stdin = bytes.NewReader(page)
		out, _ := cmd.CombinedOutput() // mandoc sets its exit code as well
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "missing date") { // a build without a revision has none
				t.Errorf("%s: %s", tool[0], line)
			}
		}
	}
}
