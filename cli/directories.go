package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/internal/bucketblobs"
	"tcp-log-server/internal/reader"
)

// defaultData is the log's directory if none is given.
const defaultData = "./tcp-log-server.data"

// errNoName: the directory of the log is named by an empty text.
var errNoName = errors.New("the name of the directory is empty: is a variable not set?")

// directoryFlags returns the flags for the directories of the log that a command reads: data
// says what the command does with them, parent is the help's name for the log's directory.
func directoryFlags(data, parent string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "data", Sources: variable("DATA"), Value: defaultData, Usage: "`directory` of the log" + data},
		&cli.StringFlag{Name: "wal", Sources: variable("WAL"), Usage: "`directory` of the index (default: wal in " + parent + ")"},
		&cli.StringFlag{Name: "blobs", Sources: variable("BLOBS"), Usage: "`directory` of the blobs, or s3://bucket/prefix or file:///path (default: blobs in " + parent + ")"},
	}
}

// blobStore returns the store of blobs whose URL --blobs gives, or nil and dir if it gives a
// directory or nothing.
func blobStore(ctx context.Context, cmd *cli.Command) (dir string, store engine.BlobStore, err error) {
	dir = cmd.String("blobs")
	if !bucketblobs.IsURL(dir) {
		return dir, nil, nil
	}
	if store, err = bucketblobs.Open(ctx, dir); err != nil {
		return "", nil, fmt.Errorf("--blobs: %w", err)
	}
	return "", store, nil
}

// isDirectory distinguishes a directory from an address.
func isDirectory(arg string) bool {
	if link.MatchString(arg) {
		return false
	}
	if strings.ContainsAny(arg, `/\`) || arg == "." || arg == ".." {
		return true
	}
	fi, err := os.Stat(arg)
	return arg != "" && err == nil && fi.IsDir()
}

// openDirectories opens the log in dir for reading, or the one that the flags give if dir is
// empty.
func openDirectories(ctx context.Context, cmd *cli.Command, dir string) (*reader.Log, string, error) {
	if dir == "" {
		dir = cmd.String("data")
	}
	if dir == "" {
		return nil, dir, usageError(cmd, errNoName.Error())
	}
	if dir == engine.Memory {
		return nil, dir, usageError(cmd, "a log in memory has no directories: ask its server")
	}
	if err := refuseNode(cmd, dir, ExitFailure); err != nil {
		return nil, dir, err
	}
	blobs, store, err := blobStore(ctx, cmd)
	if err != nil {
		return nil, dir, usageError(cmd, err.Error())
	}
	log, err := reader.Open(reader.Config{Data: dir, WAL: cmd.String("wal"), Blobs: blobs, BlobStore: store})
	if errors.Is(err, reader.ErrNoLog) {
		err = fmt.Errorf("%s: %w; name its directory: tcp-log-server %s DIR", cmd.Name, err, cmd.Name)
		if archive.Incomplete(dir) {
			err = errors.New(cmd.Name + ": " + unfinished(dir))
		} else if url := archiveIn(dir); url != "" {
			err = fmt.Errorf("%w; for the archive that is there: tcp-log-server %s %s", err, cmd.Name, url)
		}
	}
	return log, dir, err
}
