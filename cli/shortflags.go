package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// splitShortFlags splits the one-letter flags of a command that are written as one word or
// together with a value, as in `tail -fn2`, which package cli does not. A word that is a flag
// itself, or does not begin with one, stays whole.
func splitShortFlags(root *cli.Command, args []string) []string {
	if len(args) < 3 || root.Command(args[1]) == nil {
		return args
	}
	flags := root.Command(args[1]).Flags
	find := func(name string) (known, valued bool) {
		for _, f := range flags {
			if slices.Contains(f.Names(), name) {
				doc, ok := f.(cli.DocGenerationFlag)
				return true, ok && doc.TakesValue()
			}
		}
		return false, false
	}
	split := func(arg string) []string {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if known, _ := find(name); known || len(arg) < 3 || !strings.HasPrefix(arg, "-") || strings.HasPrefix(arg, "--") {
			return []string{arg}
		}
		var parts []string
		for i, letter := range arg[1:] {
			rest := arg[1+i+len(string(letter)):]
			switch known, valued := find(string(letter)); {
			case !known && i == 0:
				return []string{arg}
			case valued && rest != "":
				return append(parts, "-"+string(letter)+"="+strings.TrimPrefix(rest, "="))
			default:
				parts = append(parts, "-"+string(letter))
			}
		}
		return parts
	}
	out := slices.Clone(args[:2])
	for rest := args[2:]; len(rest) > 0; rest = rest[1:] {
		if rest[0] == "--" {
			return append(out, rest...)
		}
		out = append(out, split(rest[0])...)
		last := out[len(out)-1]
		if _, valued := find(strings.TrimLeft(last, "-")); valued && strings.HasPrefix(last, "-") && len(rest) > 1 {
			rest = rest[1:]
			out = append(out, rest[0]) // the value, whatever it looks like
		}
	}
	return out
}

// misplaced finds a command with flags before it. They would be mistaken for the server's and have
// no effect.
func misplaced(root *cli.Command, args []string) (name string, ok bool) {
	if len(args) < 3 || !strings.HasPrefix(args[1], "-") {
		return "", false
	}
	for i, arg := range args[2:] {
		value := strings.HasPrefix(args[i+1], "-") && !strings.Contains(args[i+1], "=") // arg may belong to this flag
		if root.Command(arg) != nil && !value {
			return arg, true
		}
	}
	return "", false
}
