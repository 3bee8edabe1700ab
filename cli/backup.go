package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/backup"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/printable"
)

// backupCommand is `tcp-log-server backup`.
func backupCommand() *cli.Command {
	return &cli.Command{
		Name:  "backup",
		Usage: "copy the log, running or not, to DEST, and verify it while copying",
		Description: "DEST becomes a complete log: to restore it, copy it and start the server on the copy.\n" +
			"DEST must not exist, or be empty, or hold an earlier backup of this log; then only\n" +
			"what is new is copied. If a backup is interrupted, DEST holds the earlier backup or\n" +
			"the new one; run it again to complete it.\n\n" +
			"Examples:\n" +
			"   tcp-log-server backup /mnt/backup/log\n" +
			"   tcp-log-server backup --verify --data /var/lib/log /mnt/backup/log\n" +
			"   cp -a /mnt/backup/log restored && rm restored/BACKUP\n" +
			"   DATA=restored tcp-log-server                         # serves the copy\n\n" +
			"Do not serve DEST itself: once entries are appended there, it takes no more backups.\n" +
			"If DEST is to be an independent log, remove the file BACKUP from it.\n\n" +
			"Exit codes: 0 done, 1 failed, 16 wrong usage.",
		ArgsUsage: "DEST",
		Flags: append(directoryFlags(" to copy", "--data"),
			&cli.BoolFlag{Name: "copy", Usage: "copy every byte: no clones and no hard links, even if DEST is on the same disk"},
			&cli.BoolFlag{Name: "verify", Usage: "run fsck on DEST afterwards"},
		),
		Action: action(backUp),
	}
}

// backUp makes a backup and says what it did.
func backUp(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() != 1 {
		return usageError(cmd, "want one argument: the directory for the backup")
	}
	blobs, store, err := blobStore(ctx, cmd)
	if err != nil {
		return usageError(cmd, err.Error())
	}
	config := backup.Config{
		Data: cmd.String("data"), WAL: cmd.String("wal"), Blobs: blobs, BlobStore: store,
		Dest: cmd.Args().First(), Copy: cmd.Bool("copy"),
	}
	if config.Data == "" {
		return usageError(cmd, errNoName.Error())
	}
	if err := refuseNode(cmd, config.Data, ExitFailure); err != nil {
		return err
	}
	if err := checkParent(config.Dest); err != nil {
		return cli.Exit(fmt.Sprintf("backup: %v", err), ExitFailure)
	}
	bar := newProgress()
	config.Progress = func(phase backup.Phase, done, total int64) {
		bar.show(string(phase), done, total, map[backup.Phase]string{backup.PhaseBlobs: "entries", backup.PhaseSegments: inBytes}[phase])
	}
	res, err := backup.Run(ctx, config)
	bar.clear()
	switch {
	case errors.Is(err, backup.ErrUsage):
		return usageError(cmd, err.Error())
	case errors.Is(err, backup.ErrNoLog):
		return cli.Exit(fmt.Sprintf("backup: %v; name its directory with --data", err), ExitFailure)
	case err != nil:
		return cli.Exit(fmt.Sprintf("backup: %v", err), ExitFailure)
	}
	_ = printLine(os.Stdout, "%s: head %d (%d new), %s and %s added: %s copied, %s linked, %s kept, in %v",
		config.Dest, res.Head, res.Head-res.Before, counted(res.Segments, "segment", "segments"), counted(res.Blobs, "blob", "blobs"),
		printable.Bytes(res.Copied), printable.Bytes(res.Linked), printable.Bytes(res.Kept), res.Took.Round(time.Millisecond))
	if cmd.Bool("verify") {
		return verifyBackup(ctx, config.Dest)
	}
	return nil
}

// checkParent refuses to make a directory in one that does not exist: a disk may not be mounted, or
// the name is wrong.
func checkParent(dir string) error {
	if dir == "" {
		return nil // a backup has its own error for that
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s cannot be made, because %s does not exist: make that directory, or correct the name", dir, parent)
	}
	return nil
}

// verifyBackup checks the backup as fsck does and prints the findings.
func verifyBackup(ctx context.Context, dir string) error {
	sum, err := fsck.Check(ctx, fsck.Options{Data: dir, OnFinding: fsck.NewPrinter(os.Stdout, false).Finding})
	if err != nil {
		return cli.Exit(fmt.Sprintf("backup: verify: %v", err), ExitFailure)
	}
	if sum.Errors > 0 {
		return cli.Exit(fmt.Sprintf("backup: %s has %s: run `tcp-log-server fsck %s`", dir, counted(sum.Errors, "error", "errors"), dir), ExitFailure)
	}
	return printLine(os.Stdout, "%s: verified, digest %s", dir, sum.Digest)
}
