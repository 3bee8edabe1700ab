package cli

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"tcp-log-server/internal/cluster"
)

// insteadOf says what to run on a cluster instead of a command for the directories of a log.
var insteadOf = map[string]string{
	"fsck":    "to check the replicas of all nodes, run `tcp-log-server cluster verify ADDR`",
	"backup":  "the backup of a cluster is a replica in a directory: run `tcp-log-server replica ADDR --data DIR`",
	"stat":    "run `tcp-log-server cluster status ADDR`, with the address of a node that runs",
	"cat":     "run `tcp-log-server read ADDR`, with the address of a node that runs",
	"promote": "a node is neither promoted nor fenced; see `tcp-log-server cluster --help`",
}

// refuseNode returns an error if dir is the directory of a cluster node, which has no log in
// files that the command can read. code is the exit code of the process.
func refuseNode(cmd *cli.Command, dir string, code int) error {
	for _, at := range []string{filepath.Join(dir, "cluster"), dir} {
		if node := cluster.NodeOf(at); node != "" {
			return cli.Exit(fmt.Sprintf("%s: %s belongs to node %s of a cluster: %s", cmd.Name, dir, node, insteadOf[cmd.Name]), code)
		}
	}
	return nil
}
