package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// A shown source also says how its failures are reported.
type shownSource interface {
	source
	// failure is the error of a command that could not read on because of err.
	failure(err error) error
	// damage is the error of one that has read all but so many entries.
	damage(count int) error
}

// show prints the entries of a source that the selection chooses.
func show(ctx context.Context, cmd *cli.Command, from shownSource, chosen selection, form lineForm) error {
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
	form.terminal = out.terminal
	damaged, err := printEntries(ctx, cmd, out, from, chosen, form)
	if werr := out.close(); werr != nil {
		return cli.Exit(fmt.Sprintf("%s: standard output: %v", cmd.Name, werr), ExitFailure)
	}
	select {
	case <-out.failed: // the reader of the output has enough
		return nil
	default:
	}
	switch {
	case errors.Is(err, context.Canceled) && chosen.follow:
		return nil // the only end there is
	case errors.Is(err, context.Canceled):
		return cli.Exit(cmd.Name+": interrupted before the end", ExitFailure)
	case err != nil:
		return from.failure(err)
	case damaged > 0:
		return from.damage(damaged)
	}
	return nil
}

// printEntries prints the chosen entries, and counts those that could not be read.
func printEntries(ctx context.Context, cmd *cli.Command, out *lineWriter, from source, chosen selection, form lineForm) (damaged int, err error) {
	entries, err := chosen.entries(ctx, from, 0, form.time, nil)
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
		if printed++; printed == chosen.count {
			break
		}
	}
	return damaged, nil
}
