// Package cli is the command line of tcp-log-server: one file for each command, and what they share.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	"tcp-log-server/internal/build"
)

// The exit codes. fsck uses those of fsck(8), which package fsck names.
const (
	ExitFailure   = 1
	ExitDamaged   = 2 // cat, read and tail: some entries cannot be read
	ExitRefused   = 2 // append and import: some entries are refused
	ExitUnknown   = 3 // append: the outcome of some entries is unknown
	ExitCondition = 4 // append: the head was not that of --if
	ExitUsage     = 16
)

// Main runs the command in args, which are os.Args, and returns the exit code of the process.
func Main(args []string) int {
	limitGarbage()
	return run(args)
}

func run(args []string) int {
	root := serveCommand()
	root.Commands = []*cli.Command{
		appendCommand(), readCommand(), tailCommand(), fsckCommand(), backupCommand(), restoreCommand(), statCommand(), catCommand(),
		importCommand(), replicaCommand(), promoteCommand(), clusterCommand(), tokenCommand(), versionCommand(), completionCommand(), manCommand(),
	}
	root.Version = build.This().String()
	for _, c := range append(root.Commands, root) {
		c.OnUsageError = wrongUsage
	}
	if len(args) > 1 && root.Command(args[1]) != nil && !slices.Contains([]string{"completion", "man"}, args[1]) {
		root.Flags = nil // the server's settings, right or wrong, do not matter to a command
	}
	if name, ok := misplaced(root, args); ok {
		warn("the flags of `%s` go after it: tcp-log-server %s --flag …; see `tcp-log-server %s --help`", name, name, name)
		return ExitUsage
	}
	cli.UsageCommandHelp = "show the commands, or the help of one"
	cli.HelpPrinter = printHelp
	unknown := ""
	for _, c := range root.Commands { // `tail -h HOST` asks for the help of tail
		c.CommandNotFound = func(ctx context.Context, c *cli.Command, _ string) { _ = cli.ShowCommandHelp(ctx, root, c.Name) }
	}
	root.CommandNotFound = func(_ context.Context, _ *cli.Command, name string) { unknown = name }
	root.ExitErrHandler = func(context.Context, *cli.Command, error) {}
	err := root.Run(context.Background(), splitShortFlags(root, args))
	if unknown != "" {
		err = unknownCommand(root, unknown)
	}
	if err == nil {
		return 0
	}
	// An error that no action has returned concerns the command line.
	code := ExitUsage
	if coded, ok := errors.AsType[cli.ExitCoder](err); ok {
		code = coded.ExitCode()
	} else {
		err = usageError(root, worded(err))
	}
	if text := strings.ReplaceAll(err.Error(), "\n", "; "); text != "" { // errors.Join separates them by newlines
		warn("%s", text)
	}
	return code
}

// wrongUsage returns the error for a wrong command line.
func wrongUsage(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	text := worded(err)
	for _, f := range cmd.Flags {
		if n, ok := f.(*cli.Uint64Flag); ok && n.Validator != nil && n.Validator(0) != nil {
			text = strings.Replace(text, "flag --"+n.Name+", want a whole number, 0", "flag --"+n.Name+", want a whole number, 1", 1)
		}
	}
	if flag, ok := strings.CutPrefix(text, "flag provided but not defined: "); ok {
		text = unknownFlag(cmd, flag)
		if flag == "--port" || flag == "--host" {
			text = fmt.Sprintf("`%s` has no %s: name the server as an address, host:port or :port", cmd.Name, flag)
		}
	}
	return usageError(cmd, text)
}

// usageError returns an error that says what is wrong with the command line, and where to look.
func usageError(cmd *cli.Command, text string) error {
	help := "tcp-log-server " + cmd.Name
	if cmd.Root() == cmd {
		help = cmd.Name
	}
	return cli.Exit(fmt.Sprintf("%s; see `%s --help`", text, help), ExitUsage)
}

// argument returns the only argument of a command, "" if there is none.
func argument(cmd *cli.Command, what string) (string, error) {
	switch {
	case cmd.NArg() > 1:
		return "", usageError(cmd, fmt.Sprintf("want at most one %s, got %s", what, strings.Join(cmd.Args().Slice(), " ")))
	case cmd.NArg() == 1 && cmd.Args().First() == "":
		return "", usageError(cmd, fmt.Sprintf("the %s is empty; leave the argument out for the default", what))
	}
	return cmd.Args().First(), nil
}

// longFlag finds a flag that package cli names with one hyphen and the help with two.
var longFlag = regexp.MustCompile(`(for flag |not defined: )-([a-z0-9][^ :,=]+)`)

// ofVariable finds package cli's error about a variable with a value that cannot be parsed.
var ofVariable = regexp.MustCompile(`could not parse ("(?:[^"\\]|\\.)*") as \S+ value from environment variable "([^"]*)" for flag [^ :]+:`)

// parsing finds where Go's functions say why they cannot parse a value.
var parsing = regexp.MustCompile(`: (parse error|time: .*|strconv\.(\w+): .*)$`)

// worded returns the text of an error of package cli without the names of Go's functions.
func worded(err error) string {
	text := longFlag.ReplaceAllString(err.Error(), "$1--$2")
	text = ofVariable.ReplaceAllString(text, "invalid value $1 for the variable $2:")
	at := parsing.FindStringSubmatchIndex(text)
	if at == nil {
		return text
	}
	want := "a whole number"
	switch why := text[at[2]:at[3]]; {
	case strings.HasPrefix(why, "time: "):
		want = "a number and its unit, such as 90s or 5m"
	case why == "parse error":
		want = "true or false"
	case strings.HasSuffix(why, "value out of range"):
		want = "a number that is not so large"
	case strings.HasPrefix(why, "strconv.ParseUint"):
		want = "a whole number, 0 or more"
	}
	return text[:at[0]] + ", want " + want
}

// commandNames are the names of the commands, in the order of the help.
func commandNames(cmd *cli.Command) (names []string) {
	for _, c := range cmd.VisibleCommands() {
		if c.Name != "help" {
			names = append(names, c.Name)
		}
	}
	return names
}

// action makes a command of fn: a signal ends its context, and an error without an exit code is a
// failure.
func action(fn cli.ActionFunc) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		err := fn(ctx, cmd)
		if _, coded := errors.AsType[cli.ExitCoder](err); err == nil || coded {
			return err
		}
		return cli.Exit(err, ExitFailure)
	}
}

// between checks that the value of a flag is in lo..hi.
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
