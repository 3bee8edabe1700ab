package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/archive"
	"tcp-log-server/client"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/reader"
	"tcp-log-server/internal/where"
)

// catCommand is `tcp-log-server cat`.
func catCommand() *cli.Command {
	return &cli.Command{
		Name:  "cat",
		Usage: "print the entries in the directories of a log, without a server",
		Description: "Reads the log in DIR (default: the one of --data): a stopped log, a backup, a copy on\n" +
			"read-only media, or the log of a running server, through its head at that time; or the\n" +
			"archive at URL, of which it downloads no more than it needs. It\n" +
			"changes nothing and takes no lock. Every entry is verified before it is printed; a\n" +
			"damaged one is printed as {\"index\":45,\"error\":\"…\"} in its place.\n\n" +
			"Examples:\n" +
			"   tcp-log-server cat backup                      # every entry, one a line\n" +
			"   tcp-log-server cat --from 1000 --count 10 backup\n" +
			"   tcp-log-server cat --last 10 --reverse backup  # newest first\n" +
			"   tcp-log-server cat --since 2d --where user.name=ann backup\n" +
			"   tcp-log-server cat --entry backup | jq .name   # only the entries\n\n" +
			"Exit codes: 0 done, 1 the log could not be read, 2 some entries are damaged,\n" +
			"16 wrong usage.",
		ArgsUsage: "[DIR|URL]",
		Flags:     slices.Concat(directoryFlags("", "DIR"), rangeFlags(), selectionFlags(), lineFlags()),
		Action:    action(cat),

		DisableSliceFlagSeparator: true,
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
	chosen, err := newSelection(cmd, time.Now())
	if err != nil {
		return usageError(cmd, err.Error())
	}
	if bucket.IsURL(dir) {
		log, err := openArchive(ctx, cmd, dir)
		if err != nil {
			return err
		}
		err = show(ctx, cmd, directorySource{log, log.Read, dir}, chosen, form, nil)
		if damage := log.Complete(); err == nil && damage != nil && chosen.through > log.Head() {
			err = cli.Exit(fmt.Sprintf("cat: there may be entries after %d: %v; run `tcp-log-server fsck %s` for details", log.Head(), damage, dir), ExitDamaged)
		}
		return err
	}
	log, dir, err := openDirectories(ctx, cmd, dir)
	if err != nil {
		return err
	}
	read := func(ctx context.Context, from, through uint64, fn archive.EntryFunc) error {
		return log.Read(ctx, from, through, reader.EntryFunc(fn))
	}
	return show(ctx, cmd, directorySource{log, read, dir}, chosen, form, nil)
}

// directorySource is the log in a directory, or in an archive.
type directorySource struct {
	log interface {
		Head() uint64
		Since(ctx context.Context, t time.Time) (uint64, error)
	}
	readEntries func(ctx context.Context, from, through uint64, fn archive.EntryFunc) error

	dir string // or URL
}

func (d directorySource) head(context.Context) (uint64, error) { return d.log.Head(), nil }

func (d directorySource) since(ctx context.Context, t time.Time) (uint64, error) {
	return d.log.Since(ctx, t)
}

func (d directorySource) read(ctx context.Context, s extent) iter.Seq2[client.Entry, error] {
	return func(yield func(client.Entry, error) bool) {
		var filter *where.Filter
		if s.where != nil {
			var err error
			if filter, err = where.Compile(s.where); err != nil {
				yield(client.Entry{}, err)
				return
			}
		}
		if s.count > 0 && filter == nil && s.count <= s.through-s.from {
			s.through = s.from + s.count - 1
		}
		stopped := errors.New("stopped")
		err := d.readEntries(ctx, s.from, s.through, func(index uint64, entry []byte, at int64, err error) error {
			e := client.Entry{Index: index, Value: entry}
			switch {
			case err != nil:
				err = &client.EntryError{Index: index, Text: err.Error()}
			case filter != nil && !filter.Match(entry):
				return nil
			case at != 0:
				e.Time = time.UnixMicro(at)
			}
			if !yield(e, err) {
				return stopped
			}
			return nil
		})
		if err != nil && err != stopped {
			yield(client.Entry{}, err)
		}
	}
}

func (d directorySource) failure(err error) error { return fmt.Errorf("cat: %w", err) }

func (d directorySource) damage(count int) error {
	return cli.Exit(fmt.Sprintf("cat: %s cannot be read: run `tcp-log-server fsck %s` for details", counted(count, "entry", "entries"), d.dir), ExitDamaged)
}
