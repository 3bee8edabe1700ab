package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// readExits are the exit codes in the help of the reading commands.
const readExits = "Exit codes: 0 done, or the reader of the output went away; 1 failed; 2 done, but the\n" +
	"server could not read some of the entries; 16 wrong usage."

// readCommand is `tcp-log-server read`.
func readCommand() *cli.Command {
	return &cli.Command{
		Name:  "read",
		Usage: "print entries, starting at an index, and follow the log",
		Description: "Prints the entries of a server's log as JSON lines: {\"index\":1,\"entry\":{…}}.\n" +
			"One that the server cannot read is {\"index\":1,\"error\":\"…\"}.\n\n" +
			addressHelp + "\n\n" +
			"Examples:\n" +
			"   tcp-log-server read                            # all entries\n" +
			"   tcp-log-server read --from 1000 --count 10     # ten entries\n" +
			"   tcp-log-server read --entry | jq .amount       # only the entries\n" +
			"   tcp-log-server read --since 2h --where user.name=ann\n" +
			"   tcp-log-server read :9000 --from 5 --follow    # and later ones\n\n" +
			"With --follow a lost connection is restored, and no entry is missed or repeated.\n\n" +
			readExits,
		ArgsUsage: "[ADDR]",
		Flags:     slices.Concat(rangeFlags(), selectionFlags(), followFlags(), lineFlags(), connectFlags()),
		Action:    action(read),

		DisableSliceFlagSeparator: true,
	}
}

// tailCommand is `tcp-log-server tail`.
func tailCommand() *cli.Command {
	return &cli.Command{
		Name:  "tail",
		Usage: "print the last entries, and follow the log",
		Description: "Prints the last entries of a server's log as `read` does.\n\n" +
			addressHelp + "\n\n" +
			"Examples:\n" +
			"   tcp-log-server tail                  # the last ten\n" +
			"   tcp-log-server tail -n 1 --index     # the head\n" +
			"   tcp-log-server tail --since 1h       # those of the last hour\n" +
			"   tcp-log-server tail --reverse        # the last ten, newest first\n" +
			"   tcp-log-server tail -f | jq .entry   # the last ten, and later ones\n" +
			"   tcp-log-server tail -f -n 0          # only later ones\n\n" +
			"With -f a lost connection is restored, and no entry is missed or repeated.\n\n" +
			readExits,
		ArgsUsage: "[ADDR]",
		Flags: slices.Concat([]cli.Flag{
			&cli.Uint64Flag{Name: "last", Aliases: []string{"n", "count"}, Value: tailLast, Usage: "`number` of entries to begin with; with --since all from there on are the default"},
		}, selectionFlags(), followFlags(), lineFlags(), connectFlags()),
		Action: action(read),

		DisableSliceFlagSeparator: true,
	}
}

// tailLast is how many entries `tail` begins with.
const tailLast = 10

// followFlags returns the flags of commands that can wait for entries, and resume later.
func followFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "state", Usage: "`file` that keeps which entries have been printed: begin after them, and keep it up to date"},
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "wait for entries and print them as they are appended"},
	}
}

// read is `tcp-log-server read` and `tcp-log-server tail`.
func read(ctx context.Context, cmd *cli.Command) error {
	form, err := newLineForm(cmd)
	if err != nil {
		return usageError(cmd, err.Error())
	}
	chosen, err := newSelection(cmd, time.Now())
	if err != nil {
		return usageError(cmd, err.Error())
	}
	addr, err := onlyAddress(cmd)
	if err != nil {
		return err
	}
	var state *stateFile
	if cmd.IsSet("state") {
		if cmd.String("state") == "" {
			return usageError(cmd, "--state is empty, want the name of a file")
		}
		state = &stateFile{path: cmd.String("state")}
	}
	retries := &retries{name: cmd.Name + ": " + addr}
	resumed := func() {
		retries.resumed()
		if state != nil {
			state.resumed.Store(true)
		}
	}
	c, err := connect(ctx, cmd, addr, client.Options{OnRetry: retries.failed, OnResume: resumed})
	if err != nil {
		return err
	}
	defer c.Close()
	if state != nil {
		state.client = c
	}
	return show(ctx, cmd, serverSource{cmd, addr, c}, chosen, form, state)
}

// serverSource is a server's log.
type serverSource struct {
	cmd    *cli.Command
	addr   string
	client *client.Client
}

func (s serverSource) head(ctx context.Context) (uint64, error) { return s.client.Head(ctx) }

func (s serverSource) since(ctx context.Context, t time.Time) (uint64, error) {
	for e, err := range s.client.Read(ctx, 0, 1, client.Since(t)) {
		if bad, ok := errors.AsType[*client.EntryError](err); ok {
			return bad.Index, nil
		}
		return e.Index, err
	}
	return math.MaxUint64, nil
}

func (s serverSource) read(ctx context.Context, of extent) iter.Seq2[client.Entry, error] {
	if of.from > of.through {
		return func(func(client.Entry, error) bool) {}
	}
	var options []client.ReadOption
	if of.time {
		options = append(options, client.WithTime())
	}
	if of.where != nil {
		options = append(options, client.Where(of.where))
		if of.passed != nil {
			options = append(options, client.WithProgress(of.passed))
		}
	}
	if of.through < math.MaxUint64 {
		if of.where == nil && !of.follow { // a count is enough, and older servers support it too
			n := of.through - of.from + 1
			of.count = min(cmp.Or(of.count, n), n)
		} else {
			options = append(options, client.Through(of.through))
		}
	}
	if of.follow {
		return s.client.Follow(ctx, of.from, options...)
	}
	return s.client.Read(ctx, of.from, of.count, options...)
}

func (s serverSource) failure(err error) error { return failure(s.cmd, s.addr, err) }

func (s serverSource) damage(count int) error {
	return cli.Exit(fmt.Sprintf("%s: %s could not read %d of the entries; run `tcp-log-server fsck` there", s.cmd.Name, s.addr, count), ExitDamaged)
}
