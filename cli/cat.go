package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// catCommand is `tcp-log-server cat`.
func catCommand() *cli.Command {
	return &cli.Command{
		Name:  "cat",
		Usage: "print the entries in the directories of a log, without a server",
		Description: "Reads the log in DIR (default: the one of --data): a stopped log, a backup, a copy on\n" +
			"read-only media, or the log of a running server, through its head at that time. It\n" +
			"changes nothing and takes no lock. Every entry is verified before it is printed; a\n" +
			"damaged one is printed as {\"index\":45,\"error\":\"…\"} in its place.\n\n" +
			"Examples:\n" +
			"   tcp-log-server cat backup                       # every entry, one a line\n" +
			"   tcp-log-server cat --from 1000 --count 10 backup   # ten of them\n" +
			"   tcp-log-server cat --entry backup | jq .name       # only the entries\n" +
			"   tcp-log-server cat --index backup | tail -n 1      # the index of the last\n\n" +
			"Exit codes: 0 done, 1 the log could not be read, 2 some entries are damaged,\n" +
			"16 wrong usage.",
		ArgsUsage: "[DIR]",
		Flags: append(append(directoryFlags("", "DIR"),
			&cli.Uint64Flag{Name: "from", Value: 1, Usage: "`index` to start at", Validator: positive("from")},
			&cli.Uint64Flag{Name: "count", Usage: "`number` of entries to print at most (default: all)", Validator: positive("count"), HideDefault: true},
		), lineFlags()...),
		Action: action(cat),
	}
}

// cat prints entries.
func cat(ctx context.Context, cmd *cli.Command) error {
	dir, err := argument(cmd, "directory")
	if err != nil {
		return err
	}
	form, err := newLineForm(cmd)
	if err != nil {
		return usageError(cmd, err.Error())
	}
	form.pretty = isatty.IsTerminal(os.Stdout.Fd())
	log, dir, err := openDirectories(cmd, dir)
	if err != nil {
		return err
	}
	out := &entryPrinter{w: bufio.NewWriterSize(os.Stdout, 64<<10), form: form}
	from, through := cmd.Uint64("from"), uint64(math.MaxUint64)
	if n := cmd.Uint64("count"); n > 0 && n <= through-from {
		through = from + n - 1
	}
	err = log.Read(ctx, from, through, out.print)
	if err == nil {
		err = out.w.Flush()
	}
	switch {
	case errors.Is(err, syscall.EPIPE):
		return nil // the reader of the pipe has enough
	case ctx.Err() != nil:
		_ = out.w.Flush()
		return cli.Exit("", ExitFailure)
	case err != nil:
		return fmt.Errorf("cat: %w", err)
	case out.damaged > 0:
		return cli.Exit(fmt.Sprintf("cat: %s cannot be read: run `tcp-log-server fsck %s` for details", counted(out.damaged, "entry", "entries"), dir), ExitDamaged)
	}
	return nil
}

// entryPrinter prints entries as `read` does.
type entryPrinter struct {
	w       *bufio.Writer
	form    lineForm
	damaged int
	line    []byte
}

func (p *entryPrinter) print(index uint64, entry []byte, err error) error {
	var bad *client.EntryError
	if err != nil {
		p.damaged++
		bad = &client.EntryError{Index: index, Text: err.Error()}
		if p.form.only != "" {
			warn("cat: index %d: %v", index, err)
		}
	}
	p.line = p.form.line(p.line[:0], client.Entry{Index: index, Value: entry}, bad)
	_, err = p.w.Write(p.line)
	return err
}
