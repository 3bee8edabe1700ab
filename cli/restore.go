package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/archive"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/printable"
)

// restoreCommand is `tcp-log-server restore`.
func restoreCommand() *cli.Command {
	return &cli.Command{
		Name:  "restore",
		Usage: "make the directory of a log from its archive in a bucket",
		Description: "Downloads the archive at URL to DIR, which must not exist or be empty, and verifies\n" +
			"every byte. The server starts from DIR; until the restore is complete it refuses to.\n" +
			"If a restore is interrupted, run it again: what has been downloaded is used.\n\n" +
			"Examples:\n" +
			"   tcp-log-server restore s3://bucket/log /var/lib/log\n" +
			"   tcp-log-server restore --until 2026-11-28 s3://bucket/log yesterday\n" +
			"   tcp-log-server restore --through 1000 file:///mnt/archive/log part\n" +
			"   tcp-log-server --data part                     # serves it\n\n" +
			"To go on with the archive from DIR, in place of the server that made it, start the\n" +
			"server on DIR with ARCHIVE and, once, ARCHIVE_TAKE_OVER=1.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 the archive is damaged, 16 wrong usage.",
		ArgsUsage: "URL DIR",
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "through", Usage: "`index` of the last entry to restore (default: the last there is)", Validator: positive("through"), HideDefault: true},
			&cli.StringFlag{Name: "until", Usage: "only the entries stored before that `time`: 2026-11-28T09:00:00Z, 2026-11-28, or 1h or 2d ago"},
		},
		Action: action(restore),
	}
}

// restore makes a directory and says what is in it.
func restore(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() != 2 || cmd.Args().Get(1) == "" {
		return usageError(cmd, "want two arguments: the URL of the archive and the directory to make")
	}
	url, config := cmd.Args().First(), archive.RestoreConfig{Dir: cmd.Args().Get(1), Through: cmd.Uint64("through")}
	if !bucket.IsURL(url) {
		return usageError(cmd, fmt.Sprintf("%q is not the URL of a bucket, want s3://bucket/prefix or file:///path", url))
	}
	if cmd.IsSet("until") {
		var err error
		if config.Until, err = parseTime(cmd.String("until"), time.Now()); err != nil {
			return usageError(cmd, "--until: "+err.Error())
		}
		if config.Through > 0 {
			return usageError(cmd, "--through and --until both say where the restored log ends: leave one of them out")
		}
	}
	if err := checkParent(config.Dir); err != nil {
		return cli.Exit(fmt.Sprintf("restore: %v", err), ExitFailure)
	}
	b, err := openBucket(ctx, cmd, url)
	if err != nil {
		return err
	}
	bar := newProgress()
	config.Progress = func(done, total int64) { bar.show("segments", done, max(total, 1), inBytes) }
	res, err := archive.Restore(ctx, b, config)
	bar.clear()
	switch {
	case errors.Is(err, fsck.ErrBeyond):
		return usageError(cmd, "--through: "+err.Error())
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return cli.Exit("restore: interrupted; run it again to go on", ExitFailure)
	case errors.Is(err, archive.ErrDamaged):
		return cli.Exit(fmt.Sprintf("restore: %v", err), ExitDamaged)
	case err != nil:
		return cli.Exit(fmt.Sprintf("restore: %v", err), ExitFailure)
	}
	err = printLine(os.Stdout, "%s: head %d, stored %s, in %s, %s, in %v", config.Dir, res.Head, res.Time.UTC().Format(time.RFC3339Nano),
		counted(res.Segments, "segment", "segments"), printable.Bytes(res.Bytes), res.Took.Round(time.Millisecond))
	return errors.Join(err, printLine(os.Stdout, "digest %s", res.Digest))
}
