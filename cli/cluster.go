package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
	"tcp-log-server/daemon"
	"tcp-log-server/internal/cluster"
)

// clusterCommand is `tcp-log-server cluster`.
func clusterCommand() *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "show, verify, repair or recover a log that is on several machines",
		Description: "`cluster status [ADDR…]` asks the servers of a cluster, all that are named, and prints\n" +
			"which nodes there are, who leads, and how far each is behind.\n\n" +
			"`cluster verify [ADDR]` has every node read its own replica from its disk: that message 1 is\n" +
			"the first and none is missing, that each has its checksums, and that all nodes have the\n" +
			"same. Then it prints the digest of the log, as `fsck` does of a copy in a directory.\n\n" +
			"`cluster repair DIR` has the stopped node whose DATA is DIR put its replica aside at its next\n" +
			"start and fetch another. The node does that only once all other nodes have verified\n" +
			"theirs, and until then says what it waits for.\n\n" +
			"`cluster recover DIR NEW` is for a majority that is lost for good. It reads what the stopped\n" +
			"node has whose DATA is DIR, checks all of it, and makes it an ordinary log in the directory\n" +
			"NEW, with which a new cluster can begin. Entries that only the lost machines had are missing.\n" +
			"If anything is damaged, nothing is made; with --accept-loss, the log ends before the damage.\n\n" +
			addressHelp + "\n\n" +
			"Examples:\n" +
			"   tcp-log-server cluster status a.example.com b.example.com c.example.com\n" +
			"   tcp-log-server cluster verify a.example.com\n" +
			"   tcp-log-server cluster repair /var/lib/tcp-log-server\n" +
			"   tcp-log-server cluster recover /var/lib/tcp-log-server last\n\n" +
			"Exit codes: 0 done, and all is well; 1 failed, or with status a node is missing or there is no\n" +
			"majority; 2 verify has found something; 16 wrong usage.",
		ArgsUsage: "status|verify|repair|recover [ADDR|DIR]",
		Flags: append(connectFlags(),
			&cli.BoolFlag{Name: "json", Usage: "with status, verify and recover: print JSON, an object a line"},
			&cli.BoolFlag{Name: "accept-loss", Usage: "with recover: drop damaged entries and everything after them"},
		),
		Action: action(runCluster),
	}
}

// runCluster runs the subcommand in the first argument.
func runCluster(ctx context.Context, cmd *cli.Command) error {
	switch verb := cmd.Args().First(); {
	case verb == "status":
		return clusterStatus(ctx, cmd)
	case verb == "verify" && cmd.NArg() <= 2:
		return clusterVerify(ctx, cmd)
	case verb == "repair" && cmd.NArg() == 2 && cmd.Args().Get(1) != "":
		return clusterRepair(cmd)
	case verb == "repair":
		return usageError(cmd, "want one argument after repair: the directory of the node, its DATA")
	case verb == "recover" && cmd.NArg() == 3 && cmd.Args().Get(1) != "" && cmd.Args().Get(2) != "":
		return clusterRecover(ctx, cmd)
	case verb == "recover":
		return usageError(cmd, "want two arguments after recover: the directory of the node, its DATA, and a new directory")
	case verb == "verify":
		return usageError(cmd, "want one address after verify: any node can have all of them verified")
	default:
		return usageError(cmd, fmt.Sprintf("want status, verify, repair or recover, got %q", verb))
	}
}

// gateway is the answer of a server of a cluster.
type gateway struct {
	Addr  string       `json:"addr"`
	Error string       `json:"error,omitempty"`
	Stat  *daemon.Stat `json:"stat,omitempty"`
}

// askGateways asks all servers at the same time.
func askGateways(ctx context.Context, cmd *cli.Command, args []string) ([]gateway, error) {
	if len(args) == 0 {
		args = []string{""}
	}
	all := make([]gateway, len(args))
	for i, arg := range args {
		addr, err := serverAddress(arg)
		if err != nil {
			return nil, usageError(cmd, err.Error())
		}
		all[i].Addr = addr
	}
	ctx, cancel := context.WithTimeout(ctx, statTime)
	defer cancel()
	var asking sync.WaitGroup
	for i := range all {
		asking.Go(func() {
			g := &all[i]
			stat, err := askStat(ctx, cmd, g.Addr)
			switch {
			case err != nil:
				g.Error = plainly(err)
			case stat.Cluster == nil:
				g.Error = "its log is in a directory, not in a cluster"
			default:
				g.Stat = stat
			}
		})
	}
	asking.Wait()
	return all, nil
}

