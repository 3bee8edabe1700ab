package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"

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
			"   tcp-log-server read :9000 --from 5 --follow    # and later ones\n\n" +
			"With --follow a lost connection is restored, and no entry is missed or repeated.\n\n" +
			readExits,
		ArgsUsage: "[ADDR]",
		Flags: append([]cli.Flag{
			&cli.Uint64Flag{Name: "from", Value: 1, Usage: "`index` of the first entry", Validator: positive("from")},
			&cli.Uint64Flag{Name: "count", Usage: "`number` of entries to print at most (default: all)", Validator: positive("count"), HideDefault: true},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "wait for entries and print them as they are appended"},
		}, append(lineFlags(), connectFlags()...)...),
		Action: action(func(ctx context.Context, cmd *cli.Command) error {
			from, count := cmd.Uint64("from"), cmd.Uint64("count")
			return show(ctx, cmd, func(ctx context.Context, c *client.Client) (iter.Seq2[client.Entry, error], uint64, error) {
				if cmd.Bool("follow") {
					return c.Follow(ctx, from), count, nil
				}
				return c.Read(ctx, from, count), count, nil
			})
		}),
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
			"   tcp-log-server tail -f | jq .entry   # the last ten, and later ones\n" +
			"   tcp-log-server tail -f -n 0          # only later ones\n\n" +
			"With -f a lost connection is restored, and no entry is missed or repeated.\n\n" +
			readExits,
		ArgsUsage: "[ADDR]",
		Flags: append([]cli.Flag{
			&cli.Uint64Flag{Name: "count", Aliases: []string{"n"}, Value: 10, Usage: "`number` of entries to start with"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "wait for entries and print them as they are appended"},
		}, append(lineFlags(), connectFlags()...)...),
		Action: action(func(ctx context.Context, cmd *cli.Command) error {
			n, follow := cmd.Uint64("count"), cmd.Bool("follow")
			return show(ctx, cmd, func(ctx context.Context, c *client.Client) (iter.Seq2[client.Entry, error], uint64, error) {
				head, err := c.Head(ctx)
				if err != nil {
					return nil, 0, err
				}
				n := min(n, head)
				switch from := head - n + 1; {
				case follow:
					return c.Follow(ctx, from), 0, nil
				case n == 0:
					return func(func(client.Entry, error) bool) {}, 0, nil
				default:
					return c.Read(ctx, from, n), n, nil
				}
			})
		}),
	}
}

// lineFlags choose what is printed of an entry.
func lineFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "entry", Usage: "print only the entry"},
		&cli.BoolFlag{Name: "index", Usage: "print only the index"},
	}
}

// A reading starts a read over c: it returns the entries and how many of them to print, 0 for all.
type reading func(ctx context.Context, c *client.Client) (entries iter.Seq2[client.Entry, error], count uint64, err error)

// show connects and prints the entries of a reading.
func show(ctx context.Context, cmd *cli.Command, start reading) error {
	form, err := newLineForm(cmd)
	if err != nil {
		return usageError(cmd, err.Error())
	}
	addr, err := onlyAddress(cmd)
	if err != nil {
		return err
	}
	retries := &retries{name: cmd.Name + ": " + addr}
	c, err := connect(ctx, cmd, addr, client.Options{OnRetry: retries.failed, OnResume: retries.resumed})
	if err != nil {
		return err
	}
	defer c.Close()
	out := newLineWriter(os.Stdout)
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-out.failed:
			end()
		case <-ctx.Done():
		}
	}()
	form.pretty = out.terminal
	damaged, err := printEntries(ctx, cmd, out, form, c, start)
	if werr := out.close(); werr != nil {
		return cli.Exit(fmt.Sprintf("%s: standard output: %v", cmd.Name, werr), ExitFailure)
	}
	select {
	case <-out.failed: // the reader of the output has enough
		return nil
	default:
	}
	switch {
	case errors.Is(err, context.Canceled) && cmd.Bool("follow"):
		return nil // the only end there is
	case errors.Is(err, context.Canceled):
		return cli.Exit(cmd.Name+": interrupted before the end", ExitFailure)
	case err != nil:
		return failure(cmd, addr, err)
	case damaged > 0:
		return cli.Exit(fmt.Sprintf("%s: %s could not read %d of the entries; run `tcp-log-server fsck` there", cmd.Name, addr, damaged), ExitDamaged)
	}
	return nil
}

// printEntries prints the entries of a reading, and counts those that the server could not read.
func printEntries(ctx context.Context, cmd *cli.Command, out *lineWriter, form lineForm, c *client.Client, start reading) (damaged int, err error) {
	entries, count, err := start(ctx, c)
	if err != nil {
		return 0, err
	}
	var e client.Entry
	var bad *client.EntryError
	fill := func(b []byte) []byte { return form.line(b, e, bad) }
	printed := uint64(0)
	for e, err = range entries {
		bad = nil
		if err != nil {
			if !errors.As(err, &bad) {
				return damaged, err
			}
			damaged++
			if form.only != "" {
				warn("%s: %v", cmd.Name, bad)
			}
		}
		out.add(fill)
		if printed++; printed == count {
			break
		}
	}
	return damaged, nil
}

// lineForm is how an entry is printed.
type lineForm struct {
	only   string // "entry", "index", or "" for both
	pretty bool   // for a terminal
	color  bool   // and it may be coloured
}

func newLineForm(cmd *cli.Command) (lineForm, error) {
	f := lineForm{color: os.Getenv("NO_COLOR") == ""}
	switch entry, index := cmd.Bool("entry"), cmd.Bool("index"); {
	case entry && index:
		return f, errors.New("--entry and --index do not go together")
	case entry:
		f.only = "entry"
	case index:
		f.only = "index"
	}
	return f, nil
}

// line appends the line of the entry e. If it could not be read, bad says why.
func (f lineForm) line(b []byte, e client.Entry, bad *client.EntryError) []byte {
	switch {
	case f.only != "" && bad != nil:
		return b // it is reported on standard error
	case f.only == "index":
		b = strconv.AppendUint(b, e.Index, 10)
	case f.only == "entry":
		b = f.json(b, e.Value)
	case bad != nil:
		b = f.json(b, appendJSON(nil, "index", e.Index, "error", bad.Text))
	case f.pretty:
		b = f.json(b, appendJSON(nil, "index", e.Index, "entry", e.Value))
	default:
		b = append(b, `{"index":`...)
		b = strconv.AppendUint(b, e.Index, 10)
		b = append(b, `,"entry":`...)
		b = append(b, e.Value...)
		b = append(b, '}')
	}
	return append(b, '\n')
}

// json appends JSON text, on a terminal in the form for it.
func (f lineForm) json(b, text []byte) []byte {
	if !f.pretty {
		return append(b, text...)
	}
	return appendForTerminal(b, text, f.color)
}
