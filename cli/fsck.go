package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/bucket"
)

// fsckCommand is `tcp-log-server fsck`.
func fsckCommand() *cli.Command {
	return &cli.Command{
		Name:      "fsck",
		Usage:     "verify the directories of a log, or repair them",
		ArgsUsage: "[DIR|URL]",
		Description: "Verifies the log in DIR (default: the one of --data) without changing it: a copy, one\n" +
			"on read-only media, or the log of a running server; or the archive at URL, by reading\n" +
			"all of it. Prints every finding, then a\n" +
			"summary with a digest: two copies with equal digests hold the same log.\n\n" +
			"Examples:\n" +
			"   tcp-log-server fsck                          # the log of --data\n" +
			"   tcp-log-server fsck /mnt/backup/log && echo it is whole\n" +
			"   tcp-log-server fsck --through 1000 --json | jq -r 'select(.digest).digest'\n" +
			"   tcp-log-server fsck --repair --dry-run       # what a repair would do\n" +
			"   tcp-log-server fsck --repair --from COPY     # restore what is damaged\n\n" +
			"Exit codes, as in fsck(8):\n" +
			"   0  no errors, though perhaps hints\n" +
			"   1  errors, all of them corrected\n" +
			"   4  errors, not all of them corrected\n" +
			"   8  the check or the repair failed\n" +
			"  16  wrong usage\n\n" +
			"docs/FSCK.md explains each finding, and what to do.",
		Flags: append(directoryFlags("", "DIR"),
			&cli.BoolFlag{Name: "quick", Usage: "do not read contents: only the index, names, sizes, and how the segments join"},
			&cli.Uint64Flag{Name: "through", Usage: "compute the digest through this `index`", DefaultText: "the head", Validator: positive("through")},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object a line"},
			&cli.BoolFlag{Name: "repair", Usage: "repair what can be repaired without loss; the server must be stopped"},
			&cli.BoolFlag{Name: "dry-run", Usage: "with --repair: print the steps, but change nothing"},
			&cli.StringFlag{Name: "from", Usage: "with --repair: `directory` of another copy to restore from"},
			&cli.BoolFlag{Name: "prune", Usage: "with --repair: move blobs that belong to no entry to lost+found"},
			&cli.BoolFlag{Name: "accept-loss", Usage: "with --repair: record what cannot be restored as lost"},
			&cli.IntFlag{Name: "loose-max", Sources: variable("LOOSE_MAX"), Value: engine.DefaultLooseMax, Usage: "with --repair: the server's limit on the `number` of blob files", Validator: between("loose-max", -1, 1<<40)},
		),
		Action: action(runFsck),
	}
}

// runFsck checks or repairs, and exits with the code for the result.
func runFsck(ctx context.Context, cmd *cli.Command) error {
	o, err := fsckOptions(ctx, cmd)
	if err != nil {
		return usageError(cmd, err.Error())
	}
	if archive.Incomplete(o.Data) {
		return cli.Exit("fsck: "+unfinished(o.Data), fsck.ExitFailed)
	}
	printer := fsck.NewPrinter(os.Stdout, cmd.Bool("json"))
	bar := newProgress()
	bar.terminal = bar.terminal && !cmd.Bool("json")
	units := map[string]string{"blobs": "blobs", "log": inBytes}
	o.OnProgress = func(p fsck.Progress) { bar.show(p.Phase, p.Done, max(p.Total, 1), units[p.Phase]) }
	o.OnFinding = func(f fsck.Finding) {
		bar.clear()
		printer.Finding(f)
	}
	o.OnStep = func(s fsck.Step) {
		bar.clear()
		printer.Step(s)
	}
	if err := refuseNode(cmd, o.Data, fsck.ExitFailed); err != nil {
		return err
	}
	check := report
	if bucket.IsURL(o.Data) {
		check = fsckArchive
	}
	code, err := check(ctx, cmd, o, printer, bar)
	if err == nil {
		err = printer.Err()
	}
	if coded, ok := errors.AsType[cli.ExitCoder](err); ok {
		return coded
	}
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return cli.Exit("fsck: interrupted; a repair can be run again", fsck.ExitFailed)
	case errors.Is(err, fsck.ErrFrom):
		return cli.Exit("--from: "+err.Error(), fsck.ExitUsage)
	case errors.Is(err, fsck.ErrBeyond):
		return cli.Exit("--through: "+err.Error(), fsck.ExitUsage)
	case errors.Is(err, fsck.ErrNoLog):
		return cli.Exit("fsck: "+err.Error()+"; name its directory: tcp-log-server fsck DIR", fsck.ExitFailed)
	case err != nil:
		return cli.Exit("fsck: "+err.Error(), fsck.ExitFailed)
	case code != fsck.ExitClean:
		return cli.Exit("", code)
	}
	return nil
}

