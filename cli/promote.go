package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
	"tcp-log-server/engine"
)

// promoteCommand is `tcp-log-server promote`.
func promoteCommand() *cli.Command {
	flags := directoryFlags(" to promote", "DIR")[1:]
	return &cli.Command{
		Name:  "promote",
		Usage: "make the replica in DIR, which is stopped, an independent log",
		Description: "DIR is that of a replica, or of a log that is fenced because a replica of it was\n" +
			"promoted. It is checked as at a start of the server. Then its next epoch begins after\n" +
			"its last entry, and a server can be started on it, which takes appends.\n\n" +
			"Entries that only the source has are not in the promoted log.\n" +
			"So stop the source first, if it still runs, or fence it: with --fence it is told of\n" +
			"the epoch, and takes no more appends, also after a restart. A source that cannot be\n" +
			"reached now can be told later, by the same command.\n\n" +
			"Examples:\n" +
			"   tcp-log-server fsck /var/lib/replica              # is everything there?\n" +
			"   tcp-log-server promote /var/lib/replica --fence 10.0.0.1\n" +
			"   DATA=/var/lib/replica tcp-log-server\n\n" +
			"SOURCE is an address like ADDR of other commands; TLS and the token are those of a\n" +
			"client. The token must be one that may both read and write.\n\n" +
			"Exit codes: 0 done, 1 failed, 16 wrong usage.",
		ArgsUsage: "DIR",
		Flags: append(append(flags,
			&cli.StringFlag{Name: "fence", Usage: "fence the old source at `SOURCE`, so that it takes no more appends"},
		), connectFlags()...),
		Action: action(promote),
	}
}

// promote makes an independent log from a replica, and says what it did and what comes
// next.
func promote(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() != 1 || cmd.Args().First() == "" {
		return usageError(cmd, "want one argument: the directory of the replica")
	}
	if err := refuseNode(cmd, cmd.Args().First(), ExitFailure); err != nil {
		return err
	}
	config := engine.NewConfig(cmd.Args().First())
	config.WAL = cmd.String("wal")
	var err error
	if config.Blobs, config.BlobStore, err = blobStore(ctx, cmd); err != nil {
		return usageError(cmd, err.Error())
	}
	source, err := "", error(nil)
	if arg := cmd.String("fence"); arg != "" {
		if source, err = serverAddress(arg); err != nil {
			return usageError(cmd, err.Error())
		}
	}
	p, err := engine.Promote(config)
	promoted := err == nil
	switch {
	case errors.Is(err, engine.ErrNotReplica) && source != "" && p.Epoch.Number > 1 && p.Store != "":
		// It was promoted before, and the source must be told again.
	case errors.Is(err, engine.ErrNotReplica) && p.Store == "" && config.Data != engine.Memory:
		return cli.Exit(fmt.Sprintf("promote: there is no log in %s: is the name right?", config.Data), ExitFailure)
	case errors.Is(err, engine.ErrNotReplica):
		return cli.Exit(fmt.Sprintf("promote: %v: a server takes appends there as it is", err), ExitFailure)
	case errors.Is(err, fs.ErrNotExist):
		return cli.Exit(fmt.Sprintf("promote: %v: is the name right?", err), ExitFailure)
	case errors.Is(err, engine.ErrLocked):
		return cli.Exit(fmt.Sprintf("promote: %v", err), ExitFailure)
	case err != nil:
		return cli.Exit(fmt.Sprintf("promote: %v; it is unchanged, or half promoted: run promote again", err), ExitFailure)
	}
	if promoted {
		if err := printPromotion(config.Data, p); err != nil {
			return err
		}
	}
	if source != "" {
		if err := fenceSource(ctx, cmd, source, p); err != nil {
			return cli.Exit(fmt.Sprintf("promote: %s has been promoted, but %s was not told: %s%s; as long as it runs it may take appends: stop it, or run this command again",
				config.Data, source, plainly(err), advice(cmd, err)), ExitFailure)
		}
		if err := printLine(os.Stdout, "%s: fenced: it takes no more appends", source); err != nil {
			return err
		}
	}
	if !promoted {
		return nil
	}
	next := "start the server on it; until the old source is stopped or fenced (--fence), its clients may append there"
	if source != "" {
		next = "start the server on it"
	}
	return printLine(os.Stdout, "Next: %s. The old source can follow as a replica if it has no entry from %d on.", next, p.Epoch.First)
}

// printPromotion describes the result for the log in dir.
func printPromotion(dir string, p engine.Promotion) error {
	was := "was fenced"
	switch {
	case p.Source != "" && p.Fenced > 0:
		was = fmt.Sprintf("was a replica of %s, and fenced", p.Source)
	case p.Source != "":
		was = "was a replica of " + p.Source
	}
	return printLine(os.Stdout, "%s: %s, and is an independent log now: its head is %d, and epoch %d begins with entry %d", dir, was, p.Head, p.Epoch.Number, p.Epoch.First)
}

// fenceTimeout is how long telling a source may take.
const fenceTimeout = 30 * time.Second

// fencedAnswer is how the answer of a fenced source begins.
const fencedAnswer = "this log is fenced"

// fenceSource tells the server at addr of the epoch that p has begun, as a replica would.
func fenceSource(ctx context.Context, cmd *cli.Command, addr string, p engine.Promotion) error {
	options := client.Options{}
	var err error
	if options.TLS, err = tlsConfig(cmd, ""); err != nil {
		return err
	}
	if options.Token, err = token(cmd, ""); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	conn, err := client.Connect(ctx, addr, options)
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	host, _ := os.Hostname()
	message, err := json.Marshal(map[string]any{"replicate": map[string]any{
		"from": p.Epoch.First, "store": p.Store, "epoch": p.Epoch.Number, "name": strings.TrimSpace("promote " + host),
	}})
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(message, '\n')); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	var answer struct {
		Error       *string
		Replicating json.RawMessage
	}
	switch err := json.Unmarshal(line, &answer); {
	case err != nil:
		return fmt.Errorf("the answer is %.80q: %w", line, client.ErrProtocol)
	case answer.Replicating != nil:
		return fmt.Errorf("it knows epoch %d, and replicates: it is not the old source", p.Epoch.Number)
	case answer.Error == nil:
		return fmt.Errorf("the answer is %.80q: %w", line, client.ErrProtocol)
	case *answer.Error == client.ErrUnauthorized.Error():
		return client.ErrUnauthorized
	case strings.HasPrefix(*answer.Error, client.ErrUnauthorized.Error()+": "):
		return fmt.Errorf("%w: %s", client.ErrServer, *answer.Error)
	case !strings.HasPrefix(*answer.Error, fencedAnswer):
		return errors.New(*answer.Error)
	}
	return nil
}