// askStat asks a server for its status.
func askStat(ctx context.Context, cmd *cli.Command, addr string) (*daemon.Stat, error) {
	c, err := dialServer(ctx, cmd, addr, client.Options{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	text, err := c.Stat(ctx)
	if err != nil {
		return nil, err
	}
	s := new(daemon.Stat)
	return s, json.Unmarshal(text, s)
}

// clusterStatus prints the status of a cluster as its servers report it.
func clusterStatus(ctx context.Context, cmd *cli.Command) error {
	all, err := askGateways(ctx, cmd, cmd.Args().Tail())
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		for _, g := range all {
			line, err := json.Marshal(g)
			if err != nil {
				return err
			}
			if err := printLine(os.Stdout, "%s", line); err != nil {
				return err
			}
		}
	} else if err := printGateways(all); err != nil {
		return err
	}
	if problems := clusterProblems(all); len(problems) > 0 {
		return cli.Exit("cluster: "+strings.Join(problems, "; "), ExitFailure)
	}
	return nil
}

// printGateways prints a row for each node, and for each server that is not a node.
func printGateways(all []gateway) error {
	t := newTable(os.Stdout)
	fmt.Fprintln(t, "node\treplica\tserver\thead\twaiting\tlongest stall")
	shown := make(map[string]bool)
	for _, r := range bestView(all) {
		server, state := "\t\t\t", replicaState(r)
		for _, g := range all {
			if g.Stat != nil && g.Stat.Cluster.Node == r.Node {
				server, state = gatewayCells(g), cmp.Or(g.Stat.Cluster.Problem, state)
				shown[g.Addr] = true
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.Node, state, server)
	}
	for _, g := range all {
		switch {
		case g.Stat == nil:
			fmt.Fprintf(t, "?\t\t%s: %s\t\t\t\n", g.Addr, g.Error)
		case !shown[g.Addr]:
			fmt.Fprintf(t, "%s\t-\t%s\n", cmp.Or(g.Stat.Cluster.Node, "-"), gatewayCells(g))
		}
	}
	return t.Flush()
}

func gatewayCells(g gateway) string {
	k := g.Stat.Cluster
	stall := time.Duration(k.LongestStall * float64(time.Second)).Round(time.Millisecond)
	return fmt.Sprintf("%s\t%s\t%d\t%v", g.Addr, grouped(g.Stat.Head), k.Waiting, stall)
}

// bestView returns the replicas as seen by a server that knows of a leader, by node.
func bestView(all []gateway) (replicas []daemon.NodeReplica) {
	for _, g := range all {
		if g.Stat != nil && (replicas == nil || g.Stat.Cluster.Leader != "" && g.Stat.Failed == "") {
			replicas = slices.Clone(g.Stat.Cluster.Replicas)
		}
	}
	slices.SortFunc(replicas, func(a, b daemon.NodeReplica) int { return cmp.Compare(a.Node, b.Node) })
	return replicas
}

// heardLately is for how many seconds a replica is assumed to be as it last was: the leader asks each once
// a second.
const heardLately = 1.5

// replicaState describes the state of a replica.
func replicaState(r daemon.NodeReplica) string {
	switch {
	case r.Offline:
		return "offline"
	case r.Leader:
		return "leads"
	case r.Seen == 0 && !r.Current:
		return "not heard from since the leader was elected"
	case !r.Current && r.Lag == 0:
		return fmt.Sprintf("last heard from %.1f s ago", r.Seen)
	case !r.Current:
		return fmt.Sprintf("behind by %s, last heard from %.1f s ago", counted(r.Lag, "message", "messages"), r.Seen)
	case r.Seen > heardLately:
		return fmt.Sprintf("had everything %.1f s ago", r.Seen)
	}
	return "has everything"
}

// clusterProblems returns the problems that the servers report.
func clusterProblems(all []gateway) (problems []string) {
	note := func(format string, values ...any) {
		if text := fmt.Sprintf(format, values...); !slices.Contains(problems, text) {
			problems = append(problems, text)
		}
	}
	for _, g := range all {
		switch {
		case g.Error != "":
			note("%s: %s", g.Addr, g.Error)
		case g.Stat.Failed != "":
			note("%s refuses appends: %s", g.Addr, g.Stat.Failed)
		case g.Stat.Cluster.Leader == "":
			note("%s knows of no leader", g.Addr)
		}
		if g.Stat != nil && g.Stat.Cluster.Problem != "" {
			note("node %s: %s", g.Stat.Cluster.Node, g.Stat.Cluster.Problem)
		}
	}
	for _, r := range bestView(all) {
		if state := replicaState(r); !r.Leader && (!r.Current || r.Offline) {
			note("node %s: %s", r.Node, state)
		}
	}
	return problems
}

// verified is the answer of a server whose cluster was verified.
type verified struct {
	Error    string                 `json:"error,omitempty"`
	Digest   string                 `json:"digest"`
	Through  uint64                 `json:"through"`
	Replicas []cluster.Verification `json:"replicas"`
}

// clusterVerify makes all nodes verify their replicas.
func clusterVerify(ctx context.Context, cmd *cli.Command) error {
	all, err := askGateways(ctx, cmd, cmd.Args().Tail())
	if err != nil {
		return err
	}
	g := all[0]
	if g.Error != "" {
		return cli.Exit(fmt.Sprintf("cluster: %s: %s", g.Addr, g.Error), ExitFailure)
	}
	head, err := askHead(ctx, cmd, g.Addr)
	if err != nil {
		warn("cluster: %s: %s: its part of the log is verified", g.Addr, plainly(err))
		head = g.Stat.Head
	}
	if head == 0 {
		return printLine(os.Stdout, "the log is empty")
	}
	found, err := verifyCluster(ctx, cmd, g.Addr, head)
	if err != nil {
		return cli.Exit(fmt.Sprintf("cluster: %s: %s%s", g.Addr, plainly(err), advice(cmd, err)), ExitFailure)
	}
	if cmd.Bool("json") {
		line, err := json.Marshal(found)
		if err != nil {
			return err
		}
		if err := printLine(os.Stdout, "%s", line); err != nil {
			return err
		}
	} else if err := printVerified(found); err != nil {
		return err
	}
	if problems := verifyProblems(found.Replicas); len(problems) > 0 {
		return cli.Exit("cluster: "+strings.Join(problems, "; "), ExitDamaged)
	}
	return nil
}

// askHead asks a server, which asks its cluster, for the head of the log.
func askHead(ctx context.Context, cmd *cli.Command, addr string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*statTime)
	defer cancel()
	c, err := dialServer(ctx, cmd, addr, client.Options{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Head(ctx)
}

// verifyProblems returns which replicas were not found intact, and what to do. A node that did not answer
// may have an intact replica, which must not be thrown away.
func verifyProblems(replicas []cluster.Verification) (problems []string) {
	var silent, bad []string
	for _, v := range replicas {
		switch v.Problem {
		case "":
		case cluster.Silent:
			silent = append(silent, v.Node)
		default:
			bad = append(bad, v.Node)
		}
	}
	if len(silent) > 0 {
		problems = append(problems, fmt.Sprintf("not verified: node %s: start the nodes that are down, and verify again", strings.Join(silent, ", node ")))
	}
	if len(bad) > 0 {
		problems = append(problems, fmt.Sprintf("not whole: node %s: restart it, or stop it and run `tcp-log-server cluster repair` on its machine, and it fetches its replica again", strings.Join(bad, ", node ")))
	}
	return problems
}

// verifyCluster asks a server to verify its cluster, which takes as long as the nodes need to read.
func verifyCluster(ctx context.Context, cmd *cli.Command, addr string, head uint64) (found verified, err error) {
	options := client.Options{}
	if options.TLS, err = tlsConfig(cmd, ""); err != nil {
		return found, err
	}
	if options.Token, err = token(cmd, ""); err != nil {
		return found, err
	}
	conn, err := client.Connect(ctx, addr, options)
	if err != nil {
		return found, fmt.Errorf("cannot connect: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintf(conn, `{"digest":{"from":1,"through":%d,"replicas":true}}`+"\n", head); err != nil {
		return found, err
	}
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return found, err
	}
	if err := json.Unmarshal(line, &found); err != nil {
		return found, fmt.Errorf("%w: %w", client.ErrProtocol, err)
	}
	switch {
	case found.Error != "":
		return found, errors.New(found.Error)
	case found.Replicas == nil:
		return found, fmt.Errorf("%w: no answer about replicas", client.ErrProtocol)
	}
	return found, nil
}

func printVerified(found verified) error {
	t := newTable(os.Stdout)
	for _, v := range found.Replicas {
		state := "whole"
		if v.Problem != "" {
			state = v.Problem
		}
		t.row(v.Node, "%s: %s", counted(v.Messages, "message", "messages"), state)
	}
	t.row("digest", "%s (entries 1 to %d)", found.Digest, found.Through)
	return t.Flush()
}

// clusterRepair makes a stopped node fetch its replica again.
func clusterRepair(cmd *cli.Command) error {
	dir := cmd.Args().Get(1)
	node, err := cluster.FetchAgain(filepath.Join(dir, "cluster"))
	if err != nil {
		return cli.Exit(fmt.Sprintf("cluster: %v", err), ExitFailure)
	}
	return printLine(os.Stdout, "node %s: its next start fetches the replica again, once all other nodes have verified theirs; start the node", node)
}
