package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// appendCommand is `tcp-log-server append`.
func appendCommand() *cli.Command {
	return &cli.Command{
		Name:  "append",
		Usage: "append entries to the log of a server",
		Description: "Takes JSON objects, arrays and nulls from the arguments or else from standard input: one\n" +
			"a line, or a stream of them. Prints the index of each once it is on the server's disk.\n\n" +
			addressHelp + " An argument that cannot be an address is an entry.\n\n" +
			"Examples:\n" +
			"   tcp-log-server append '{\"event\":\"start\"}'\n" +
			"   tcp-log-server append --quiet < entries.ndjson\n" +
			"   jq -c '.items' export.json | tcp-log-server append --array\n" +
			"   tcp-log-server append --once < in.ndjson            # may be repeated\n" +
			"   tcp-log-server append --if 41 '{\"seat\":\"12A\"}'  # if 41 is the last\n\n" +
			"Many entries are in flight at a time. If not all of them are stored, the last line on\n" +
			"standard error says which are stored, which are not, and which have an unknown outcome\n" +
			"because the connection was lost: those may be in the log or not. Nothing is sent twice,\n" +
			"except with --once, which sends again after a lost connection until the outcome is known.\n" +
			"A token that may not write, or a server that is full, is reported there, once.\n\n" +
			"Exit codes: 0 all stored; 1 failed, and what was not sent is not stored; 2 some entries\n" +
			"were refused; 3 the outcome of some is unknown; 4 the head was not that of --if; 16 wrong\n" +
			"usage.",
		ArgsUsage: "[ADDR] [JSON…]",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "array", Usage: "standard input is one array, and its elements are the entries"},
			&cli.StringFlag{Name: "on-error", Value: "stop", Usage: "`stop|continue` after an entry that is refused", Validator: func(s string) error {
				if s != "stop" && s != "continue" {
					return fmt.Errorf("on-error is %q, want stop or continue", s)
				}
				return nil
			}},
			&cli.Uint64Flag{Name: "if", Usage: "only if `head` is the index of the last entry: the entries get the indices after it", HideDefault: true},
			&cli.BoolFlag{Name: "once", Usage: "store no entry that the log holds already; send it again until it is answered"},
			&cli.BoolFlag{Name: "batch", Usage: "store all entries side by side, or none"},
			&cli.BoolFlag{Name: "receipt", Usage: "print also when each entry was stored, and its BLAKE3 hash"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "do not print indices"},
			&cli.BoolFlag{Name: "json", Usage: "print the outcome of each entry, one JSON object a line"},
		}, connectFlags()...),
		Action: appendEntries,
	}
}

// entryHelp describes an entry.
const entryHelp = "an entry is an object, an array or null"

// appendEntries appends entries from the arguments or from standard input.
func appendEntries(ctx context.Context, cmd *cli.Command) error {
	args := cmd.Args().Slice()
	name := ""
	if len(args) > 0 && !looksLikeEntry(args[0]) {
		name, args = args[0], args[1:]
	}
	addr, err := serverAddress(name)
	switch {
	case errors.Is(err, errFile):
		err = fmt.Errorf("%w; entries of a file come from standard input: < FILE", err)
	case err != nil:
		err = fmt.Errorf("%w; %s", err, entryHelp)
	case cmd.Bool("array") && len(args) > 0:
		err = errors.New("--array is for standard input, not for arguments")
	default:
		err = contradiction(cmd)
	}
	if err != nil {
		return usageError(cmd, err.Error())
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	dial, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // until there is something to end cleanly
		select {
		case s := <-signals:
			signals <- s
			cancel()
		case <-dial.Done():
		}
	}()
	retries := &retries{name: "append: " + addr} // made only with --once
	c, err := dialServer(dial, cmd, addr, client.Options{OnRetry: retries.failed, OnResume: retries.resumed})
	cancel()
	if _, coded := errors.AsType[cli.ExitCoder](err); coded {
		return err
	}
	out := newLineWriter(os.Stdout)
	a := &appender{client: c, values: &argValues{args: args}, tally: newTally(cmd, out, len(args))}
	a.write.Once, a.write.Receipt = a.tally.once, a.tally.receipt
	if cmd.IsSet("if") {
		head := cmd.Uint64("if")
		a.write.If = &head
	}
	if err != nil {
		a.tally.fail(fmt.Errorf("%s: %w", addr, err))
		err = a.tally.report()
	} else {
		defer c.Close()
		if len(args) == 0 {
			a.readInput(cmd, out.terminal)
		}
		err = a.run(ctx, signals, out.failed)
	}
	if werr := out.close(); err == nil && werr != nil {
		err = cli.Exit(fmt.Sprintf("append: standard output: %v", werr), ExitFailure)
	}
	return err
}

