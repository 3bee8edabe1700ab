package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"tcp-log-server/daemon"
	"tcp-log-server/internal/bucket"
)

// replicaCommand is `tcp-log-server replica`.
func replicaCommand() *cli.Command {
	return &cli.Command{
		Name:  "replica",
		Usage: "run a server that is a copy of another, SOURCE, and serves reads",
		Description: "Follows the server at SOURCE and stores each of its entries at the same index, with\n" +
			"the same time, verified. Clients can read and follow as at SOURCE; appends are refused.\n" +
			"It goes on by itself when either side has been restarted or the connection was lost.\n\n" +
			"--data may be a new directory, a backup of SOURCE's log, or what an earlier run of\n" +
			"this command has left. With --from, a new one begins as what an archive of the log\n" +
			"has. Whatever differs from SOURCE's log is refused.\n\n" +
			"To make a replica an independent log, stop it and run `tcp-log-server promote`.\n\n" +
			"SOURCE is host:port, or host for port 8089. For the log of a cluster name several of its\n" +
			"nodes, with commas between: one of them is followed, and another if that is lost.\n\n" +
			"Examples:\n" +
			"   tcp-log-server replica log.example.com --data /var/lib/replica\n" +
			"   tcp-log-server replica log.example.com --source-tls-ca ca.pem \\\n" +
			"      --source-token-file token --port 9000\n" +
			"   tcp-log-server replica log.example.com --from s3://backups/log\n" +
			"   tcp-log-server replica a.example.com,b.example.com,c.example.com\n" +
			"   tcp-log-server stat :9000              # how far it is behind\n\n" +
			"Exit codes: 0 stopped by a signal, 1 failed, 16 wrong usage.",
		ArgsUsage: "SOURCE",
		Flags: slices.Concat(
			[]cli.Flag{
				&cli.StringFlag{Name: "name", Sources: variable("NAME"), Usage: "`name` of this replica at SOURCE, where each needs its own (default: the host's)"},
				&cli.StringFlag{Name: "from", Sources: variable("FROM"), Usage: "`URL` of an archive of the log, from which a new --data begins: s3://bucket/prefix or file:///path"},
			},
			connectFlagsFor("source-", "SOURCE", "SOURCE"),
			settings(),
		),
		Action: runReplica, // which handles signals itself
	}
}

// runReplica runs the server as a replica until a signal ends it.
func runReplica(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() != 1 {
		return usageError(cmd, fmt.Sprintf("want one argument, the address of the server to copy, got %d", cmd.NArg()))
	}
	if url := cmd.Args().First(); bucket.IsURL(url) {
		return usageError(cmd, fmt.Sprintf("%s is the URL of an archive: name the server to copy, and the archive with --from", url))
	}
	config, level, err := daemonConfig(cmd)
	if err == nil {
		config.Source, err = replicaSettings(cmd)
	}
	if err == nil {
		err = config.Validate()
	}
	return runLogged(ctx, cmd, config, level, err)
}

// replicaSettings returns what the flags say about the source. Its error is a
// daemon.ConfigError.
func replicaSettings(cmd *cli.Command) (r *daemon.Source, err error) {
	r = &daemon.Source{Name: cmd.String("name"), From: cmd.String("from")}
	if r.Name == "" {
		if r.Name, err = os.Hostname(); err != nil {
			return nil, daemon.ConfigError(fmt.Sprintf("name: the host has none (%v): set one", err))
		}
	}
	var errs [3]error
	var addrs []string
	for arg := range strings.SplitSeq(cmd.Args().First(), ",") {
		addr, err := completeAddress(arg, "", "") // HOST and PORT are the replica's own
		addrs, errs[0] = append(addrs, addr), errors.Join(errs[0], err)
	}
	r.Addr = strings.Join(addrs, ",")
	r.Connect.TLS, errs[1] = tlsConfig(cmd, "source-")
	r.Connect.Token, errs[2] = token(cmd, "source-")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, daemon.ConfigError(err.Error())
	}
	return r, nil
}
