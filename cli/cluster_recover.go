package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"tcp-log-server/daemon"
)

// clusterRecover makes an independent log from the data of a stopped node.
func clusterRecover(ctx context.Context, cmd *cli.Command) error {
	data, to := cmd.Args().Get(1), cmd.Args().Get(2)
	got, err := daemon.RecoverNode(ctx, data, to, cmd.Bool("accept-loss"))
	if err != nil {
		return cli.Exit(fmt.Sprintf("cluster: %v", err), ExitFailure)
	}
	if cmd.Bool("json") {
		line, err := json.Marshal(got)
		if err != nil {
			return err
		}
		return printLine(os.Stdout, "%s", line)
	}
	if got.Missing != "" {
		warn("cluster: entries after %d are missing: %s", got.Head, got.Missing)
	}
	if got.Nameless != "" {
		warn("cluster: the log has a new id, %s, which replicas and archives of the old one do not accept: %s", got.Store, got.Nameless)
	}
	return printLine(os.Stdout, "%s has the %s that node %s had; begin a new cluster with it (CLUSTER_SEED), or promote it", to,
		counted(got.Head, "entry", "entries"), got.Node)
}