// contradiction returns an error if flags contradict each other.
func contradiction(cmd *cli.Command) error {
	set := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !cmd.IsSet(name) || cmd.String(name) == "false" })
	}
	keepsGoing := cmd.String("on-error") == "continue"
	switch {
	case set("quiet", "json"):
		return errors.New("--quiet and --json do not go together")
	case set("quiet", "receipt"):
		return errors.New("--quiet prints nothing, so --receipt does not go with it")
	case set("once", "if"):
		return errors.New("--once stores an entry wherever the head is, and --if only at one: leave one of them out")
	case set("once", "batch"):
		return errors.New("--once stores each entry unless the log holds it, and --batch all or none: leave one of them out")
	case cmd.IsSet("if") && keepsGoing:
		return errors.New("with --if each entry follows the one before, so `--on-error continue` does not go with it")
	case set("batch") && keepsGoing:
		return errors.New("--batch stores all entries or none, so `--on-error continue` does not go with it")
	}
	return nil
}

// valueSource returns values and where each begins, and io.EOF at the end.
type valueSource interface {
	next() (value []byte, place int, err error)
}

// argValues reads values from the arguments.
type argValues struct {
	args []string
	at   int
}

func (v *argValues) next() ([]byte, int, error) {
	if v.at == len(v.args) {
		return nil, v.at + 1, io.EOF
	}
	v.at++
	return []byte(v.args[v.at-1]), v.at, nil
}

// countingReader counts the bytes that are read through it.
type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// appender appends values until there are no more, or until there is a reason to stop.
type appender struct {
	client   *client.Client
	values   valueSource
	write    client.Write // the options of each write, with the head for the first
	tally    *tally
	taken    atomic.Int64    // bytes of standard input
	progress *appendProgress // nil for arguments
}

// readInput reads the values from standard input. terminal says whether the output is a
// terminal.
func (a *appender) readInput(cmd *cli.Command, terminal bool) {
	a.values = newValueReader(&countingReader{r: os.Stdin, n: &a.taken}, cmd.Bool("array"))
	a.progress = newAppendProgress(terminal && !cmd.Bool("quiet"))
	if a.write.Once {
		a.progress.done = "stored or found"
	}
	if isatty.IsTerminal(os.Stdin.Fd()) && isatty.IsTerminal(os.Stderr.Fd()) {
		fmt.Fprintln(os.Stderr, "tcp-log-server: append: type JSON values; end with Ctrl-D")
	}
}

// errGivenUp: a second signal has arrived.
var errGivenUp = errors.New("a second signal has come before the answer")

// run appends and waits for the outcome of everything that was sent. The first signal stops it;
// the second ends the wait. outputGone is closed when the reader of the indices has gone away.
func (a *appender) run(ctx context.Context, signals <-chan os.Signal, outputGone <-chan struct{}) error {
	retried, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	ctx, cancel := context.WithCancel(retried)
	defer cancel()
	if a.write.Once {
		ctx = retried // ends attempts; those of writes already begun continue after a stop
	}
	// Nothing can interrupt a read of standard input, so do not wait for pump: once the tally
	// has stopped it sends nothing.
	if a.tally.batch {
		go a.pumpBatch(ctx)
	} else {
		go a.pump(ctx)
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for stopped := a.tally.stopped; ; {
		select {
		case <-stopped: // at the end of the input, or before
			stopped = nil
			cancel()
		case <-a.tally.settled:
			if a.progress != nil {
				a.progress.end(a.tally.count(stored))
			}
			return a.tally.report()
		case <-outputGone:
			outputGone = nil
			a.tally.stop(nil)
		case s := <-signals:
			if stopped == nil {
				giveUp(errGivenUp)
				a.client.Close() // which ends every append in flight
			} else {
				a.tally.stop(fmt.Errorf("stopped by a signal: %v", s))
			}
		case <-ticker.C:
			if a.progress != nil {
				a.progress.show(a.tally.count(stored), a.taken.Load())
			}
		}
	}
}

// appendProgress shows how much of standard input has been appended, unless indices are printed
// to the terminal.
type appendProgress struct {
	bar   *progress
	size  int64 // of standard input, -1 if it is not a file
	began time.Time
	done  string // the outcome of the counted entries
}

func newAppendProgress(indices bool) *appendProgress {
	p := &appendProgress{bar: newProgress(), size: -1, began: time.Now(), done: "stored"}
	if indices || isatty.IsTerminal(os.Stdin.Fd()) {
		p.bar.terminal = false
	}
	if info, err := os.Stdin.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		p.size = info.Size()
	}
	return p
}

func (p *appendProgress) show(stored int, taken int64) {
	p.bar.describe(fmt.Sprintf("%d %s, %.0f/s", stored, p.done, float64(stored)/time.Since(p.began).Seconds()))
	p.bar.show("append", taken, p.size, inBytes)
}

// end replaces the bar by a summary.
func (p *appendProgress) end(stored int) {
	if !p.bar.terminal {
		return
	}
	p.bar.clear()
	took := time.Since(p.began)
	fmt.Fprintf(os.Stderr, "%d %s in %v, %.0f/s\n", stored, p.done, took.Round(time.Millisecond), float64(stored)/took.Seconds())
}
