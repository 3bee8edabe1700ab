package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"tcp-log-server/internal/build"
)

// versionCommand is `tcp-log-server version`.
func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version, and what it was built from",
		Description: "Examples:\n" +
			"   tcp-log-server version\n" +
			"   tcp-log-server version --json | jq -r .revision",
		ArgsUsage: " ",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a JSON object"}},
		Action: action(func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return usageError(cmd, "want no arguments, got "+cmd.Args().First())
			}
			if cmd.Bool("json") {
				return json.NewEncoder(os.Stdout).Encode(build.This())
			}
			_, err := fmt.Println("tcp-log-server version", build.This()) // as --version
			return err
		}),
	}
}
