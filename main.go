// Command tcp-log-server serves an append-only log of JSON entries over TCP.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"
)

// Exit codes of every command but fsck, which has those of fsck(8).
const (
	exitFailure = 1
	exitUsage   = 16
)

func main() { os.Exit(run(os.Args)) }

// run runs the command that args name and returns the process's exit code.
func run(args []string) int {
	cmd := serveCommand()
	cmd.Commands = []*cli.Command{}
	cmd.EnableShellCompletion = true
	cmd.OnUsageError = usageError
	cmd.ExitErrHandler = func(context.Context, *cli.Command, error) {}
	err := cmd.Run(context.Background(), args)
	if err == nil {
		return 0
	}
	var coded cli.ExitCoder
	code := exitFailure
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(os.Stderr, "tcp-log-server: %s\n", text)
	}
	return code
}

// usageError is what is made of words that are no command, flag or value.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	return cli.Exit(fmt.Sprintf("%v; see `%s --help`", err, cmd.FullName()), exitUsage)
}
