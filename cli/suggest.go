package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// urfave/cli suggests the nearest name however different it is, and on lines of its own.

// unknownCommand says that there is no command of that name, and suggests one.
func unknownCommand(root *cli.Command, name string) error {
	names := commandNames(root)
	text := fmt.Sprintf("there is no command %q", name)
	switch near := nearest(name, names); {
	case slices.Contains([]string{"serve", "server", "start", "run", "daemon"}, name):
		text += "; the server runs if no command is named"
	case near != "":
		text += fmt.Sprintf(" (did you mean %s?)", near)
	default:
		text += ", want one of " + strings.Join(names, ", ")
	}
	return usageError(root, text)
}

// unknownFlag says that cmd has no flag of that name, and suggests one.
func unknownFlag(cmd *cli.Command, name string) string {
	text := "there is no flag " + name
	var names []string
	for _, f := range cmd.Flags {
		names = append(names, f.Names()...)
	}
	if near := nearest(strings.TrimLeft(name, "-"), append(names, "help", "version")); near != "" {
		text += " (did you mean --" + near + "?)"
	}
	return text
}

// nearest returns the one of names that a typing error may have turned into name, or "".
func nearest(name string, names []string) (near string) {
	if len(name) < 2 {
		return ""
	}
	least := (len(name)+2)/3 + 1 // too many differences
	for _, n := range names {
		if d := distance(name, n); d < least {
			near, least = n, d
		}
	}
	return near
}

// distance returns how many bytes must be added, removed or replaced to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(d, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
