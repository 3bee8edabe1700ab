package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"tcp-log-server/internal/access"
)

// tokenCommand is `tcp-log-server token`.
func tokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "add, list or remove the tokens in a file that TOKENS names",
		Description: "`token add NAME` makes a random token, adds it to the file, which keeps only its hash, and\n" +
			"prints it: give it to the client. `token list` prints the names and the rights.\n" +
			"`token remove NAME` takes one out. The rest of the file, and its mode and owner, stay.\n\n" +
			"A running server reads the file again at SIGHUP (systemctl reload tcp-log-server).\n\n" +
			"Examples:\n" +
			"   export TOKENS=tokens.txt\n" +
			"   tcp-log-server token add alice --rights both > alice.token\n" +
			"   tcp-log-server token list\n" +
			"   tcp-log-server token remove alice\n\n" +
			"Exit codes: 0 done, 1 failed, 16 wrong usage.",
		ArgsUsage: "add|list|remove [NAME]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "tokens", Sources: variable("TOKENS"), Usage: "`file` of the tokens"},
			&cli.StringFlag{Name: "rights", Usage: "with add: `read|write|both`"},
		},
		Action: action(editTokens),
	}
}

// tokensRead says when a change of the file takes effect.
const tokensRead = "a running server reads it at SIGHUP (systemctl reload tcp-log-server)"

// editTokens runs the subcommand in the first argument.
func editTokens(_ context.Context, cmd *cli.Command) error {
	verb, name := cmd.Args().First(), cmd.Args().Get(1)
	path, rights := cmd.String("tokens"), cmd.String("rights")
	names := map[string]int{"add": 1, "list": 0, "remove": 1}
	want, known := names[verb]
	switch {
	case !known:
		return usageError(cmd, fmt.Sprintf("want add, list or remove, got %q", verb))
	case cmd.NArg() != 1+want || want == 1 && name == "":
		return usageError(cmd, fmt.Sprintf("token %s wants %s, got %q", verb, []string{"no name", "one name"}[want], strings.Join(cmd.Args().Tail(), " ")))
	case path == "":
		return usageError(cmd, "name the file of the tokens with --tokens or TOKENS")
	case verb == "add" && rights == "":
		return usageError(cmd, "name the rights with --rights: read, write or both")
	case verb != "add" && cmd.IsSet("rights"):
		return usageError(cmd, "--rights is for token add")
	}
	switch verb {
	case "add":
		token, err := access.AddToken(path, name, rights)
		if err != nil {
			return fmt.Errorf("token: %w", err)
		}
		warn("token: %s is added to %s; %s", name, path, tokensRead)
		return printLine(os.Stdout, "%s", token)
	case "remove":
		if err := access.RemoveToken(path, name); err != nil {
			return fmt.Errorf("token: %w", err)
		}
		warn("token: %s is removed from %s; %s", name, path, tokensRead)
		return nil
	}
	list, err := access.ListTokens(path)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	t := newTable(os.Stdout)
	for _, row := range list {
		t.row(row[0], "%s", row[1])
	}
	return t.Flush()
}
