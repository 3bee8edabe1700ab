package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// shownSource is a source that also says how its failures are reported.
type shownSource interface {
	source
	// failure returns the error of a command that could not read on because of err.
	failure(err error) error
	// damage returns the error of a command that has read everything except count entries.
	damage(count int) error
}

// show prints the entries of a source that the selection chooses. state is nil without --state.
func show(ctx context.Context, cmd *cli.Command, from shownSource, chosen selection, form lineForm, state *stateFile) error {
	var after *uint64
	var err error
	if state != nil {
		if after, err = state.open(ctx); err != nil {
			return from.failure(err)
		}
	}
	out := newLineWriter(os.Stdout)
	form.terminal = out.terminal
	reading, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-out.failed:
			end()
		case <-reading.Done():
		}
	}()
	p := &printer{cmd: cmd, out: out, from: from, chosen: chosen, form: form, state: state}
	err = p.run(reading, end, after)
	switch {
	case p.writeErr != nil:
		return cli.Exit(fmt.Sprintf("%s: standard output: %v", cmd.Name, p.writeErr), ExitFailure)
	case p.stateErr != nil:
		return from.failure(p.stateErr)
	}
	select {
	case <-out.failed: // the reader of the output has gone
		return nil
	default:
	}
	switch {
	case errors.Is(err, context.Canceled) && chosen.follow:
		return nil // this is the only way for it to end
	case errors.Is(err, context.Canceled):
		return cli.Exit(cmd.Name+": interrupted before the end", ExitFailure)
	case err != nil:
		return from.failure(err)
	case p.damaged > 0:
		return from.damage(p.damaged)
	}
	return nil
}

// printer prints entries.
type printer struct {
	cmd    *cli.Command
	out    *lineWriter
	from   source
	chosen selection
	form   lineForm
	state  *stateFile

	damaged            int   // entries that could not be read
	writeErr, stateErr error // of standard output, and of --state's file
}

// run prints, and saves the position meanwhile and at the end, however it ends. end ends ctx.
func (p *printer) run(ctx context.Context, end func(), after *uint64) error {
	all, err := p.chosen.resolve(ctx, p.from, after)
	if err != nil {
		p.writeErr = p.out.close()
		return err
	}
	if p.state == nil {
		err = p.print(ctx, all)
		p.writeErr = p.out.close()
		return err
	}
	// The place where the first run began is saved too: before it prints anything, the log may
	// grow.
	if p.stateErr = p.state.save(all.from - 1); p.stateErr != nil {
		p.writeErr = p.out.close()
		return nil
	}
	all.passed = func(next uint64) {
		if !p.state.resumed.Load() { // otherwise the log has not been checked yet to be the same
			p.mark(next - 1)
		}
	}
	saving := make(chan error, 1)
	saved, stop := context.WithCancel(context.Background())
	go func() { saving <- p.state.follow(saved, p.out, end) }()
	if err = p.print(ctx, all); err == nil && !p.chosen.follow && all.count == 0 {
		p.mark(min(all.through, p.state.head)) // everything through it has been examined
	}
	p.writeErr = p.out.close()
	stop()
	if p.stateErr = <-saving; p.stateErr == nil {
		p.stateErr = p.state.save(p.out.written())
	}
	return err
}

// mark notes that all lines of entries through index have been printed.
func (p *printer) mark(index uint64) {
	p.out.addEntry(index, func(b []byte) []byte { return b })
}

// print prints the entries of an extent, and counts those that could not be read.
func (p *printer) print(ctx context.Context, all extent) error {
	var e client.Entry
	var bad *client.EntryError
	fill := func(b []byte) []byte { return p.form.line(b, e, bad) }
	printed := uint64(0)
	var err error
	for e, err = range p.chosen.entries(ctx, p.from, all) {
		bad = nil
		if err != nil {
			if !errors.As(err, &bad) {
				return err
			}
			p.damaged++
			if p.form.only != "" {
				warn("%s: %v", p.cmd.Name, bad)
			}
		}
		if p.state == nil {
			p.out.add(fill)
		} else {
			if err := p.state.check(ctx); err != nil {
				return err
			}
			p.out.addEntry(e.Index, fill)
		}
		if printed++; printed == all.count {
			break
		}
	}
	return nil
}
