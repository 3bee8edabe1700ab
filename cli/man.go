package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"tcp-log-server/internal/build"
)

// urfave/cli-docs can make a manual page too, with Markdown and three more modules, but without
// the examples, the exit codes and the names of values that --help has and TestManPage expects.

// manCommand is `tcp-log-server man`: the manual page, from the same source as --help.
func manCommand() *cli.Command {
	return &cli.Command{
		Name:  "man",
		Usage: "print the manual page",
		Description: "Examples:\n" +
			"   tcp-log-server man | man -l -                  # read it\n" +
			"   tcp-log-server man > /usr/local/share/man/man1/tcp-log-server.1",
		ArgsUsage: " ",
		Action: action(func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return usageError(cmd, "want no arguments, got "+cmd.Args().First())
			}
			return manPage(os.Stdout, documented(cmd.Root()))
		}),
	}
}

// manPage writes the page in man(7) macros.
func manPage(w io.Writer, docs []commandDoc) error {
	var b strings.Builder
	own := docs[0]
	build := build.This()
	date, _, _ := strings.Cut(build.Time, "T")
	fmt.Fprintf(&b, ".TH TCP-LOG-SERVER 1 \"%s\" \"tcp-log-server %s\" \"User Commands\"\n", date, roff(build.Version))
	fmt.Fprintf(&b, ".SH NAME\ntcp-log-server \\- %s\n", roff(own.usage))
	b.WriteString(".SH SYNOPSIS\n.B tcp-log-server\n.RI [ flags ]\n")
	for _, d := range docs[1:] {
		fmt.Fprintf(&b, ".br\n.B tcp-log-server %s\n.RI [ flags ]\n", roff(d.name))
		if d.args != "" {
			b.WriteString(roffLine(d.args))
		}
	}
	b.WriteString(".SH DESCRIPTION\n")
	manText(&b, own.description, false)
	b.WriteString(".SH FLAGS\nThese are the flags of the server, which runs if no command is named.\n")
	manFlags(&b, own.flags)
	b.WriteString(".SH COMMANDS\n")
	for _, d := range docs[1:] {
		fmt.Fprintf(&b, ".SS %s\n", roff(strings.TrimSpace(d.name+" "+d.args)))
		b.WriteString(roffLine(strings.ToUpper(d.usage[:1]) + d.usage[1:] + "."))
		manText(&b, d.description, true)
		manFlags(&b, d.flags)
	}
	b.WriteString(".SH SEE ALSO\n.BR nc (1),\n.BR jq (1),\n.BR fsck (8)\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// manText writes a description: indented lines stay as they are, others are filled.
func manText(b *strings.Builder, text string, pause bool) {
	verbatim := false
	for line := range strings.SplitSeq(text, "\n") {
		indented := strings.HasPrefix(line, "  ")
		switch {
		case line == "":
			pause = true
			continue
		case indented && !verbatim:
			b.WriteString(".PP\n.nf\n.RS 4\n")
		case verbatim && !indented:
			b.WriteString(".RE\n.fi\n.PP\n")
		case pause:
			b.WriteString(".PP\n")
		}
		verbatim, pause = indented, false
		if verbatim {
			line = strings.TrimPrefix(line, "  ")
		}
		b.WriteString(roffLine(line))
	}
	if verbatim {
		b.WriteString(".RE\n.fi\n")
	}
}

func manFlags(b *strings.Builder, flags []flagDoc) {
	for _, f := range flags {
		b.WriteString(".TP\n")
		for i, n := range f.names {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(b, "\\fB%s\\fR", roff(n))
		}
		if f.value != "" {
			fmt.Fprintf(b, " \\fI%s\\fR", roff(f.value))
		}
		b.WriteString("\n")
		text := f.usage
		if f.def != "" && !strings.Contains(text, "(default: ") {
			text += " (default: " + strings.Trim(f.def, `"`) + ")"
		}
		b.WriteString(roffLine(text))
		if len(f.env) > 0 {
			fmt.Fprintf(b, "[$%s]\n", roff(strings.Join(f.env, ", $")))
		}
	}
}

// roff escapes text for man(7).
func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`, "\u2026", "...", "`", `\(ga`, "'", `\(aq`, `"`, `\(dq`, "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// roffLine returns a line of text that man(7) does not mistake for a macro.
func roffLine(s string) string {
	s = roff(strings.TrimRight(s, " "))
	if strings.HasPrefix(strings.TrimLeft(s, " "), ".") {
		s = `\&` + s
	}
	return s + "\n"
}
