package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
	"tcp-log-server/internal/legacy"
)

// importCommand is `tcp-log-server import`.
func importCommand() *cli.Command {
	return &cli.Command{
		Name:  "import",
		Usage: "import a log from the original tcp-log-server of npm",
		Description: "Copies every entry of the original's log, in order, to the running server of --into,\n" +
			"then reads the copies back and compares them. SOURCE is the address of the original\n" +
			"server, of any version, or the directory in which it ran, with its .tcp-log-server.leveldb\n" +
			"and .tcp-log-server.blobs; stop it first. The source is not changed.\n\n" +
			"Every entry keeps its index, so the log must be empty or hold what an earlier import\n" +
			"stored; that is compared, and the import continues after it. No other client may append\n" +
			"during an import.\n\n" +
			"Entries that this server refuses, or that the original has lost, are listed on standard\n" +
			"output: {\"index\":7,\"error\":\"lone surrogate at byte 9 of the entry\"}. The import stops\n" +
			"before the first and lists the rest. With --on-refused placeholder it stores\n" +
			"{\"refused\":{…}} with the text in their places. See docs/IMPORT.md.\n\n" +
			"Examples:\n" +
			"   tcp-log-server import --dry-run old.example:8089   # what would be refused\n" +
			"   tcp-log-server import old.example:8089 --into :8089\n" +
			"   tcp-log-server import /var/lib/old-log              # from its directories\n" +
			"   tcp-log-server import --leveldb DIR --legacy-blobs DIR   # if elsewhere\n\n" +
			"Exit codes: 0 done, 1 failed, 2 some entries were refused, 16 wrong usage.",
		ArgsUsage: "SOURCE",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "into", Usage: "`address` of the server to import into (default: HOST and PORT, else localhost:8089)"},
			&cli.StringFlag{Name: "on-refused", Value: "stop", Usage: "`stop|placeholder` when an entry is refused", Validator: func(s string) error {
				if s != "stop" && s != "placeholder" {
					return fmt.Errorf("on-refused is %q, want stop or placeholder", s)
				}
				return nil
			}},
			&cli.BoolFlag{Name: "dry-run", Usage: "only read the source and list what would be refused"},
			&cli.StringFlag{Name: "leveldb", Usage: "`directory` of the original's list (default: " + legacy.LevelDBName + " in SOURCE)"},
			&cli.StringFlag{Name: "legacy-blobs", Usage: "`directory` of the original's blobs (default: " + legacy.BlobsName + " in SOURCE)"},
			&cli.DurationFlag{Name: "quiet-for", Value: time.Second, Usage: "`time` without an entry after which a server of version 6 has sent everything"},
		}, connectFlags()...),
		Action: action(runImport),
	}
}

// legacyLog is a log of the original server.
type legacyLog interface {
	Read(ctx context.Context, from uint64) iter.Seq2[legacy.Entry, error]
}

func runImport(ctx context.Context, cmd *cli.Command) error {
	addr, err := serverAddress(cmd.String("into"))
	if err != nil {
		return usageError(cmd, "--into: "+err.Error())
	}
	src, name, total, err := openSource(ctx, cmd, addr)
	if err != nil {
		return err
	}
	if d, ok := src.(*legacy.Directory); ok {
		defer d.Close()
	}
	i := &importer{
		source: src, placeholders: cmd.String("on-refused") == "placeholder",
		progress: newProgress(), total: -1, refusals: os.Stdout,
	}
	if total > 0 {
		i.total = int64(total)
	}
	began := time.Now()
	if cmd.Bool("dry-run") {
		err = i.check(ctx)
	} else {
		var c *client.Client
		if c, err = connect(ctx, cmd, addr, client.Options{}); err != nil {
			return err
		}
		defer c.Close()
		err = i.run(ctx, c)
	}
	i.progress.clear()
	switch {
	case ctx.Err() != nil:
		return cli.Exit(fmt.Sprintf("import: interrupted after index %d: run it again to continue", i.stored), ExitFailure)
	case err != nil:
		if !cmd.Bool("dry-run") {
			name += " into " + addr
		}
		return cli.Exit(fmt.Sprintf("import: %s: %v%s", name, plainly(err), advice(cmd, err)), ExitFailure)
	}
	took := time.Since(began).Round(time.Millisecond)
	switch {
	case cmd.Bool("dry-run"):
		_ = printLine(os.Stderr, "%s: %s entries, %s refused, in %v", name, grouped(i.read), grouped(i.refused), took)
	default:
		_ = printLine(os.Stderr, "%s: %s of %s entries are in %s: %s imported and read back, %s already there; %s placeholders; %v",
			name, grouped(i.stored), grouped(i.read), addr, grouped(i.stored-i.found), grouped(i.found), grouped(i.kept), took)
	}
	if i.refused > i.kept {
		return cli.Exit(fmt.Sprintf("import: %s entries are refused, the first at index %d: --on-refused placeholder stores placeholders for them", grouped(i.refused), i.firstRefused), ExitRefused)
	}
	return nil
}

// openSource opens SOURCE. total is its number of entries, 0 if that is not known.
func openSource(ctx context.Context, cmd *cli.Command, into string) (src legacyLog, name string, total uint64, err error) {
	level, blobs := cmd.String("leveldb"), cmd.String("legacy-blobs")
	arg := cmd.Args().First()
	if cmd.NArg() > 1 {
		return nil, "", 0, usageError(cmd, "want one source, got "+strings.Join(cmd.Args().Slice(), " "))
	}
	if arg == "" && (level == "" || blobs == "") {
		return nil, "", 0, usageError(cmd, "want a source: the address of the original server, or its directory")
	}
	if arg == "" || isDirectory(arg) {
		if level == "" {
			level = filepath.Join(arg, legacy.LevelDBName)
		}
		if blobs == "" {
			blobs = filepath.Join(arg, legacy.BlobsName)
		}
		d, err := legacy.OpenDirectory(level, blobs)
		if errors.Is(err, legacy.ErrFormat) {
			err = fmt.Errorf("import: %w: name them with --leveldb and --legacy-blobs", err)
		}
		if err != nil {
			return nil, level, 0, err
		}
		return d, level, d.Last(), nil
	}
	if level+blobs != "" {
		return nil, "", 0, usageError(cmd, "--leveldb and --legacy-blobs go with a directory, not with an address")
	}
	addr, err := serverAddress(arg)
	if err != nil {
		return nil, "", 0, usageError(cmd, err.Error())
	}
	if addr == into && !cmd.Bool("dry-run") {
		return nil, "", 0, usageError(cmd, "the source and --into are both "+addr)
	}
	s, err := legacy.NewServer(ctx, addr)
	if err != nil {
		return nil, addr, 0, failure(cmd, addr, err)
	}
	s.Quiet = cmd.Duration("quiet-for")
	return s, fmt.Sprintf("%s (%v)", addr, s.Generation()), 0, nil
}
