package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"tcp-log-server/engine"
	"tcp-log-server/internal/reader"
)

// defaultData is the directory of the log where none is named.
const defaultData = "./tcp-log-server.data"

// errNoName: the directory of the log is named by an empty text.
var errNoName = errors.New("the name of the directory is empty: is a variable not set?")

// directoryFlags are the flags that name the directories of the log that a command reads: data
// says what it does with them, parent is what the help calls the log's directory.
func directoryFlags(data, parent string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "data", Sources: variable("DATA"), Value: defaultData, Usage: "`directory` of the log" + data},
		&cli.StringFlag{Name: "wal", Sources: variable("WAL"), Usage: "`directory` of the index (default: wal in " + parent + ")"},
		&cli.StringFlag{Name: "blobs", Sources: variable("BLOBS"), Usage: "`directory` of the blobs (default: blobs in " + parent + ")"},
	}
}

// isDirectory tells a directory from an address.
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

// openDirectories opens the log in dir for reading, or that of the flags if dir is empty.
func openDirectories(cmd *cli.Command, dir string) (*reader.Log, string, error) {
	if dir == "" {
		dir = cmd.String("data")
	}
	if dir == "" {
		return nil, dir, usageError(cmd, errNoName.Error())
	}
	if dir == engine.Memory {
		return nil, dir, usageError(cmd, "a log in memory has no directories: ask its server")
	}
	log, err := reader.Open(reader.Config{Data: dir, WAL: cmd.String("wal"), Blobs: cmd.String("blobs")})
	if errors.Is(err, reader.ErrNoLog) {
		err = fmt.Errorf("%s: %w; name its directory: tcp-log-server %s DIR", cmd.Name, err, cmd.Name)
	}
	return log, dir, err
}
