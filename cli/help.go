package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"
)

// helpWidth is the width of the help, in columns. urfave/cli does not wrap the lines of its table
// of flags.
const helpWidth = 80

// printHelp prints the help of a command; it is a printer of package cli.
func printHelp(w io.Writer, _ string, data any) {
	cmd, ok := data.(*cli.Command)
	if !ok {
		return
	}
	var b strings.Builder
	section := func(title string) { fmt.Fprintf(&b, "\n%s:\n", title) }
	root := cmd.Root() == cmd
	d := describe(cmd, strings.TrimPrefix(cmd.FullName(), "tcp-log-server "))
	fmt.Fprintf(&b, "NAME:\n   ")
	hang(&b, cmd.FullName()+" - "+d.usage, 3, 6)
	section("USAGE")
	switch {
	case root:
		b.WriteString("   tcp-log-server [flags]                  run the server\n" +
			"   tcp-log-server COMMAND [flags] [args]   run a command\n")
	default:
		fmt.Fprintf(&b, "   %s\n", strings.TrimSpace(cmd.FullName()+" [flags] "+d.args))
	}
	if root {
		section("VERSION")
		fmt.Fprintf(&b, "   %s\n", cmd.Version)
	}
	if d.description != "" {
		section("DESCRIPTION")
		describeTo(&b, d.description)
	}
	if commands := cmd.VisibleCommands(); len(commands) > 0 {
		section("COMMANDS")
		rows := make([][2]string, len(commands))
		for i, c := range commands {
			rows[i] = [2]string{strings.Join(c.Names(), ", "), c.Usage}
		}
		columns(&b, rows)
	}
	section("FLAGS")
	var rows [][2]string
	for _, f := range d.flags {
		text := f.usage
		if f.def != "" && !strings.Contains(text, "(default: ") {
			text += " (default: " + strings.Trim(f.def, `"`) + ")"
		}
		if len(f.env) > 0 {
			text += " [$" + strings.Join(f.env, ", $") + "]"
		}
		rows = append(rows, [2]string{strings.TrimSpace(strings.Join(f.names, ", ") + " " + f.value), text})
	}
	columns(&b, rows)
	_, _ = io.WriteString(w, b.String())
}

// columns writes names and their meanings side by side.
func columns(b *strings.Builder, rows [][2]string) {
	width := 0
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	for _, row := range rows {
		fmt.Fprintf(b, "   %-*s  ", width, row[0])
		hang(b, row[1], width+5, width+5)
	}
}

// describeTo writes a description: paragraphs are filled, indented lines stay as they are.
func describeTo(b *strings.Builder, text string) {
	var paragraph []string
	end := func() {
		if len(paragraph) > 0 {
			b.WriteString("   ")
			hang(b, strings.Join(paragraph, " "), 3, 3)
			paragraph = nil
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && line[0] != ' ' {
			paragraph = append(paragraph, line)
			continue
		}
		end()
		b.WriteString(strings.TrimRight("   "+line, " ") + "\n")
	}
	end()
}

// hang writes text in lines of helpWidth: the first begins at column at, the others at indent.
func hang(b *strings.Builder, text string, at, indent int) {
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case at+1+n > helpWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	b.WriteByte('\n')
}
