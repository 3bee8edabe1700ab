package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"tcp-log-server/archive"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/printable"
)

// Operations on an archive in a bucket, given by its URL in place of a directory.

// openArchive opens the archive at a URL.
func openArchive(ctx context.Context, cmd *cli.Command, url string) (*archive.Archive, error) {
	b, err := openBucket(ctx, cmd, url)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"wal", "blobs"} {
		if value := cmd.String(name); value != "" && value != setting(map[string]string{"wal": "WAL", "blobs": "BLOBS"}[name]).value() {
			return nil, usageError(cmd, fmt.Sprintf("--%s needs the directory of a log as the argument, and %s is an archive", name, url))
		}
	}
	return archive.Open(ctx, b)
}

// unfinished describes what an interrupted restore has left in dir.
func unfinished(dir string) string {
	return dir + " holds an unfinished restore: run `tcp-log-server restore` again"
}

// archiveIn returns the URL of the archive in a directory, "" if there is none.
func archiveIn(dir string) string {
	path, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(path, "log.json")); err != nil {
		return ""
	}
	return "file://" + path
}

// openBucket opens the bucket at a URL.
func openBucket(ctx context.Context, cmd *cli.Command, url string) (bucket.Bucket, error) {
	b, err := bucket.Open(ctx, url, bucket.Options{})
	if err != nil && !errors.Is(err, bucket.ErrNoBucket) && !errors.Is(err, bucket.ErrDenied) {
		err = usageError(cmd, err.Error())
	}
	return b, err
}

// fsckArchive checks an archive, and exits with the code for the result.
func fsckArchive(ctx context.Context, cmd *cli.Command, o fsck.RepairOptions, printer *fsck.Printer, bar *progress) (int, error) {
	if cmd.Bool("repair") {
		return fsck.ExitUsage, usageError(cmd, "--repair needs a log's directory, but "+o.Data+" is an archive: the server uploads missing objects again; to get a directory, run `tcp-log-server restore`")
	}
	a, err := openArchive(ctx, cmd, o.Data)
	if err != nil {
		return fsck.ExitFailed, err
	}
	sum, err := a.Check(ctx, archive.CheckOptions{
		Through: o.Through, Quick: o.Quick, OnFinding: o.OnFinding,
		OnProgress: func(done, total int64) { bar.show("archive", done, max(total, 1), inBytes) },
	})
	bar.clear()
	if err != nil {
		return fsck.ExitFailed, err
	}
	printer.Summary(sum)
	if sum.Errors > 0 {
		return fsck.ExitErrors, nil
	}
	return fsck.ExitClean, nil
}

// statArchive prints the content of an archive.
func statArchive(ctx context.Context, cmd *cli.Command, url string) error {
	a, err := openArchive(ctx, cmd, url)
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	s, err := a.Stat(ctx)
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	switch {
	case cmd.Bool("quiet"):
		return nil
	case cmd.Bool("json"):
		text, err := json.Marshal(s)
		if err != nil {
			return err
		}
		return printLine(os.Stdout, "%s", text)
	}
	t := newTable(os.Stdout)
	t.row("archive", "%s, store %s", url, s.Store)
	t.row("head", "%s", grouped(s.Head))
	t.row("segments", "%s, %s", grouped(uint64(s.Segments)), printable.Bytes(s.Bytes.Segments))
	t.row("open", "%s, %s", counted(s.Increments, "increment", "increments"), printable.Bytes(s.Bytes.Open))
	t.row("index", "through %s, %s", grouped(s.Indexed), printable.Bytes(s.Bytes.Index))
	if s.Owner != nil {
		t.row("owner", "%s, since %s", s.Owner.Host, s.Owner.Time)
	}
	return t.Flush()
}