// report runs the check or the repair and prints its result.
func report(ctx context.Context, cmd *cli.Command, o fsck.RepairOptions, printer *fsck.Printer, bar *progress) (int, error) {
	again := []string{"tcp-log-server", "fsck", "--repair"}
	for _, flag := range []string{"wal", "blobs"} {
		if dir := cmd.String(flag); dir != "" {
			again = append(again, "--"+flag, dir)
		}
	}
	if cmd.IsSet("loose-max") {
		again = append(again, "--loose-max", strconv.Itoa(o.LooseMax))
	}
	if !cmd.Bool("repair") {
		sum, err := fsck.Check(ctx, o.Options)
		bar.clear()
		if err != nil {
			return fsck.ExitFailed, err
		}
		printer.Summary(sum)
		if sum.Errors > 0 {
			printer.Next(append(again, "--dry-run", o.Data)...)
			return fsck.ExitErrors, nil
		}
		return fsck.ExitClean, nil
	}
	res, err := fsck.Repair(ctx, o)
	bar.clear()
	if err != nil {
		return fsck.ExitFailed, err
	}
	printer.Summary(res.After)
	switch {
	case o.DryRun && o.From == "" && res.Outcome.GivenUp > 0:
		printer.Next(append(again, "--from", "COPY", o.Data)...)
		printer.Note("without --from COPY, the repair gives up %s that a copy may have", counted(res.Outcome.GivenUp, "entry", "entries"))
	case res.After.Errors == 0:
	case o.DryRun && res.Outcome.Steps > 0:
		printer.Next(append(again, repeated(o)...)...)
	case o.From == "":
		printer.Next(append(again, "--from", "COPY", o.Data)...)
	case !o.AcceptLoss:
		printer.Next(append(again, "--from", o.From, "--accept-loss", o.Data)...)
	}
	printer.Outcome(res.Outcome)
	return res.ExitCode(), nil
}

// repeated returns the arguments of a dry run that the real run repeats.
func repeated(o fsck.RepairOptions) (args []string) {
	if o.From != "" {
		args = append(args, "--from", o.From)
	}
	if o.Prune {
		args = append(args, "--prune")
	}
	if o.AcceptLoss {
		args = append(args, "--accept-loss")
	}
	return append(args, o.Data)
}

// fsckOptions reads the flags and refuses those that contradict each other.
func fsckOptions(ctx context.Context, cmd *cli.Command) (o fsck.RepairOptions, err error) {
	o.Data = cmd.String("data")
	switch args := cmd.Args(); args.Len() {
	case 0:
	case 1:
		o.Data = args.First()
	default:
		return o, fmt.Errorf("want at most one directory, got %s", strings.Join(args.Slice(), " "))
	}
	o.WAL = cmd.String("wal")
	if o.Blobs, o.BlobStore, err = blobStore(ctx, cmd); err != nil {
		return o, err
	}
	o.Quick, o.Through = cmd.Bool("quick"), cmd.Uint64("through")
	o.From, o.Prune, o.DryRun = cmd.String("from"), cmd.Bool("prune"), cmd.Bool("dry-run")
	o.AcceptLoss, o.LooseMax = cmd.Bool("accept-loss"), cmd.Int("loose-max")
	if !cmd.Bool("repair") {
		for _, flag := range []string{"from", "prune", "dry-run", "accept-loss"} {
			if cmd.IsSet(flag) {
				return o, fmt.Errorf("--%s needs --repair", flag)
			}
		}
	} else if o.Quick {
		return o, errors.New("--quick does not go with --repair, which needs a full check")
	}
	if o.Prune && o.BlobStore != nil {
		return o, fmt.Errorf("--prune does not go with blobs in %s: nothing is ever removed there", o.BlobStore)
	}
	if o.Data == "" {
		return o, errNoName
	}
	if cmd.IsSet("from") && o.From == "" {
		return o, errors.New("--from is empty: is a variable not set?")
	}
	if o.Data == engine.Memory {
		return o, errors.New("a log in memory has no directories to verify")
	}
	return o, nil
}
