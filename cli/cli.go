// Package cli is the command line of tcp-log-server: a command a file, and what they share.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"tcp-log-server/internal/build"
)

// Exit codes of every command but fsck, which has those of fsck(8).
const (
	ExitFailure = 1
	ExitUsage   = 16
)

// Main runs the command that args name, as os.Args has them, and returns the exit code of
// the process.
func Main(args []string) int {
	limitGarbage()
	return run(args)
}

func run(args []string) int {
	cmd := serveCommand()
	cmd.Commands = []*cli.Command{appendCommand(), readCommand(), tailCommand(), fsckCommand(), backupCommand(), statCommand(), catCommand(), importCommand(), versionCommand(), completionCommand(), manCommand()}
	cmd.Version = build.This().String()
	for _, c := range append(cmd.Commands, cmd) {
		c.OnUsageError = wrongUsage
	}
	if len(args) > 1 && slices.ContainsFunc(cmd.Commands, func(c *cli.Command) bool { return c.Name == args[1] }) && !slices.Contains([]string{"completion", "man"}, args[1]) {
		cmd.Flags = nil // the server's settings, good or bad, are nothing to a command
	}
	if name, ok := misplaced(cmd, args); ok {
		fmt.Fprintf(os.Stderr, "tcp-log-server: the flags of `%s` go behind it: tcp-log-server %s --flag …; see `tcp-log-server %s --help`\n", name, name, name)
		return ExitUsage
	}
	cli.UsageCommandHelp = "show the commands, or the help of one"
	unknown := ""
	for _, c := range cmd.Commands { // `tail -h HOST` asks for the help of tail
		c.CommandNotFound = func(ctx context.Context, c *cli.Command, _ string) { _ = cli.ShowCommandHelp(ctx, cmd, c.Name) }
	}
	cmd.CommandNotFound = func(_ context.Context, _ *cli.Command, name string) { unknown = name }
	args = parted(cmd, args)
	cmd.ExitErrHandler = func(context.Context, *cli.Command, error) {}
	err := cmd.Run(context.Background(), args)
	if unknown != "" {
		err = cli.Exit(fmt.Sprintf("there is no command %q, want one of %s; see `tcp-log-server --help`", unknown, strings.Join(namesOf(cmd), ", ")), ExitUsage)
	}
	if err == nil {
		return 0
	}
	// What no action has returned, the command line itself is wrong about.
	code := ExitUsage
	var coded cli.ExitCoder
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	} else {
		err = errors.New(worded(err) + "; see `tcp-log-server --help`")
	}
	if text := strings.ReplaceAll(err.Error(), "\n", "; "); text != "" { // as errors.Join parts them
		fmt.Fprintf(os.Stderr, "tcp-log-server: %s\n", text)
	}
	return code
}

// wrongUsage words what the command line is wrong about.
func wrongUsage(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	text := worded(err)
	if flag, ok := strings.CutPrefix(text, "flag provided but not defined: --"); ok && (flag == "port" || flag == "host") {
		text = fmt.Sprintf("`%s` has no --%s: name the server as an address, host:port or :port", cmd.Name, flag)
	}
	return usageError(cmd, text)
}

// usageError says what is wrong with the command line, and where to look.
func usageError(cmd *cli.Command, text string) error {
	help := "tcp-log-server " + cmd.Name
	if cmd.Root() == cmd {
		help = cmd.Name
	}
	return cli.Exit(fmt.Sprintf("%s; see `%s --help`", text, help), ExitUsage)
}

// longFlag finds a flag that the library for flags names with one hyphen, and that
// has two in the help.
var longFlag = regexp.MustCompile(`(for flag |not defined: )-([a-z0-9][^ :,=]+)`)

// worded is the text of an error of the library for flags, without the names of
// Go's functions.
func worded(err error) string {
	text := longFlag.ReplaceAllString(err.Error(), "$1--$2")
	before, parsing, ok := strings.Cut(text, ": strconv.")
	switch {
	case !ok:
		return strings.ReplaceAll(before, ": parse error", ", which is not what it takes")
	case strings.HasPrefix(parsing, "ParseUint"):
		return before + ", want a whole number, 0 or more"
	default:
		return before + ", want a whole number"
	}
}

// namesOf are the names of the commands, in the order of the help.
func namesOf(cmd *cli.Command) (names []string) {
	for _, c := range cmd.VisibleCommands() {
		if c.Name != "help" {
			names = append(names, c.Name)
		}
	}
	return names
}

// action makes a command of fn: an error of it is a failure, unless it brings an
// exit code with it.
func action(fn cli.ActionFunc) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		err := fn(ctx, cmd)
		var coded cli.ExitCoder
		if err == nil || errors.As(err, &coded) {
			return err
		}
		return cli.Exit(err, ExitFailure)
	}
}

// between checks that the value of a flag lies in lo..hi.
func between(name string, lo, hi int) func(int) error {
	return func(n int) error {
		if n < lo || n > hi {
			return fmt.Errorf("%s is %d, want %d to %d", name, n, lo, hi)
		}
		return nil
	}
}

// positive checks that the value of a flag is not 0.
func positive(name string) func(uint64) error {
	return func(n uint64) error {
		if n == 0 {
			return fmt.Errorf("%s is 0, want 1 or more", name)
		}
		return nil
	}
}
