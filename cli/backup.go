package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v3"

	"tcp-log-server/backup"
	"tcp-log-server/fsck"
)

// backupCommand is `tcp-log-server backup`.
func backupCommand() *cli.Command {
	return &cli.Command{
		Name:  "backup",
		Usage: "copy the log, running or not, into DEST, verifying all of it",
		Description: "DEST becomes a whole log itself: to restore it, copy it back and start the server\n" +
			"on it. It is created, or must be empty, or hold an earlier backup of this log: then\n" +
			"only what is new is copied. Whenever this is interrupted, DEST holds the earlier\n" +
			"backup or the new one, and running it again completes it.\n\n" +
			"Examples:\n" +
			"   tcp-log-server backup /mnt/backup/log\n" +
			"   tcp-log-server backup --verify --data /var/lib/log /mnt/backup/log\n" +
			"   DATA=/mnt/backup/log tcp-log-server                  # serve a copy of it\n\n" +
			"Exit codes: 0 done, 1 failed, 16 wrong usage.",
		ArgsUsage: "DEST",
		Flags: append(directoryFlags(" to copy", "--data"),
			&cli.BoolFlag{Name: "copy", Usage: "write every byte anew: no clones, no hard links, even where DEST is on the same disk"},
			&cli.BoolFlag{Name: "verify", Usage: "run fsck on DEST afterwards"},
		),
		Action: backUp,
	}
}

// backUp makes a backup and says what it did.
func backUp(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() != 1 {
		return cli.Exit("want one argument: the directory that the backup goes to; see `tcp-log-server backup --help`", ExitUsage)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	config := backup.Config{
		Data: cmd.String("data"), WAL: cmd.String("wal"), Blobs: cmd.String("blobs"),
		Dest: cmd.Args().First(), Copy: cmd.Bool("copy"),
	}
	bar := &backupBar{out: os.Stderr, quiet: !isatty.IsTerminal(os.Stderr.Fd())}
	config.Progress = bar.show
	res, err := backup.Run(ctx, config)
	bar.end()
	switch {
	case errors.Is(err, backup.ErrUsage):
		return cli.Exit(err.Error(), ExitUsage)
	case err != nil:
		return cli.Exit(fmt.Sprintf("backup: %v", err), ExitFailure)
	}
	fmt.Printf("%s: head %d (%d new), %s and %s added: %s copied, %s linked, %s kept, in %v\n",
		config.Dest, res.Head, res.Head-res.Before, counted(res.Segments, "segment", "segments"), counted(res.Blobs, "blob", "blobs"),
		byteCount(res.Copied), byteCount(res.Linked), byteCount(res.Kept), res.Took.Round(time.Millisecond))
	if cmd.Bool("verify") {
		return verifyBackup(ctx, config.Dest)
	}
	return nil
}

// verifyBackup checks the backup as fsck does and prints what it finds.
func verifyBackup(ctx context.Context, dir string) error {
	sum, err := fsck.Check(ctx, fsck.Options{Data: dir, OnFinding: func(f fsck.Finding) {
		fmt.Printf("%s: %s: %s: %s\n", f.Severity, f.Kind, f.File, f.Message)
	}})
	if err != nil {
		return cli.Exit(fmt.Sprintf("backup: verify: %v", err), ExitFailure)
	}
	if sum.Errors > 0 {
		return cli.Exit(fmt.Sprintf("backup: %s has %s: run `tcp-log-server fsck %s`", dir, counted(sum.Errors, "error", "errors"), dir), ExitFailure)
	}
	fmt.Printf("%s: verified, digest %s\n", dir, sum.Digest)
	return nil
}

// byteCount is n bytes in the unit that suits it.
func byteCount(n int64) string {
	unit, f := "B", float64(n)
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		unit, f = next, f/1024
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// backupBar shows the progress of a backup on a terminal: one bar a phase.
type backupBar struct {
	out   io.Writer
	quiet bool
	phase backup.Phase
	bar   *progressbar.ProgressBar
}

func (b *backupBar) show(phase backup.Phase, done, total int64) {
	if b.quiet {
		return
	}
	if phase != b.phase {
		b.end()
		b.phase = phase
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(b.out),
			progressbar.OptionSetDescription(string(phase)),
			progressbar.OptionShowBytes(phase == backup.PhaseSegments),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(),
		)
	}
	// What it cannot draw is not worth failing for.
	_ = b.bar.Set64(done)
}

func (b *backupBar) end() {
	if b.bar != nil {
		_ = b.bar.Clear()
		b.bar = nil
	}
}
